"""Retake requests and their replies."""

from datetime import timedelta
from pathlib import Path
from typing import Final

from pydantic import Field, field_validator

from triage.domain.text import check_locale
from triage.errors import UsageError
from triage.replies.catalogue import DEFAULT_LOCALE
from triage.replies.locale_file import check_value
from triage.retakes.policy import RetakePolicy
from worker.setting_types import Group

_RETAKES: Final = RetakePolicy()


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
