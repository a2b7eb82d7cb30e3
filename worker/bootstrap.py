"""The composition root: settings in, services out. One per process, made after the fork and never before."""

from functools import cached_property
from typing import TYPE_CHECKING

from celery import Celery
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine

from triage.inbox import PostgresInbox
from triage.intake import Intake
from triage.quality.registry import Registry
from triage.retention import Retention
from triage.storage.blobs import BlobStore, PhotoSource
from triage.storage.engine import Sessions, create_database_engine, create_sessions
from triage.storage.uris import UriPolicy
from worker.app import create_app
from worker.metrics import MeasuredInbox, MeasuredSource
from worker.pulse import Pulse
from worker.settings import Settings
from worker.transport import tls_options
from worker.wakeups import WakeUps

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


def connect_redis(settings: Settings) -> Redis:
    """A client that gives up in time and notices dead connections."""
    timeout = settings.redis.socket_timeout_seconds
    connecting = {} if settings.redis_url.startswith("unix:") else {"socket_connect_timeout": timeout}
    tls = tls_options(settings)
    return Redis.from_url(settings.redis_url, socket_timeout=timeout, health_check_interval=30, **connecting, **tls)
