"""The composition root: makes the services of a process or a command from its settings, and closes them.

Each part imports its libraries when it is made, so that a command pays only for the parts that it uses.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from celery import Celery
    from redis import Redis
    from sqlalchemy import Engine

    from triage.blobs.source import PhotoSource
    from triage.blobs.store import BlobStore
    from triage.blobs.uris import UriPolicy
    from triage.deliveries.dispatch import Dispatcher, Receiver
    from triage.deliveries.rules import DeliveryRules
    from triage.imaging.decode import Decoder
    from triage.intake import Intake
    from triage.photo_store import PhotoStore
    from triage.queue.photos import PhotoViews
    from triage.registry import Registry
    from triage.retention.purge import Retention
    from triage.scoring.assessments import Assessments
    from triage.scoring.inbox import Inbox
    from triage.scoring.maps import QualityMaps
    from triage.storage.database import Sessions
    from worker.broker.liveness import Liveness, WorkerHeartbeats
    from worker.broker.wakeups import WakeUps
    from worker.fhir.endpoint.push import Push
    from worker.fhir.reading.inbound import Inbound
    from worker.fhir.server.client import FhirClient
    from worker.settings import Settings

_VIEWERS: Final = 2
"""Decoder processes for photos that people look at."""

WEBHOOK: Final = "webhook"
FHIR: Final = "fhir"
"""The names of the targets: the receiver of webhooks, and the FHIR server of the EHR."""


class Services:
    """The services of one process or command. Each is made on first use; do not share them across a fork.

    A context manager: on exit it closes all services that were made.
    """

    def __init__(self, settings: "Settings", *, celery: "Celery | None" = None) -> None:
        """
        Args:
            settings: of all services.
            celery: the Celery app of this process; by default an app is made on first use and closed on exit.
        """
        self.settings = settings
        self._celery = celery
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all services that were made, in reverse order."""
        self._stack.close()

    @cached_property
    def engine(self) -> "Engine":
        from triage.storage.database import create_database_engine  # deferred: imports SQLAlchemy

        engine = create_database_engine(self.settings.database_url, pool_size=self.settings.database.pool_size)
        self._stack.callback(engine.dispose)
        return engine

    @cached_property
    def sessions(self) -> "Sessions":
        from triage.storage.database import create_sessions  # deferred: imports SQLAlchemy

        return create_sessions(self.engine)

    @cached_property
    def long_reads(self) -> "Sessions":
        """Sessions for reports and other reads of months of rows, with a time limit for each statement.

        Postgres would finish them also if the browser or client that asked has left.
        """
        from triage.storage.database import limited  # deferred: imports SQLAlchemy

        return limited(self.sessions, statement_seconds=self.settings.api.statement_seconds)

    @cached_property
    def celery(self) -> "Celery":
        if self._celery is not None:
            return self._celery
        from worker.app import create_app  # deferred: imports Celery

        celery = create_app(self.settings)
        self._stack.callback(_close_celery, celery)
        return celery

    @cached_property
    def redis(self) -> "Redis":
        from worker.broker.redis_client import connect_redis  # deferred: imports redis

        redis = connect_redis(self.settings)
        self._stack.callback(redis.close)
        return redis

    @cached_property
    def wake_ups(self) -> "WakeUps":
        from worker.broker.wakeups import WakeUps  # deferred: imports Celery

        settings = self.settings
        return WakeUps(self.celery, self.redis, settings.redis.key_prefix, window_seconds=settings.inbox.sweep_seconds)

    @cached_property
    def liveness(self) -> "Liveness":
        from worker.broker.liveness import Liveness  # deferred: imports redis

        settings = self.settings
        return Liveness(self.redis, settings.redis.key_prefix, interval_seconds=settings.inbox.sweep_seconds)

    @cached_property
    def worker_heartbeats(self) -> "WorkerHeartbeats":
        from worker.broker.liveness import WorkerHeartbeats  # deferred: imports redis

        return WorkerHeartbeats(self.redis, self.settings.redis.key_prefix)

    @property
    def folders(self) -> "dict[str, Path]":
        """The local folders that hold data, by name. Stores and servers elsewhere are left out."""
        from triage.blobs.store import BlobStore  # deferred: imports fsspec

        settings = self.settings
        folders = {
            "photos": self.blobs.folder,
            "models": BlobStore(settings.models_url).folder,
            "runs": settings.training_folder,
            "engines": settings.cache_folder,
            "postgres": None if settings.database.url else settings.embedded.postgres_data,
        }
        return {name: folder for name, folder in folders.items() if folder is not None}

    @cached_property
    def blobs(self) -> "BlobStore":
        from triage.blobs.store import BlobStore  # deferred: imports fsspec

        return BlobStore(self.settings.blobs_url)

    @cached_property
    def photo_store(self) -> "PhotoStore":
        from triage.photo_store import PhotoStore  # deferred: imports fsspec and SQLAlchemy

        return PhotoStore(self.sessions, self.blobs)

    @cached_property
    def uris(self) -> "UriPolicy":
        from triage.blobs.uris import UriPolicy  # deferred: imports fsspec

        intake = self.settings.intake
        return UriPolicy(
            intake.uri_roots,
            max_bytes=intake.max_bytes,
            local_networks=intake.local_networks,
            fetch_seconds=intake.fetch_seconds,
        )

    @cached_property
    def source(self) -> "PhotoSource":
        from triage.blobs.source import PhotoSource  # deferred: imports fsspec

        return PhotoSource(self.blobs, self.uris, check=self.photo_store.check)

    @cached_property
    def registry(self) -> "Registry":
        from triage.blobs.store import BlobStore  # deferred: imports fsspec
        from triage.registry import Registry  # deferred: imports SQLAlchemy

        return Registry(self.sessions, BlobStore(self.settings.models_url))

    @cached_property
    def inbox(self) -> "Inbox":
        from triage.scoring.inbox import Inbox  # deferred: imports SQLAlchemy

        settings = self.settings
        return Inbox(
            self.sessions,
            lease=settings.lease,
            rules=settings.retry_rules,
            policy=settings.retake_policy,
        )

    @cached_property
    def intake(self) -> "Intake":
        from triage.intake import Intake  # deferred: imports fsspec and SQLAlchemy

        return Intake(
            self.sessions,
            self.blobs,
            self.uris,
            limits=self.settings.intake_limits,
            policy=self.settings.retake_policy,
            wake_up=self.wake_ups.inbox,
        )

    @property
    def targets(self) -> "Sequence[str]":
        """The names of the systems that the settings say to notify of events."""
        settings = self.settings
        is_on = {WEBHOOK: settings.webhook.url is not None, FHIR: settings.fhir.is_on and settings.fhir.answers}
        return [target for target, wanted in is_on.items() if wanted]

    def dispatcher(self, target: str, *, on_progress: "Callable[[], None]") -> "Dispatcher[Any]":
        """Sends events to one of the targets.

        Args:
            target: its name.
            on_progress: called after each batch.

        Raises:
            ServiceRefusedError: a file that the settings name cannot be read.
            UsageError: the key for the FHIR server is not usable.
        """
        from triage.deliveries.dispatch import Dispatcher  # deferred: imports SQLAlchemy

        receiver, rules = {WEBHOOK: self._webhook, FHIR: self._fhir_answers}[target]()
        return Dispatcher(self.sessions, target, receiver, rules, on_progress=on_progress)

    def _webhook(self) -> "tuple[Receiver[Any], DeliveryRules]":
        from worker.webhooks.receiver import WebhookReceiver  # deferred: imports SQLAlchemy

        settings = self.settings.webhook
        receiver = WebhookReceiver(
            url=settings.url.get_secret_value() if settings.url else "",
            secrets=[each.get_secret_value() for each in (settings.secret, settings.previous_secret) if each],
            local_networks=settings.local_networks,
            seconds=settings.timeout_seconds,
            ca_file=settings.ca_file,
        )
        return receiver, self.settings.delivery_rules

    def _fhir_answers(self) -> "tuple[Receiver[Any], DeliveryRules]":
        from worker.fhir.answers.receiver import FhirReceiver  # deferred: imports SQLAlchemy and httpx2

        fhir = self.settings.fhir
        return FhirReceiver(self.fhir, fhir.source, fhir.retakes_as, fhir.task_owner), self.settings.answer_rules

    @cached_property
    def assessments(self) -> "Assessments":
        from triage.scoring.assessments import Assessments  # deferred: imports fsspec and SQLAlchemy

        return Assessments(self.sessions, self.blobs, limits=self.settings.lane_limits, wake_up=self.wake_ups.inbox)

    @cached_property
    def photo_views(self) -> "PhotoViews":
        from triage.queue.photos import PhotoViews  # deferred: imports fsspec and SQLAlchemy

        return PhotoViews(self.sessions, self.source, self._view_decoder)

    @cached_property
    def quality_maps(self) -> "QualityMaps":
        from triage.scoring.maps import QualityMaps  # deferred: imports fsspec and SQLAlchemy

        return QualityMaps(self.sessions, self.source, self._view_decoder, self.registry.weights)

    @cached_property
    def _view_decoder(self) -> "Decoder":
        from triage.imaging.decode import Decoder  # deferred: imports pillow

        decoder = Decoder(self.settings.image_limits, processes=_VIEWERS)
        self._stack.callback(decoder.close)
        return decoder

    @cached_property
    def fhir(self) -> "FhirClient":
        """The client of the EHR's FHIR server, which the settings must name."""
        from worker.fhir.server.connection import connect  # deferred: imports httpx2 and joserfc

        client = connect(self.settings.fhir)
        self._stack.callback(client.close)
        return client

    @cached_property
    def inbound(self) -> "Inbound":
        """Reads messages on the EHR's FHIR server, which the settings must name."""
        from worker.fhir.reading.inbound import Inbound  # deferred: imports httpx2
        from worker.fhir.server.ehr import Ehr  # deferred: imports httpx2

        fhir, limits = self.settings.fhir, self.settings.intake_limits
        server = Ehr(self.fhir, self.uris, limits.max_bytes)
        return Inbound(
            self.fhir, server, fhir.source, limits, fhir.max_message_bytes, fhir.poll_query, fhir.poll_cursor
        )

    @cached_property
    def push(self) -> "Push":
        """Takes messages that clients send to the FHIR endpoint of this product."""
        from worker.fhir.endpoint.push import Push  # deferred: imports SQLAlchemy

        settings = self.settings
        return Push(
            self.sessions,
            self.intake,
            self.uris,
            source=settings.fhir.push_source,
            limits=settings.intake_limits,
            policy=settings.retake_policy,
        )

    @cached_property
    def retention(self) -> "Retention":
        from triage.retention.purge import Retention  # deferred: imports fsspec and SQLAlchemy

        return Retention(self.sessions, self.blobs, keep=self.settings.keep_photos)


@contextmanager
def open_services(settings: "Settings | None" = None) -> Iterator[Services]:
    """Makes services for one command, and closes them. Translates errors of the database, see `database_errors`.

    Args:
        settings: by default read from the environment.

    Raises:
        UsageError: a setting is invalid.
        DatabaseUnavailableError: Postgres does not respond, or closed the connection.
    """
    from triage.storage.database import database_errors  # deferred: imports SQLAlchemy
    from worker.settings import load_settings  # deferred: imports pydantic-settings

    with database_errors(), Services(settings or load_settings()) as services:
        yield services


def _close_celery(celery: "Celery") -> None:
    """Also closes the app's connections. Kombu pools them by URL and options, for all apps of the process."""
    from kombu import pools  # deferred: imports kombu

    connection = celery.connection_for_write()
    for group in (pools.producers, pools.connections):
        group[connection].force_close_all()
        del group[connection]
    if results := celery._backend:  # made for the first result; Celery leaves its connections open
        results.result_consumer.stop()
        results.client.connection_pool.disconnect()
    celery.close()
