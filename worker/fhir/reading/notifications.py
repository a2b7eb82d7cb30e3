"""What a FHIR server announces by its subscriptions: which messages to read. Nothing else of a notification is used.

Classic rest-hooks of R4 are empty or carry a resource. Those of the R5 backport are a Bundle whose first entry has
Parameters. A gap in the numbers of its events makes a search due.

Source: https://hl7.org/fhir/uv/subscriptions-backport, version 1.1.0.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from triage.domain.arrivals import Events
from worker.fhir.json_parts import dict_of, dicts_of
from worker.fhir.references import Target, target_of

MAX_REFERENCES: Final = 10_000
_QUIET: Final = frozenset({"handshake", "heartbeat"})


@dataclass(frozen=True, slots=True)
class Notice:
    """
    Attributes:
        messages: on the server, to be read.
        is_bare: something happened that the notification does not name, so that only a search finds it.
        events: their numbers, if it has any.
    """

    messages: frozenset[Target] = frozenset()
    is_bare: bool = False
    events: Events | None = None


def read_notice(resource: Mapping[str, Any], *, base: str) -> Notice:
    """What follows from the body of a notification, or from the resource that a server puts.

    Args:
        resource: any JSON object.
        base: of the server. References to others are left alone.
    """
    if resource.get("resourceType") != "Bundle":
        return Notice(frozenset(_messages([resource], base)))
    resources = [dict_of(entry, "resource") for entry in dicts_of(resource, "entry")]
    status = next((each for each in resources if each.get("resourceType") == "Parameters"), {})
    parameters = dicts_of(status, "parameter")
    if any(str(each.get("valueCode")) in _QUIET for each in parameters if each.get("name") == "type"):
        return Notice(events=_numbers(parameters, base))
    events = [each for each in parameters if each.get("name") == "notification-event"]
    announced = frozenset((*_focused(events, base), *_messages(resources, base)))
    is_bare = (not announced and bool(status)) or _has_gap(events)
    return Notice(announced, is_bare=is_bare, events=_numbers(parameters, base))


def _numbers(parameters: list[Mapping[str, Any]], base: str) -> Events | None:
    """The numbers, which servers write as text or as numbers; None if one is missing or malformed."""
    named = {str(each.get("name")): each for each in parameters}
    reference = dict_of(named.get("subscription", {}), "valueReference").get("reference")
    subscription = target_of(reference if isinstance(reference, str) else None, base=base)
    so_far = _number(named.get("events-since-subscription-start", {}))
    if subscription is None or so_far is None:
        return None
    events = [each for each in parameters if each.get("name") == "notification-event"]
    known = _numbers_of(events)
    first = min(known, default=max(1, so_far - len(events) + 1))  # without numbers, they are the last ones
    return Events(str(subscription), first, last=max(known, default=so_far))


def _numbers_of(events: list[Mapping[str, Any]]) -> set[int]:
    parts = (part for event in events for part in dicts_of(event, "part") if part.get("name") == "event-number")
    return {number for part in parts if (number := _number(part))}


def _has_gap(events: list[Mapping[str, Any]]) -> bool:
    numbers = _numbers_of(events)
    return bool(numbers) and max(numbers) - min(numbers) >= len(numbers)


def _number(parameter: Mapping[str, Any]) -> int | None:
    found = next((value for name, value in parameter.items() if name.startswith("value")), None)
    text = str(found) if isinstance(found, int) and not isinstance(found, bool) else found
    return int(text) if isinstance(text, str) and re.fullmatch(r"[0-9]{1,18}", text) else None


def _messages(resources: list[Mapping[str, Any]], base: str) -> Iterator[Target]:
    for each in resources:
        if each.get("resourceType") == "Communication" and isinstance(id_ := each.get("id"), str):
            target = target_of(f"Communication/{id_}", base=base)
            if target is not None:
                yield target


def _focused(events: list[Mapping[str, Any]], base: str) -> Iterator[Target]:
    for part in (part for event in events for part in dicts_of(event, "part") if part.get("name") == "focus"):
        reference = dict_of(part, "valueReference").get("reference")
        target = target_of(reference if isinstance(reference, str) else None, base=base)
        if target is not None and target.type == "Communication":
            yield target
