"""The settings by group, each with its default, its limits and its meaning.

Defaults of rules and limits stand with the rule in `triage`; the fields here read them from there. The meanings are the
text of docs/operations/settings.md and deploy/env.example, which `make pages` writes.
"""

import re
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from triage.deliveries.rules import DeliveryRules
from triage.domain.assessments import LaneLimits
from triage.domain.clients import check_jwks_url
from triage.domain.limits import FETCH_SECONDS, POOL_SIZE, IntakeLimits, RetryRules
from triage.domain.text import check_locale
from triage.errors import UsageError
from triage.imaging.limits import ImageLimits
from triage.replies.catalogue import DEFAULT_LOCALE
from triage.replies.locale_file import check_value
from triage.retakes.policy import RetakePolicy
from worker.setting_types import (
    Group,
    Networks,
    Roots,
    WebhookSecret,
    group_number,
    with_base_address,
    with_scheme,
    with_web_address,
)

_INTAKE: Final = IntakeLimits()
_LANE: Final = LaneLimits()
_IMAGES: Final = ImageLimits()
_RETRIES: Final = RetryRules()
_RETAKES: Final = RetakePolicy()
_DELIVERIES: Final = DeliveryRules()


class DatabaseSettings(Group):
    url: SecretStr | None = Field(
        default=None, description="`postgresql+psycopg://user:password@host:5432/name`; the embedded Postgres if unset"
    )
    pool_size: int = Field(
        default=POOL_SIZE,
        ge=1,
        le=1000,
        description="connections that a process keeps; it may briefly open the same number again",
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr | None) -> SecretStr | None:
        return with_scheme(url, "postgresql+psycopg://")


class RoleSettings(Group):
    """Passwords for `triage db roles`, the only command that reads them."""

    migrator_password: SecretStr | None = Field(
        default=None,
        description=(
            "password of the role triage_migrator, read by `triage db roles` only, like the next two; see "
            "[roles.md](roles.md)"
        ),
    )
    worker_password: SecretStr | None = Field(default=None, description="password of the role triage_worker")
    report_password: SecretStr | None = Field(default=None, description="password of the role triage_report")


class RedisSettings(Group):
    url: SecretStr | None = Field(
        default=None, description="`redis://`, `rediss://` (TLS) or `unix://`; the embedded Redis if unset"
    )
    key_prefix: str = Field(
        default="triage:", description="prefix of every key; senders through Celery use the same prefix"
    )
    socket_timeout_seconds: float = Field(default=10, gt=0, le=3600, description="time limit for an answer of Redis")
    ca_file: Path | None = Field(
        default=None,
        description=(
            "for `rediss://`: certificate of the authority that signed the server's certificate; the "
            "system's authorities if unset"
        ),
    )
    certificate_file: Path | None = Field(
        default=None, description="client certificate, if the server requires one; set it with `TRIAGE_REDIS__KEY_FILE`"
    )
    key_file: Path | None = Field(default=None, description="private key of that certificate")

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr | None) -> SecretStr | None:
        checked = with_scheme(url, "redis://", "rediss://", "unix://")
        if checked is not None:
            parts = urlsplit(checked.get_secret_value())
            if parts.scheme != "unix" and not re.fullmatch(r"/?|/[0-9]{1,4}", parts.path):  # clients would use 0
                raise ValueError("the URL's path is not the number of a database, such as /0")
        return checked


class SigningSettings(Group):
    """All three paths or none. With them, tasks are signed and unsigned tasks are rejected."""

    key_file: Path | None = Field(
        default=None,
        description=(
            "private key of this process; with the next two variables task messages are signed, see "
            "[security.md](security.md)"
        ),
    )
    certificate_file: Path | None = Field(default=None, description="certificate of this process")
    trusted_folder: Path | None = Field(
        default=None, description="folder with the certificates (`.pem`) of all parts and senders"
    )
    max_age_seconds: float = Field(
        default=86_400,
        ge=1,
        le=31_536_000,
        description="age from which a signed message is refused; longer than the longest outage of the workers",
    )

    @property
    def is_on(self) -> bool:
        return self.key_file is not None

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        given = [self.key_file, self.certificate_file, self.trusted_folder]
        if any(given) and not all(given):
            raise ValueError("set key_file, certificate_file and trusted_folder together")
        return self


class BlobSettings(Group):
    url: str | None = Field(
        default=None,
        description=(
            "store of the photos: a folder, or any fsspec URL whose driver is installed; an embedded folder if unset"
        ),
    )


class ModelSettings(Group):
    url: str | None = Field(
        default=None, description="store of model weights, in the same form; every worker needs the same store"
    )


class FileSettings(Group):
    group: str | None = Field(
        default=None,
        description=(
            "name or number of a group that can use all files of the product; only their owner can if unset, "
            "see [install.md](install.md#users-and-permissions)"
        ),
    )

    @property
    def group_id(self) -> int | None:
        return None if self.group is None else group_number(self.group)

    @field_validator("group")
    @classmethod
    def _check_group(cls, group: str | None) -> str | None:
        if group is not None:
            group_number(group)
        return group


class IntakeSettings(Group):
    max_attachments: int = Field(
        default=_INTAKE.max_attachments, ge=1, le=10_000, description="largest number of photos in a message"
    )
    max_bytes: int = Field(
        default=_INTAKE.max_bytes, ge=1, le=2**33, description="largest size of a photo; a larger photo is `too_large`"
    )
    max_pixels: int = Field(
        default=_IMAGES.max_pixels,
        ge=1,
        le=2**33,
        description="largest number of pixels, checked before decoding; a photo with more is `too_many_pixels`",
    )
    min_side_pixels: int = Field(
        default=_IMAGES.min_side, ge=1, le=2**20, description="smallest shorter side; a smaller photo is `too_small`"
    )
    max_side_pixels: int = Field(
        default=_IMAGES.max_side, ge=1, le=2**20, description="largest longer side; a longer photo is `side_too_long`"
    )
    max_frames: int = Field(
        default=_IMAGES.max_frames,
        ge=1,
        le=10**6,
        description="largest number of pictures in a file; a file with more is `too_many_frames`",
    )
    uri_roots: Roots = Field(
        default=(),
        description=(
            'JSON list of allowed roots of photo URIs, such as `["file:///srv/inbox"]`; also `https://`, '
            "`s3://`; see [security.md](security.md)"
        ),
    )
    local_networks: Networks = Field(
        default=(),
        description='JSON list of non-public networks with web servers that hold photos, such as `["10.20.0.0/16"]`',
    )
    fetch_seconds: float = Field(
        default=FETCH_SECONDS,
        gt=0,
        le=3600,
        description="time limit for a photo from a web server, and for each call of an object store with photos",
    )


class WorkerSettings(Group):
    stall_seconds: float = Field(
        default=900,
        gt=0,
        le=86_400,
        description=(
            "a worker that has work and makes no progress exits after this time, so that it is restarted; "
            "keep it longer than loading a model or scoring one batch takes"
        ),
    )


class InboxSettings(Group):
    lease_seconds: float = Field(
        default=300,
        gt=0,
        le=86_400,
        description="time a worker holds photos; unfinished photos then go to another worker",
    )
    max_attempts: int = Field(
        default=_RETRIES.max_attempts,
        ge=1,
        le=1000,
        description="failures in decoding or scoring before a photo is parked as `not_assessable`",
    )
    max_lost_leases: int = Field(
        default=_RETRIES.max_lost_leases,
        ge=2,
        le=1000,
        description="workers that may be lost with a photo in hand before it is parked with `attempts_exhausted`",
    )
    retry_backoff_seconds: float = Field(
        default=_RETRIES.backoff.total_seconds(), ge=0, le=86_400, description="delay before a failed photo is retried"
    )
    drain_seconds: float = Field(
        default=20,
        gt=0,
        le=86_400,
        description=(
            "time after which a drain starts no further batch; keep it below the 60 s that a container has to stop"
        ),
    )
    sweep_seconds: float = Field(
        default=5, gt=0, le=86_400, description="interval of the sweeps for expired leases and lost wake-ups"
    )


class ScorerSettings(Group):
    device: str = Field(default="auto", description="`auto` uses a CUDA card if available; or `cpu`, `cuda`, `cuda:1`")
    engine: Literal["auto", "torch", "mnn", "cuda"] = Field(
        default="auto",
        description=(
            "`torch`, `mnn` or `cuda`; `auto` uses the fastest that works on the machine; see [engines.md](engines.md)"
        ),
    )
    cache_folder: Path | None = Field(
        default=None,
        description=(
            "models converted for MNN, 59 MB each; a folder below `TRIAGE_HOME` if unset; safe to empty at any time"
        ),
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="CPU threads of the network; PyTorch's choice if unset, limited to the container's CPUs",
    )
    decode_threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="photos decoded at the same time; if unset 2 on a CPU, the number of cores on a GPU machine",
    )
    decode_seconds: float = Field(
        default=_IMAGES.decode_seconds,
        gt=0,
        le=3600,
        description=(
            "time limit for decoding a photo that is not plain JPEG or PNG; a slower photo is `decoding_timed_out`"
        ),
    )
    decode_memory_mb: int = Field(
        default=_IMAGES.decode_memory_bytes // 2**20,
        ge=512,
        le=2**20,
        description=(
            "address space of a process that decodes such photos; a photo that needs more is `too_much_memory`"
        ),
    )
    photos_per_batch: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="photos claimed, scored and recorded together; if unset 4 on a CPU, 64 on a GPU",
    )
    batches_ahead: int | None = Field(
        default=None,
        ge=1,
        le=16,
        description="batches prepared at the same time, ahead of the scored one; if unset 1 on a CPU, 4 on a GPU",
    )


class RetakeSettings(Group):
    max_requests_per_thread: int = Field(
        default=_RETAKES.max_requests_per_thread,
        ge=0,
        le=10_000,
        description="requests in a thread before staff take over",
    )
    cooldown_hours: float = Field(
        default=_RETAKES.cooldown / timedelta(hours=1),
        ge=0,
        le=876_000,
        description="minimum time between two requests in a thread",
    )
    uncertain_margin: float = Field(
        default=_RETAKES.uncertain_margin,
        ge=0,
        le=1,
        description="a best score within this distance below the threshold goes to staff, not back to the patient",
    )


class WebhookSettings(Group):
    """The system that is told of decisions and retake requests by HTTP. Both a URL and a secret, or neither."""

    url: SecretStr | None = Field(
        default=None,
        description=(
            "`https://` address that gets decisions and retake requests, see "
            "[webhooks.md](../integration/webhooks.md); none is sent if unset"
        ),
    )
    secret: WebhookSecret | None = Field(
        default=None, description="signs each event: `whsec_` and the base64 of 24 to 64 random bytes"
    )
    previous_secret: WebhookSecret | None = Field(
        default=None, description="also signs each event, while receivers change to a new secret"
    )
    local_networks: Networks = Field(
        default=(),
        description='JSON list of non-public networks that the address may be in, such as `["10.20.0.0/16"]`',
    )
    ca_file: Path | None = Field(
        default=None,
        description="certificate of the authority that signed the receiver's; the system's authorities if unset",
    )
    timeout_seconds: float = Field(default=10, gt=0, le=20, description="time limit for the receiver's whole answer")
    give_up_hours: float = Field(
        default=_DELIVERIES.give_up_after / timedelta(hours=1),
        gt=0,
        le=720,
        description="time from the first attempt after which an event is `dead`",
    )
    parallel: int = Field(
        default=_DELIVERIES.at_once, ge=1, le=64, description="events that a delivery worker sends at the same time"
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: SecretStr | None) -> SecretStr | None:
        return with_web_address(url)

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.url is None) != (self.secret is None):
            raise ValueError("set url and secret together")
        return self


class ReplySettings(Group):
    """Validated with the files of the folder when a worker starts, see `Settings.catalogue`."""

    folder: Path | None = Field(
        default=None,
        description=(
            "files with the hospital's texts of replies, such as `es-MX.toml`; only the texts that ship if unset, see "
            "[replies.md](../replies.md)"
        ),
    )
    locale: str = Field(
        default=DEFAULT_LOCALE,
        description="language of replies if the message names none, or one without texts (BCP 47)",
    )
    clinic: str | None = Field(default=None, description="value of `{clinic}` in replies")
    phone: str | None = Field(default=None, description="value of `{phone}` in replies")

    @field_validator("clinic", "phone")
    @classmethod
    def _check_value(cls, value: str | None) -> str | None:
        return None if value is None else check_value(value)

    @field_validator("locale")
    @classmethod
    def _check_locale(cls, locale: str) -> str:
        try:
            return check_locale(locale)
        except UsageError as error:
            raise ValueError(str(error)) from None


class FhirSettings(Group):
    """The FHIR server of an EHR. Its URL, a client id and a key, or none of them."""

    url: str | None = Field(
        default=None,
        description=(
            "base of the EHR's FHIR server (R4), such as `https://ehr.example.org/fhir`; see "
            "[fhir.md](../integration/fhir.md); unused if unset"
        ),
    )
    source: str = Field(default="fhir", description="source of the messages that are read there, as in reports")
    client_id: str | None = Field(default=None, description="under which that server knows this product")
    key_file: Path | None = Field(
        default=None, description="private key (PEM; EC on P-384, or RSA with 2048 bits or more) for its access tokens"
    )
    scopes: str = Field(
        default=(
            "system/Communication.read system/Binary.read system/DocumentReference.read system/Media.read "
            "system/CommunicationRequest.read"
        ),
        description="scopes of these tokens, separated by spaces",
    )
    ca_file: Path | None = Field(
        default=None,
        description="certificate of the authority that signed the server's; the system's authorities if unset",
    )
    timeout_seconds: float = Field(default=30, gt=0, le=300, description="time limit for each step of an answer")
    answers: bool = Field(
        default=False,
        description=(
            "`true` writes verdicts and retake requests to that server; its scopes need `system/Observation.write` and "
            "`system/CommunicationRequest.write` too"
        ),
    )
    poll_query: str | None = Field(
        default=None,
        description=(
            "search for new messages, such as `Communication?category=notification`; the server is not searched if "
            "unset"
        ),
    )
    poll_cursor: str = Field(
        default="_lastUpdated",
        description="search parameter of the time at which a message arrived or changed; `received` for Oracle Health",
    )
    poll_seconds: float = Field(default=60, ge=1, le=86_400, description="time between two searches")
    poll_overlap_seconds: float = Field(
        default=300,
        ge=0,
        le=2_592_000,
        description="how far a search reaches back behind the previous one",
    )

    @property
    def is_on(self) -> bool:
        return self.url is not None

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        return with_base_address(url)

    @field_validator("source")
    @classmethod
    def _check_source(cls, source: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", source):
            raise ValueError("use 1 to 64 letters, digits, dots, dashes or underscores")
        return source

    @field_validator("poll_query")
    @classmethod
    def _check_query(cls, query: str | None) -> str | None:
        if query is not None and not re.fullmatch(r"Communication(\?[!-~]+)?", query):
            raise ValueError("use a search for Communication, percent-encoded, such as Communication?status=completed")
        return query

    @field_validator("poll_cursor")
    @classmethod
    def _check_cursor(cls, cursor: str) -> str:
        if not re.fullmatch(r"[_A-Za-z][A-Za-z0-9-]{0,63}", cursor):
            raise ValueError("use the name of a search parameter, such as _lastUpdated")
        return cursor

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        given = [self.url, self.client_id, self.key_file]
        if any(given) and not all(given):
            raise ValueError("set url, client_id and key_file together")
        if self.url is None and (self.poll_query is not None or self.answers):
            raise ValueError("set url too: poll_query and answers need it")
        return self


class TrainingSettings(Group):
    lease_seconds: float = Field(
        default=60, ge=5, le=86_400, description="time without a heartbeat before another worker resumes a training run"
    )
    max_attempts: int = Field(
        default=10, ge=1, le=1000, description="worker deaths without a finished epoch before a run fails"
    )
    device: str = Field(default="auto", description="as `TRIAGE_SCORER__DEVICE`")
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="CPU threads of training; PyTorch's choice if unset, limited to the container's CPUs",
    )
    decode_threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="photos prepared at the same time before the first epoch; if unset one for each CPU, at most 16",
    )
    folder: Path | None = Field(
        default=None,
        description="checkpoints and decoded photos of runs, 0.6 MB per photo; a folder below `TRIAGE_HOME` if unset",
    )


class RetentionSettings(Group):
    photo_days: float | None = Field(
        default=None,
        gt=0,
        le=36_500,
        description="age since the last receipt at which photos are purged; never if unset",
    )


class ScheduleSettings(Group):
    rescoring_hour_utc: int = Field(default=2, ge=0, le=23, description="hour at which the nightly rescoring starts")
    purge_hour_utc: int = Field(default=4, ge=0, le=23, description="hour at which the nightly purge starts")


class MetricsSettings(Group):
    host: str = Field(default="127.0.0.1", description="listen address of the workers' metrics")
    worker_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="port of a worker's metrics, different for each worker of a host; closed if unset",
    )


class ApiSettings(Group):
    """The HTTP interface, `triage serve`."""

    host: str = Field(
        default="127.0.0.1",
        description="listen address of `triage serve`; an address other than loopback requires TLS or `--behind-proxy`",
    )
    port: int = Field(default=8080, ge=0, le=65535, description="port of `triage serve`; 0 selects a free one")
    public_url: str | None = Field(
        default=None,
        description=(
            "URL under which clients reach the server, such as `https://triage.example.org`; required for access "
            "tokens behind a proxy"
        ),
    )
    certificate_file: Path | None = Field(
        default=None, description="TLS certificate with its chain; set it with `TRIAGE_API__KEY_FILE`"
    )
    key_file: Path | None = Field(default=None, description="private key of that certificate")
    listen_url: SecretStr | None = Field(
        default=None,
        description=(
            "database URL on which the server listens for decisions, past a pooler in transaction mode; "
            "`TRIAGE_DATABASE__URL` if unset"
        ),
    )
    max_body_bytes: int = Field(
        default=2**29, ge=2**10, le=2**36, description="largest body of a request with photos; 413 beyond"
    )
    max_json_bytes: int = Field(
        default=2**24,
        ge=2**10,
        le=2**30,
        description="largest JSON body, which is read into memory; 413 beyond. Send large photos as multipart",
    )
    max_requests_per_client: int = Field(
        default=32, ge=1, le=10_000, description="requests of a client at the same time; 429 beyond"
    )
    max_connections: int = Field(
        default=1000, ge=1, le=100_000, description="open connections; further ones are closed"
    )
    idle_seconds: float = Field(
        default=20,
        gt=0,
        le=3600,
        description="time for the head of a request, between two pieces of its body, and on an idle connection",
    )
    request_seconds: float = Field(
        default=300, gt=0, le=86_400, description="time for the whole body of a request, and for its answer to be read"
    )
    assessment_seconds: float = Field(
        default=_LANE.patience.total_seconds(),
        ge=1,
        le=300,
        description="time for the answer to a photo that is checked before it is sent; 503 after it",
    )
    max_assessments: int = Field(
        default=_LANE.max_waiting,
        ge=1,
        le=10_000,
        description="photos that wait to be checked at the same time; 503 beyond",
    )
    issuer: str | None = Field(
        default=None,
        description=(
            "identity provider whose tokens (JWT) are accepted: the exact value of `iss`; set it with the next two "
            "variables"
        ),
    )
    audience: str | None = Field(default=None, description="value that `aud` of these tokens must have")
    jwks_url: str | None = Field(default=None, description="where the identity provider publishes its public keys")

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, url: str | None) -> str | None:
        return with_base_address(url)

    @field_validator("listen_url")
    @classmethod
    def _check_listen_url(cls, url: SecretStr | None) -> SecretStr | None:
        return with_scheme(url, "postgresql+psycopg://")

    @field_validator("jwks_url")
    @classmethod
    def _check_jwks_url(cls, url: str | None) -> str | None:
        if url is not None:
            try:
                check_jwks_url(url)
            except UsageError as error:
                raise ValueError(str(error)) from None
        return url

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("set certificate_file and key_file together")
        identity = [self.issuer, self.audience, self.jwks_url]
        if any(identity) and not all(identity):
            raise ValueError("set issuer, audience and jwks_url together")
        return self


class LogSettings(Group):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`"
    )
    format: Literal["json", "console"] = Field(default="json", description="`json` or `console`")
