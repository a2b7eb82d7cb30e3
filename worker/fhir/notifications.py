"""What a FHIR server tells by its subscriptions: which messages to read. Nothing else of a notification is used.

Classic rest-hooks of R4 are empty or carry a resource. Those of the R5 backport are a Bundle whose first entry has
Parameters. Its numbers, which would tell of lost notifications, are not used: the search finds what was lost.

Source: https://hl7.org/fhir/uv/subscriptions-backport, version 1.1.0.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from worker.fhir.references import Target, target_of

MAX_REFERENCES: Final = 10_000
_QUIET: Final = frozenset({"handshake", "heartbeat"})


@dataclass(frozen=True, slots=True)
class Notice:
    """
    Attributes:
        messages: on the server, to be read.
        is_bare: something happened that the notification does not name, so that only a search finds it.
    """

    messages: frozenset[Target] = frozenset()
    is_bare: bool = False


def read_notice(resource: Mapping[str, Any], *, base: str) -> Notice:
    """What follows from the body of a notification, or from the resource that a server puts.

    Args:
        resource: any JSON object.
        base: of the server. References to others are left alone.
    """
    if resource.get("resourceType") != "Bundle":
        return Notice(frozenset(_messages([resource], base)))
    resources = [_dict(entry, "resource") for entry in _list(resource, "entry")]
    status = next((each for each in resources if each.get("resourceType") == "Parameters"), {})
    parameters = _list(status, "parameter")
    if any(each.get("valueCode") in _QUIET for each in parameters if each.get("name") == "type"):
        return Notice()
    events = [each for each in parameters if each.get("name") == "notification-event"]
    announced = frozenset((*_focused(events, base), *_messages(resources, base)))
    return Notice(announced, is_bare=not announced and bool(status))


def _messages(resources: list[Mapping[str, Any]], base: str) -> Iterator[Target]:
    for each in resources:
        if each.get("resourceType") == "Communication" and isinstance(id_ := each.get("id"), str):
            target = target_of(f"Communication/{id_}", base=base)
            if target is not None:
                yield target


def _focused(events: list[Mapping[str, Any]], base: str) -> Iterator[Target]:
    for part in (part for event in events for part in _list(event, "part") if part.get("name") == "focus"):
        reference = _dict(part, "valueReference").get("reference")
        target = target_of(reference if isinstance(reference, str) else None, base=base)
        if target is not None and target.type == "Communication":
            yield target


def _list(resource: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = resource.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _dict(resource: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = resource.get(name)
    return found if isinstance(found, dict) else {}
