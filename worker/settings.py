"""Settings from the environment: `TRIAGE_<GROUP>__<NAME>`, such as `TRIAGE_DATABASE__URL`. Names include the unit.

Defaults of rules and limits stand with the rule in `triage`; the fields here read them from there.
"""

import json
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from triage.domain.limits import FETCH_SECONDS, POOL_SIZE, IntakeLimits, RetryRules
from triage.errors import UsageError, validation_problems
from triage.imaging.limits import ImageLimits
from triage.retakes.policy import RetakePolicy
from triage.storage.role_names import WORKER
from worker.state_folder import StateFolder, default_state_folder

_INTAKE: Final = IntakeLimits()
_IMAGES: Final = ImageLimits()
_RETRIES: Final = RetryRules()
_RETAKES: Final = RetakePolicy()


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_is_group(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError(f"this is no variable: set those of its group, such as {next(iter(cls.model_fields))}")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _check_not_empty(cls, value: object) -> object:
        if value == "":
            raise ValueError("the value is empty: set a value or unset the variable")
        return value


def _with_scheme(url: SecretStr | None, *schemes: str) -> SecretStr | None:
    if url is None:
        return None
    if not url.get_secret_value().startswith(schemes):
        raise ValueError(f"the URL must start with {' or '.join(schemes)}")
    try:
        port = urlsplit(url.get_secret_value()).port
    except ValueError:
        raise ValueError("the URL has a malformed host or port") from None  # the cause quotes the URL
    if port == 0:
        raise ValueError("the URL has a malformed host or port")
    return url


def _from_json(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        raise ValueError("use a JSON list of texts") from None


def _network(value: Any) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value)
    except ValueError:
        raise ValueError("use networks such as 10.20.0.0/16, without bits after the prefix") from None


_Roots: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_from_json)]
_Networks: TypeAlias = Annotated[
    tuple[Annotated[IPv4Network | IPv6Network, PlainValidator(_network)], ...], BeforeValidator(_from_json)
]


class DatabaseSettings(_Group):
    url: SecretStr | None = Field(default=None, description="postgresql+psycopg://...; the embedded Postgres if unset")
    pool_size: int = Field(default=POOL_SIZE, ge=1, le=1000)

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr | None) -> SecretStr | None:
        return _with_scheme(url, "postgresql+psycopg://")


class RoleSettings(_Group):
    """Passwords for `triage db roles`, the only command that reads them."""

    migrator_password: SecretStr | None = None
    worker_password: SecretStr | None = None
    report_password: SecretStr | None = None


class RedisSettings(_Group):
    url: SecretStr | None = Field(
        default=None, description="redis://, rediss:// or unix://; the embedded Redis if unset"
    )
    key_prefix: str = "triage:"
    socket_timeout_seconds: float = Field(default=10, gt=0, le=3600)
    ca_file: Path | None = Field(default=None, description="CA of the server; the system's CAs if unset")
    certificate_file: Path | None = Field(default=None, description="client certificate, if the server requires one")
    key_file: Path | None = Field(default=None, description="private key of the client certificate")

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr | None) -> SecretStr | None:
        return _with_scheme(url, "redis://", "rediss://", "unix://")


class SigningSettings(_Group):
    """All three paths or none. With them, tasks are signed and unsigned tasks are rejected."""

    key_file: Path | None = None
    certificate_file: Path | None = None
    trusted_folder: Path | None = Field(default=None, description="certificates (.pem) of all trusted senders")
    max_age_seconds: float = Field(default=86_400, ge=1, le=31_536_000)

    @property
    def is_on(self) -> bool:
        return self.key_file is not None

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        given = [self.key_file, self.certificate_file, self.trusted_folder]
        if any(given) and not all(given):
            raise ValueError("set key_file, certificate_file and trusted_folder together")
        return self


class BlobSettings(_Group):
    url: str | None = Field(default=None, description="store of photos, any fsspec URL; an embedded folder if unset")


class ModelSettings(_Group):
    url: str | None = Field(default=None, description="store of weights, any fsspec URL; an embedded folder if unset")


class IntakeSettings(_Group):
    max_attachments: int = Field(default=_INTAKE.max_attachments, ge=1, le=10_000)
    max_bytes: int = Field(default=_INTAKE.max_bytes, ge=1, le=2**33)
    max_pixels: int = Field(default=_IMAGES.max_pixels, ge=1, le=2**33)
    min_side_pixels: int = Field(default=_IMAGES.min_side, ge=1, le=2**20)
    max_side_pixels: int = Field(default=_IMAGES.max_side, ge=1, le=2**20)
    max_frames: int = Field(default=_IMAGES.max_frames, ge=1, le=10**6)
    uri_roots: _Roots = Field(default=(), description='JSON list, such as ["file:///srv/inbox"]')
    local_networks: _Networks = Field(default=(), description='such as ["10.20.0.0/16"]')
    fetch_seconds: float = Field(default=FETCH_SECONDS, gt=0, le=3600)


class WorkerSettings(_Group):
    stall_seconds: float = Field(
        default=900, gt=0, le=86_400, description="a worker with work and without progress exits after this time"
    )


class InboxSettings(_Group):
    lease_seconds: float = Field(default=300, gt=0, le=86_400)
    max_attempts: int = Field(default=_RETRIES.max_attempts, ge=1, le=1000)
    max_lost_leases: int = Field(default=_RETRIES.max_lost_leases, ge=2, le=1000)
    retry_backoff_seconds: float = Field(default=_RETRIES.backoff.total_seconds(), ge=0, le=86_400)
    drain_seconds: float = Field(default=20, gt=0, le=86_400)
    sweep_seconds: float = Field(default=5, gt=0, le=86_400)


class ScorerSettings(_Group):
    device: str = "auto"
    engine: Literal["auto", "torch", "mnn", "cuda"] = "auto"
    cache_folder: Path | None = Field(default=None, description="models in MNN's format; an embedded folder if unset")
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="CPU threads of the network; all available if unset"
    )
    decode_threads: int = Field(default=2, ge=1, le=256)
    decode_seconds: float = Field(default=_IMAGES.decode_seconds, gt=0, le=3600)
    decode_memory_mb: int = Field(default=_IMAGES.decode_memory_bytes // 2**20, ge=512, le=2**20)
    photos_per_batch: int | None = Field(default=None, ge=1, le=4096, description="4 on a CPU, 64 on a GPU if unset")


class RetakeSettings(_Group):
    max_requests_per_thread: int = Field(default=_RETAKES.max_requests_per_thread, ge=0, le=10_000)
    cooldown_hours: float = Field(default=_RETAKES.cooldown / timedelta(hours=1), ge=0, le=876_000)
    uncertain_margin: float = Field(default=_RETAKES.uncertain_margin, ge=0, le=1)


class TrainingSettings(_Group):
    lease_seconds: float = Field(default=60, ge=5, le=86_400)
    max_attempts: int = Field(default=10, ge=1, le=1000)
    device: str = "auto"
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="CPU threads of training; PyTorch's choice if unset"
    )
    folder: Path | None = Field(default=None, description="checkpoints of runs; an embedded folder if unset")


class RetentionSettings(_Group):
    photo_days: float | None = Field(default=None, gt=0, le=36_500, description="age of purged photos; none if unset")


class ScheduleSettings(_Group):
    rescoring_hour_utc: int = Field(default=2, ge=0, le=23)
    purge_hour_utc: int = Field(default=4, ge=0, le=23)


class MetricsSettings(_Group):
    host: str = "127.0.0.1"
    worker_port: int | None = Field(default=None, ge=1, le=65535, description="closed if unset")


class LogSettings(_Group):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["json", "console"] = "json"


class Settings(BaseSettings):
    """All settings. The defaults select the embedded services."""

    model_config = SettingsConfigDict(
        env_prefix="TRIAGE_",
        env_nested_delimiter="__",
        enable_decoding=False,  # its errors do not name the variable; the fields that hold lists decode them
        frozen=True,
        extra="ignore",
    )

    home: Path = Field(default_factory=default_state_folder, description="folder of the embedded services")
    database: DatabaseSettings = DatabaseSettings()
    roles: RoleSettings = RoleSettings()
    redis: RedisSettings = RedisSettings()
    signing: SigningSettings = SigningSettings()
    blobs: BlobSettings = BlobSettings()
    models: ModelSettings = ModelSettings()
    intake: IntakeSettings = IntakeSettings()
    worker: WorkerSettings = WorkerSettings()
    inbox: InboxSettings = InboxSettings()
    scorer: ScorerSettings = ScorerSettings()
    retakes: RetakeSettings = RetakeSettings()
    training: TrainingSettings = TrainingSettings()
    retention: RetentionSettings = RetentionSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    metrics: MetricsSettings = MetricsSettings()
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
        )

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


def load_settings() -> Settings:
    """Reads the settings from the environment.

    Raises:
        UsageError: a variable is invalid. The message names the variable but not its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise UsageError(f"invalid settings: {validation_problems(error, _variable)}") from None  # it shows values


def _variable(keys: Sequence[str]) -> str:
    """The variable with a problem. Keys inside its value, such as the number of an item in a list, are left out."""
    return f"TRIAGE_{'__'.join(keys[:2]).upper()}"
