"""The composition root: settings in, services out. One per process, made after the fork and never before."""

from functools import cache, cached_property
from typing import TYPE_CHECKING

from celery import Celery
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine

from triage.blobs.source import PhotoSource
from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.intake import Intake
from triage.registry import Registry
from triage.retention.purge import Retention
from triage.scoring.inbox import PostgresInbox
from triage.storage.database import Sessions, create_database_engine, create_sessions
from worker.app import create_app
from worker.broker.liveness import Pulse
from worker.broker.redis_client import connect_redis
from worker.broker.wakeups import WakeUps
from worker.metrics import MeasuredInbox, MeasuredSource
from worker.settings import Settings, load_settings

if TYPE_CHECKING:
    from worker.scoring import Scoring


class Services:
    """Everything that a process needs, each part made when it is first asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def engine(self) -> Engine:
        return create_database_engine(self.settings.database_url, pool_size=self.settings.database.pool_size)

    @cached_property
    def sessions(self) -> Sessions:
        return create_sessions(self.engine)

    @cached_property
    def celery(self) -> Celery:
        return create_app(self.settings)

    @cached_property
    def redis(self) -> Redis:
        return connect_redis(self.settings)

    def redis_answers(self) -> bool:
        """Whether Redis answers a ping."""
        try:
            return bool(self.redis.ping())
        except RedisError:
            return False

    @cached_property
    def wake_ups(self) -> WakeUps:
        return WakeUps(
            self.celery,
            self.redis,
            self.settings.redis.key_prefix,
            window_seconds=self.settings.inbox.sweep_seconds,
        )

    @cached_property
    def pulse(self) -> Pulse:
        return Pulse(self.redis, self.settings.redis.key_prefix, interval_seconds=self.settings.inbox.sweep_seconds)

    @cached_property
    def blobs(self) -> BlobStore:
        return BlobStore(self.settings.blobs_url)

    @cached_property
    def uris(self) -> UriPolicy:
        intake = self.settings.intake
        return UriPolicy(
            intake.uri_roots,
            max_bytes=intake.max_bytes,
            local_networks=intake.local_networks,
            fetch_seconds=intake.fetch_seconds,
        )

    @cached_property
    def source(self) -> PhotoSource:
        return MeasuredSource(self.blobs, self.uris)

    @cached_property
    def registry(self) -> Registry:
        return Registry(self.sessions, BlobStore(self.settings.models_url))

    @cached_property
    def inbox(self) -> PostgresInbox:
        settings = self.settings
        return MeasuredInbox(
            self.sessions, lease=settings.lease, rules=settings.retry_rules, policy=settings.retake_policy
        )

    @cached_property
    def intake(self) -> Intake:
        return Intake(
            self.sessions,
            self.blobs,
            self.uris,
            limits=self.settings.intake_limits,
            policy=self.settings.retake_policy,
            wake_up=self.wake_ups.inbox,
        )

    @cached_property
    def retention(self) -> Retention:
        return Retention(self.sessions, self.blobs, keep=self.settings.keep_photos)

    @cached_property
    def scoring(self) -> "Scoring":
        from worker.scoring import Scoring  # torch is imported in the process that scores, and in no other

        return Scoring(self)

    def close(self) -> None:
        """Gives back what was made: processes and connections. What is asked for later is not made anew."""
        made = self.__dict__
        if "scoring" in made:
            self.scoring.close()
        if "redis" in made:
            self.redis.close()
        if "engine" in made:
            self.engine.dispose()


@cache
def services() -> Services:
    """Made on first use, which in a worker is after the fork."""
    return Services(load_settings())
