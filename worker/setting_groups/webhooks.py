"""Events that are sent to the message system."""

from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from triage.deliveries.rules import DeliveryRules
from worker.setting_types import Group, Networks, WebhookSecret, with_web_address

_DELIVERIES: Final = DeliveryRules()


class WebhookSettings(Group):
    """The system that is notified of decisions and retake requests by HTTP. Both a URL and a secret, or neither."""

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
