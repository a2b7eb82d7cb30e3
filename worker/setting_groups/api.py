"""`triage serve`."""

from pathlib import Path
from typing import Final, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from triage.domain.assessments import LaneLimits
from triage.domain.clients import check_jwks_url
from triage.errors import UsageError
from worker.setting_types import Group, with_base_address, with_scheme

_LANE: Final = LaneLimits()


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
    statement_seconds: float = Field(
        default=60,
        ge=0.001,
        le=86_400,
        description="longest statement of a report, a simulation or another read of months of rows; 503 beyond",
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
