"""Settings from the environment: `TRIAGE_<GROUP>__<NAME>`, such as `TRIAGE_DATABASE__URL`. Names include the unit."""

import os
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from triage.deliveries.rules import DeliveryRules
from triage.domain.assessments import LaneLimits
from triage.domain.limits import IntakeLimits, RetryRules
from triage.errors import UsageError, validation_problems
from triage.files.modes import share_with
from triage.imaging.limits import ImageLimits
from triage.replies.catalogue import Catalogue, load_catalogue
from triage.retakes.policy import RetakePolicy
from triage.storage.role_names import WORKER
from worker.setting_groups import (
    ApiSettings,
    BlobSettings,
    ConsoleSettings,
    DatabaseSettings,
    FhirSettings,
    FileSettings,
    InboxSettings,
    IntakeSettings,
    LogSettings,
    MetricsSettings,
    ModelSettings,
    RedisSettings,
    ReplySettings,
    RetakeSettings,
    RetentionSettings,
    RoleSettings,
    ScheduleSettings,
    ScorerSettings,
    SigningSettings,
    TrainingSettings,
    WebhookSettings,
    WorkerSettings,
)
from worker.setting_types import check_not_empty
from worker.state_folder import StateFolder, default_state_folder
from worker.variables import unknown_variables, variable_name, variables_of

__all__ = [
    "VARIABLES",
    "ApiSettings",
    "BlobSettings",
    "ConsoleSettings",
    "DatabaseSettings",
    "FhirSettings",
    "FileSettings",
    "InboxSettings",
    "IntakeSettings",
    "LogSettings",
    "MetricsSettings",
    "ModelSettings",
    "RedisSettings",
    "ReplySettings",
    "RetakeSettings",
    "RetentionSettings",
    "RoleSettings",
    "ScheduleSettings",
    "ScorerSettings",
    "Settings",
    "SigningSettings",
    "TrainingSettings",
    "WorkerSettings",
    "load_settings",
]


class Settings(BaseSettings):
    """All settings. The defaults select the embedded services."""

    model_config = SettingsConfigDict(
        env_prefix="TRIAGE_",
        env_nested_delimiter="__",
        enable_decoding=False,  # its errors do not name the variable; the fields that hold lists decode them
        frozen=True,
        extra="ignore",
    )

    home: Annotated[Path, BeforeValidator(check_not_empty)] = Field(
        default_factory=default_state_folder, description="folder of the embedded services; `/srv/triage` in the image"
    )
    database: DatabaseSettings = DatabaseSettings()
    roles: RoleSettings = RoleSettings()
    redis: RedisSettings = RedisSettings()
    signing: SigningSettings = SigningSettings()
    blobs: BlobSettings = BlobSettings()
    models: ModelSettings = ModelSettings()
    files: FileSettings = FileSettings()
    intake: IntakeSettings = IntakeSettings()
    worker: WorkerSettings = WorkerSettings()
    inbox: InboxSettings = InboxSettings()
    scorer: ScorerSettings = ScorerSettings()
    retakes: RetakeSettings = RetakeSettings()
    webhook: WebhookSettings = WebhookSettings()
    replies: ReplySettings = ReplySettings()
    fhir: FhirSettings = FhirSettings()
    training: TrainingSettings = TrainingSettings()
    retention: RetentionSettings = RetentionSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    metrics: MetricsSettings = MetricsSettings()
    api: ApiSettings = ApiSettings()
    console: ConsoleSettings = ConsoleSettings()
    log: LogSettings = LogSettings()

    @cached_property
    def embedded(self) -> StateFolder:
        return StateFolder(self.home)

    @property
    def database_url(self) -> str:
        url = self.database.url
        return url.get_secret_value() if url else self.embedded.database_url(role=WORKER)

    def administration_url(self, embedded_role: str) -> str:
        """The database URL for `triage db`: the configured one, or that of a role of the embedded Postgres."""
        url = self.database.url
        return url.get_secret_value() if url else self.embedded.database_url(role=embedded_role)

    @property
    def listen_url(self) -> str:
        url = self.api.listen_url
        return url.get_secret_value() if url else self.database_url

    @property
    def redis_url(self) -> str:
        return self.redis.url.get_secret_value() if self.redis.url else self.embedded.redis_url

    @property
    def blobs_url(self) -> str:
        return self.blobs.url or str(self.embedded.blobs)

    @property
    def models_url(self) -> str:
        return self.models.url or str(self.embedded.models)

    @property
    def cache_folder(self) -> Path:
        return self.scorer.cache_folder or self.embedded.engines

    @property
    def training_folder(self) -> Path:
        return self.training.folder or self.embedded.runs

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.inbox.lease_seconds)

    @property
    def retry_rules(self) -> RetryRules:
        inbox = self.inbox
        return RetryRules(inbox.max_attempts, inbox.max_lost_leases, timedelta(seconds=inbox.retry_backoff_seconds))

    @property
    def retake_policy(self) -> RetakePolicy:
        return RetakePolicy(
            max_requests_per_thread=self.retakes.max_requests_per_thread,
            cooldown=timedelta(hours=self.retakes.cooldown_hours),
            uncertain_margin=self.retakes.uncertain_margin,
            catalogue=self.catalogue,
        )

    @cached_property
    def catalogue(self) -> Catalogue:
        """The texts of replies.

        Raises:
            CatalogueError: a file of the folder is invalid.
        """
        replies = self.replies
        return load_catalogue(replies.folder, default=replies.locale, clinic=replies.clinic, phone=replies.phone)

    @property
    def delivery_rules(self) -> DeliveryRules:
        return DeliveryRules(
            give_up_after=timedelta(hours=self.webhook.give_up_hours),
            lease=timedelta(seconds=2 * self.webhook.timeout_seconds + _RECORD_SECONDS),
            at_once=self.webhook.parallel,
        )

    @property
    def lane_limits(self) -> LaneLimits:
        return LaneLimits(timedelta(seconds=self.api.assessment_seconds), self.api.max_assessments)

    @property
    def answer_rules(self) -> DeliveryRules:
        """Of answers to the FHIR server: one event can take many requests, one for each photo."""
        seconds = 2 * self.fhir.timeout_seconds * self.intake.max_attachments + _RECORD_SECONDS
        return DeliveryRules(lease=timedelta(seconds=min(seconds, _MAX_LEASE_SECONDS)))

    @property
    def needs_delivery_worker(self) -> bool:
        """Whether other systems are notified of events, or asked for messages."""
        return self.webhook.url is not None or self.fhir.is_on

    @property
    def keep_photos(self) -> timedelta | None:
        days = self.retention.photo_days
        return None if days is None else timedelta(days=days)

    @property
    def image_limits(self) -> ImageLimits:
        return ImageLimits(
            max_bytes=self.intake.max_bytes,
            max_pixels=self.intake.max_pixels,
            min_side=self.intake.min_side_pixels,
            max_side=self.intake.max_side_pixels,
            max_frames=self.intake.max_frames,
            decode_seconds=self.scorer.decode_seconds,
            decode_memory_bytes=self.scorer.decode_memory_mb * 2**20,
        )

    @property
    def intake_limits(self) -> IntakeLimits:
        return IntakeLimits(self.intake.max_attachments, self.intake.max_bytes)


VARIABLES: Final = variables_of(Settings)
"""The variables of all settings by name, in the order of the documentation."""

_MAX_PROBLEMS: Final = 5
_MAX_LEASE_SECONDS: Final = 600.0
_RECORD_SECONDS: Final = 10.0
"""Time to look up a host name before an attempt, and to record its result."""


def load_settings() -> Settings:
    """Reads the settings from the environment. Also sets the permissions of the files that this process will make.

    Raises:
        UsageError: a variable is unknown or invalid. The message names the variable but not its value.
    """
    if unknown := unknown_variables(os.environ, VARIABLES):
        more = f"; and {len(unknown) - _MAX_PROBLEMS} more" if len(unknown) > _MAX_PROBLEMS else ""
        raise UsageError(f"invalid settings: {'; '.join(unknown[:_MAX_PROBLEMS])}{more}")
    try:
        settings = Settings()
    except ValidationError as error:
        raise UsageError(f"invalid settings: {validation_problems(error, _variable)}") from None  # it shows values
    share_with(settings.files.group_id)
    return settings


def _variable(keys: Sequence[str]) -> str:
    """The variable with a problem. Keys inside its value, such as the number of an item in a list, are left out."""
    return variable_name(keys[:2])
