"""Postgres and Redis."""

import re
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from triage.domain.limits import POOL_SIZE
from worker.setting_types import Group, with_scheme


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
