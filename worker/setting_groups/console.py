"""The staff console, which `triage serve` serves."""

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Self, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from triage.domain.clients import check_jwks_url
from triage.domain.staff import Role
from triage.errors import UsageError
from worker.setting_types import Group


def _roles(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        raise ValueError('use a JSON object such as {"dermatology-nurses": "reviewer"}') from None


RoleNames: TypeAlias = Annotated[Mapping[str, Role], BeforeValidator(_roles)]

_OWN_NAMES: Final = {role.value: role for role in Role}


class ConsoleSettings(Group):
    """The staff console, `/console` of `triage serve`."""

    enabled: bool = Field(default=True, description="serve the staff console; no one can log in without an account")
    time_zone: str = Field(default="UTC", description="time zone of the clinic, such as `America/New_York`")
    idle_minutes: float = Field(
        default=15, ge=1, le=1440, description="a session ends after this time without a request"
    )
    session_hours: float = Field(default=12, gt=0, le=168, description="longest session, from its login")
    claim_minutes: float = Field(
        default=15, ge=1, le=1440, description="how long a claimed message is kept from other reviewers"
    )
    issuer: str | None = Field(
        default=None,
        description=(
            "identity provider for logins by OpenID Connect: its issuer URL, under which "
            "`/.well-known/openid-configuration` lies; set it with `TRIAGE_CONSOLE__CLIENT_ID`"
        ),
    )
    client_id: str | None = Field(default=None, description="id of the console at that provider")
    client_secret: SecretStr | None = Field(
        default=None, description="secret of the console at that provider; none for a public client"
    )
    name_claim: str = Field(
        default="preferred_username", description="claim with the name of the account, stored permanently"
    )
    role_claim: str = Field(
        default="roles",
        description="claim with the roles or groups of the person: a text or a list; dots lead into objects",
    )
    roles: RoleNames | None = Field(
        default=None,
        description=(
            'values of that claim and the role that each gives, such as `{"derma-nurses": "reviewer"}`; the highest '
            "one counts. Unset: the names of the roles"
        ),
    )

    @field_validator("time_zone")
    @classmethod
    def _check_time_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
            raise ValueError("unknown time zone: use a name of the IANA database, such as Europe/Madrid") from None
        return name

    @field_validator("issuer")
    @classmethod
    def _check_issuer(cls, url: str | None) -> str | None:
        if url is not None:
            try:
                check_jwks_url(url)
            except UsageError:
                raise ValueError("use https://, or http:// on this host's loopback address") from None
        return url

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.issuer is None) != (self.client_id is None):
            raise ValueError("set issuer and client_id together")
        return self

    def role_of(self, values: Iterable[str]) -> Role | None:
        """The highest role that these values of the claim give."""
        known = _OWN_NAMES if self.roles is None else self.roles
        given = {known[value] for value in values if value in known}
        return max(given, key=list(Role).index, default=None)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def idle(self) -> timedelta:
        return timedelta(minutes=self.idle_minutes)

    @property
    def absolute(self) -> timedelta:
        return timedelta(hours=self.session_hours)

    @property
    def claim_lease(self) -> timedelta:
        return timedelta(minutes=self.claim_minutes)
