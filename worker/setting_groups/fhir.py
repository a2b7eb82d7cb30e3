"""The EHR's FHIR server."""

import re
from pathlib import Path
from typing import Literal, Self, TypeAlias

from pydantic import Field, SecretStr, field_validator, model_validator

from worker.setting_types import Group, with_base_address

_OWNERS = ("CareTeam", "HealthcareService", "Organization", "Practitioner", "PractitionerRole")
"""What may own a task of staff in R4."""

RetakeResource: TypeAlias = Literal["CommunicationRequest", "Task", "Communication", "none"]
"""How a retake request is written to the EHR's server; a task names its CommunicationRequest."""


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
    push_source: str = Field(
        default="fhir-push",
        description="source of the messages that clients send to `/fhir` of `triage serve`; needs no FHIR server",
    )
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
    max_message_bytes: int = Field(
        default=2**28,
        ge=2**20,
        le=2**36,
        description=(
            "largest size of all photos of a message that is read there, held in memory together; a photo beyond it is "
            "`too_large`"
        ),
    )
    answers: bool = Field(
        default=False,
        description=(
            "`true` writes verdicts and retake requests to that server; its scopes need `system/Observation.write` and "
            "`system/CommunicationRequest.write` too"
        ),
    )
    retakes_as: RetakeResource = Field(
        default="CommunicationRequest",
        description=(
            "how `answers` write a retake request: `CommunicationRequest`; `Task`, for staff, with a "
            "CommunicationRequest; `Communication`, if that server shows it to the patient; `none` if a message system "
            "claims requests instead"
        ),
    )
    task_owner: str | None = Field(
        default=None, description="reference of those who do the tasks, such as `Organization/7`, for `Task`"
    )
    hook_url: str | None = Field(
        default=None,
        description=(
            "address of this product's `/fhir-hook` as that server reaches it; a subscription there is created and "
            "renewed if set"
        ),
    )
    hook_key: SecretStr | None = Field(
        default=None, description="key of a client with the scope `fhir.notify`, which that server sends with each hook"
    )
    hook_topic: str | None = Field(
        default=None,
        description=(
            "topic of a subscription by the R5 backport, which notifies by id only; by default the subscription is one "
            "of R4 for `TRIAGE_FHIR__POLL_QUERY`"
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
    def collected(self) -> str | None:
        """The source whose retake requests this server gets, instead of a message system."""
        return self.source if self.is_on and self.answers and self.retakes_as != "none" else None

    @property
    def is_searched(self) -> bool:
        """Whether that server is asked at intervals: for messages, or for the state of the subscription."""
        return self.poll_query is not None or self.hook_url is not None

    @property
    def is_on(self) -> bool:
        return self.url is not None

    @field_validator("url", "hook_url", "hook_topic")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        return with_base_address(url)

    @field_validator("source", "push_source")
    @classmethod
    def _check_source(cls, source: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", source):
            raise ValueError("use 1 to 64 letters, digits, dots, dashes or underscores")
        return source

    @field_validator("task_owner")
    @classmethod
    def _check_owner(cls, owner: str | None) -> str | None:
        if owner is not None and not re.fullmatch(rf"({'|'.join(_OWNERS)})/[A-Za-z0-9.-]{{1,64}}", owner):
            raise ValueError(f"use a reference such as Organization/7, of {', '.join(_OWNERS)}")
        return owner

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
        if self.url is None and (self.poll_query is not None or self.answers or self.hook_url is not None):
            raise ValueError("set url too: poll_query, answers and hook_url need it")
        if (self.hook_url is None) != (self.hook_key is None):
            raise ValueError("set hook_url and hook_key together")
        if self.source == self.push_source:
            raise ValueError("source and push_source are the same: name two, so that ids of messages cannot collide")
        return self
