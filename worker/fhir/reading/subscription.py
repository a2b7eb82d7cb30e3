"""This product's Subscription on the EHR's server: created once, and renewed when the server has switched it off.

Sources: https://hl7.org/fhir/R4/subscription.html; https://hl7.org/fhir/uv/subscriptions-backport, version 1.1.0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

from worker.fhir.parts import PRODUCT, Resource
from worker.fhir.server.bodies import JSON
from worker.fhir.server.client import FhirClient
from worker.fhir.server.errors import RejectedError
from worker.setting_groups import FhirSettings

_BACKPORT: Final = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
_FAILED: Final = frozenset({"off", "error"})


class Change(StrEnum):
    """What was done about a subscription."""

    NONE = "none"
    CREATED = "created"
    RENEWED = "renewed"
    UPDATED = "updated"


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription as the server has it.

    Attributes:
        status: of R4: `requested`, `active`, `error` or `off`; None if there is none.
        change: what this call changed. The status is the one before.
    """

    status: str | None
    change: Change = Change.NONE


def wanted(settings: FhirSettings) -> Resource:
    """The Subscription that these settings describe. They have an address and a key for hooks."""
    key = settings.hook_key.get_secret_value() if settings.hook_key else ""
    channel: Resource = {
        "type": "rest-hook",
        "endpoint": settings.hook_url,
        "header": [f"Authorization: Bearer {key}"],
    }
    subscription: Resource = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": f"photos of patients for {PRODUCT}",
        "criteria": settings.hook_topic or settings.poll_query or "Communication",
        "channel": channel,
    }
    if settings.hook_topic is not None:
        subscription["meta"] = {"profile": [f"{_BACKPORT}/backport-subscription"]}
        content = {"url": f"{_BACKPORT}/backport-payload-content", "valueCode": "id-only"}
        channel |= {"payload": JSON, "_payload": {"extension": [content]}}
    return subscription


def find(client: FhirClient, settings: FhirSettings) -> Subscribed:
    """The state of the subscription on the server, which is not changed.

    Raises:
        FhirUnavailableError, FhirRefusedError, RejectedError: see there.
    """
    stored = _stored(client, settings)
    return Subscribed(str(stored.get("status")) if stored else None)


def subscribe(client: FhirClient, settings: FhirSettings, *, rewrites: bool = False) -> Subscribed:
    """Creates the subscription if it is missing, and requests it again if the server has switched it off.

    Args:
        client: of the server.
        settings: with an address and a key for hooks.
        rewrites: also write it if it is active, because the settings may have changed.

    Raises:
        ConflictError, FhirUnavailableError, FhirRefusedError, RejectedError: see there.
    """
    subscription, stored = wanted(settings), _stored(client, settings)
    if stored is None:
        client.create(subscription, unless=_query(settings))
        return Subscribed(None, Change.CREATED)
    status = str(stored.get("status"))
    if status not in _FAILED and not rewrites:
        return Subscribed(status)
    if not isinstance(stored.get("id"), str):
        raise RejectedError("the FHIR server gives a subscription without an id: correct it there", 200)
    client.update(subscription | {"id": stored["id"]})
    return Subscribed(status, Change.RENEWED if status in _FAILED else Change.UPDATED)


def _stored(client: FhirClient, settings: FhirSettings) -> Mapping[str, Any] | None:
    """The one of these settings. A server may search wider than it was asked."""
    query = quote(_query(settings), safe="=")
    found = [each for each in client.search(f"Subscription?{query}") if _endpoint(each) == settings.hook_url]
    return min(found, key=lambda each: str(each.get("status")) in _FAILED, default=None)


def _query(settings: FhirSettings) -> str:
    return f"url={settings.hook_url}"


def _endpoint(subscription: Mapping[str, Any]) -> object:
    channel = subscription.get("channel")
    return channel.get("endpoint") if isinstance(channel, dict) else None
