"""Notifications as servers send them, and as nobody should."""

from typing import Any

import pytest
from hypothesis import given

from tests.support.hostile import json_values
from triage.domain.arrivals import Events
from worker.fhir.reading.notifications import Notice, read_notice
from worker.fhir.references import Target

BASE = "https://ehr.example/fhir"


def _event(reference: Any, number: str = "1") -> dict[str, Any]:
    part = [{"name": "event-number", "valueString": number}]
    return {
        "name": "notification-event",
        "part": [*part, {"name": "focus", "valueReference": {"reference": reference}}],
    }


def _bundle(*parameters: dict[str, Any], kind: str = "event-notification", **more: Any) -> dict[str, Any]:
    first = [{"name": "type", "valueCode": kind}, {"name": "events-since-subscription-start", "valueString": "7"}]
    status = {"resourceType": "Parameters", "parameter": [*first, *parameters]}
    return {"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}, *more.get("entry", [])]}


@pytest.mark.parametrize(
    ("resource", "ids"),
    [
        ({"resourceType": "Communication", "id": "1", "status": "completed"}, {"1"}),
        ({"resourceType": "Patient", "id": "1"}, set()),
        ({"resourceType": "Communication", "id": "../1"}, set()),
        ({"resourceType": "Communication"}, set()),
        (_bundle(_event("Communication/1"), _event(f"{BASE}/Communication/2/_history/4", "2")), {"1", "2"}),
        (_bundle(_event("Patient/1"), _event("Communication/2")), {"2"}),
        (_bundle(entry=[{"resource": {"resourceType": "Communication", "id": "3"}}]), {"3"}),
    ],
)
def test_messages_are_those_of_this_server(resource: dict[str, Any], ids: set[str]) -> None:
    assert read_notice(resource, base=BASE) == Notice(frozenset(Target("Communication", id_) for id_ in ids))


@pytest.mark.parametrize("kind", ["handshake", "heartbeat"])
def test_nothing_follows_from_a_sign_of_life(kind: str) -> None:
    assert read_notice(_bundle(kind=kind), base=BASE) == Notice()


@pytest.mark.parametrize("events", [[], [_event("https://elsewhere.example/fhir/Communication/1")], [_event(None)]])
def test_search_follows_from_an_event_that_names_no_message(events: list[dict[str, Any]]) -> None:
    assert read_notice(_bundle(*events), base=BASE) == Notice(is_bare=True)


@given(first=json_values(), second=json_values())
def test_any_json_is_read(first: Any, second: Any) -> None:
    hostile = [
        {"resourceType": "Bundle", "entry": first},
        _bundle({"name": "type", "valueCode": first}),
        _bundle({"name": "notification-event", "part": first}),
        _bundle(_event(first), _event(second)),
        {"resourceType": "Communication", "id": first},
        {"resourceType": first, "entry": second},
        _bundle({"name": "type", "valueCode": "event-notification"}, entry=[{"resource": first}, first]),
    ]
    for each in hostile:
        read_notice(each, base=BASE)


def _numbered(kind: str, so_far: object, *numbers: object) -> dict[str, Any]:
    parameters = [
        {"name": "subscription", "valueReference": {"reference": f"{BASE}/Subscription/s-1"}},
        {"name": "type", "valueCode": kind},
        {"name": "events-since-subscription-start", "valueString": so_far},
        *({"name": "notification-event", "part": [{"name": "event-number", "valueString": n}]} for n in numbers),
    ]
    return {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Parameters", "parameter": parameters}}]}


@pytest.mark.parametrize(
    ("notification", "first", "last"),
    [
        (_numbered("event-notification", "7", "6", "7"), 6, 7),
        (_numbered("event-notification", 7, 7), 7, 7),
        (_numbered("heartbeat", "7"), 8, 7),
        (_numbered("event-notification", "9", "6", "7"), 6, 7),  # the others are in other notifications
        (_numbered("event-notification", "7", "-6", "x"), 6, 7),
        (_numbered("handshake", "0"), 1, 0),
    ],
)
def test_numbers_of_events_are_read_as_text_and_as_numbers(notification: dict[str, Any], first: int, last: int) -> None:
    assert read_notice(notification, base=BASE).events == Events("Subscription/s-1", first, last)


@pytest.mark.parametrize(
    ("numbers", "is_bare"), [(("5", "6", "6"), False), (("5", "7"), True), (("1", "9" * 18), True)]
)
def test_search_follows_from_events_with_a_gap(numbers: tuple[str, ...], is_bare: bool) -> None:
    notification = _numbered("event-notification", "7", *numbers)
    for event in notification["entry"][0]["resource"]["parameter"][3:]:
        event["part"].append({"name": "focus", "valueReference": {"reference": "Communication/1"}})

    assert read_notice(notification, base=BASE).is_bare is is_bare


@pytest.mark.parametrize("so_far", ["-1", "x", "9" * 30, None, True, 1.5])
def test_malformed_numbers_are_left_alone(so_far: object) -> None:
    assert read_notice(_numbered("heartbeat", so_far), base=BASE).events is None
