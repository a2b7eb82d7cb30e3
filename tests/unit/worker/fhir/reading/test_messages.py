"""Communications as servers write them: with a Binary, a DocumentReference, Media or data."""

import base64
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triage.domain.limits import IntakeLimits
from triage.errors import AttachmentError, ErrorCode, ServiceUnavailableError, UsageError
from worker.fhir.content import AnotherTypeError
from worker.fhir.elements import Communication
from worker.fhir.reading.messages import PatientMessage, Step, next_step, read_message
from worker.fhir.references import Target

BASE = "https://ehr.example/fhir"
LIMITS = IntakeLimits(max_attachments=20, max_bytes=1000)
PHOTO = b"\xff\xd8\xff photo"
IDENTIFYING = {"display": "Ana Diaz", "identifier": {"system": "urn:mrn", "value": "4711"}}
MESSAGE: dict[str, Any] = {
    "resourceType": "Communication",
    "id": "m-1",
    "status": "completed",
    "sender": {"reference": "Patient/7", **IDENTIFYING},
    "subject": {"reference": "Patient/7", **IDENTIFYING},
    "payload": [{"contentString": "it itches"}, {"contentReference": {"reference": "Binary/b-1"}}],
}


class FakeServer:
    """A server that has these resources and bytes."""

    def __init__(self, resources: Mapping[str, Any] | None = None, contents: Mapping[str, bytes] | None = None) -> None:
        self.resources = resources or {}
        self.contents = {"Binary/b-1": PHOTO} if contents is None else contents

    def resource(self, target: Target) -> Mapping[str, Any]:
        return dict(self._find(self.resources, str(target)))

    def content(self, url: str, media_type: str | None) -> bytes:
        return bytes(self._find(self.contents, url))

    def _find(self, among: Mapping[str, Any], name: str) -> Any:
        if name not in among:
            raise AttachmentError(ErrorCode.NOT_FOUND, "nothing is there")
        return among[name]


def _read(server: FakeServer | None = None, **changes: Any) -> PatientMessage:
    communication = Communication.read(MESSAGE | changes)
    return read_message(communication, server or FakeServer(), base=BASE, limits=LIMITS)


def _inline(data: bytes = PHOTO, **fields: Any) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    return {"contentAttachment": {"contentType": "image/jpeg", "data": encoded, **fields}}


def test_photo_of_a_binary_is_read_and_the_text_is_not() -> None:
    message = _read()

    [photo] = message.attachments
    assert (photo.data, photo.external_id, photo.error_code) == (PHOTO, "Binary/b-1", None)
    assert (message.role, message.subject, message.thread) == ("patient", "Patient/7", None)
    assert "itches" not in repr(message)


def test_nothing_that_identifies_the_patient_is_kept() -> None:
    assert all(text not in repr(_read()) + repr(Communication.read(MESSAGE)) for text in ("Ana", "Diaz", "4711", "mrn"))


@pytest.mark.parametrize(
    ("fields", "resources", "ids"),
    [
        ({"contentReference": {"reference": f"{BASE}/Binary/b-1/_history/3"}}, {}, ["Binary/b-1"]),
        (
            {"contentReference": {"reference": "DocumentReference/d"}},
            {
                "resourceType": "DocumentReference",
                "status": "current",
                "content": [{"attachment": {"url": "Binary/b-1"}}],
            },
            ["DocumentReference/d/content/0"],
        ),
        (
            {"contentReference": {"reference": "Media/d"}},
            {"resourceType": "Media", "status": "completed", "content": {"url": "Binary/b-1"}},
            ["Media/d"],
        ),
        (_inline(), {}, ["payload/0"]),
        ({"contentAttachment": {"url": "Binary/b-1"}}, {}, ["payload/0"]),
    ],
)
def test_photo_is_found_wherever_the_standard_allows_it(
    fields: dict[str, Any], resources: dict[str, Any], ids: list[str]
) -> None:
    server = FakeServer({"DocumentReference/d": resources, "Media/d": resources})

    message = _read(server, payload=[fields])

    assert [(photo.external_id, photo.data) for photo in message.attachments] == [(each, PHOTO) for each in ids]


def test_contained_photos_are_read_without_the_server() -> None:
    inside = [
        {"resourceType": "Binary", "id": "p", "contentType": "image/png", "data": base64.b64encode(b"1").decode()},
        {"resourceType": "Media", "id": "q", "status": "completed", "content": _inline(b"2")["contentAttachment"]},
    ]
    payload = [{"contentReference": {"reference": "#p"}}, {"contentReference": {"reference": "#q"}}]

    message = _read(FakeServer(contents={}), contained=inside, payload=payload)

    assert [photo.data for photo in message.attachments] == [b"1", b"2"]


def test_no_more_photos_are_read_than_intake_refuses_and_each_is_decoded_once() -> None:
    inside = [{"resourceType": "Binary", "id": "p", "data": base64.b64encode(PHOTO).decode()}]

    photos = _read(contained=inside, payload=[{"contentReference": {"reference": "#p"}}] * 500).attachments

    assert len(photos) == LIMITS.max_attachments + 1
    assert len({id(photo.data) for photo in photos}) == 1


@pytest.mark.parametrize(
    ("element", "part"),
    [
        ("payload", {"contentString": ""}),
        *((name, {"reference": "Communication/1"}) for name in ("basedOn", "inResponseTo", "partOf")),
    ],
)
def test_message_is_refused_when_an_element_is_repeated_too_often(element: str, part: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=element):
        Communication.read(MESSAGE | {element: [part] * 1001})


def test_body_site_of_media_is_the_group_of_the_photo() -> None:
    media = {
        "resourceType": "Media",
        "status": "completed",
        "bodySite": {"coding": [{"system": "http://snomed.info/sct", "code": "53120007"}]},
        "content": {"url": "Binary/b-1"},
    }

    message = _read(FakeServer({"Media/1": media}), payload=[{"contentReference": {"reference": "Media/1"}}])

    assert [photo.group for photo in message.attachments] == ["53120007"]


def test_size_and_hash_are_compared_with_the_bytes() -> None:
    sha1 = base64.b64encode(hashlib.sha1(PHOTO).digest()).decode()

    message = _read(
        payload=[_inline(size=len(PHOTO), hash=sha1), _inline(size=len(PHOTO) + 1), _inline(hash=f"A{sha1[1:]}")]
    )

    assert [photo.error_code for photo in message.attachments] == [None, ErrorCode.ALTERED, ErrorCode.ALTERED]
    assert message.attachments[1].data is None


@pytest.mark.parametrize(
    ("attachment", "code"),
    [
        ({"data": "no base64!"}, ErrorCode.CORRUPT),
        ({"data": base64.b64encode(bytes(1001)).decode()}, ErrorCode.TOO_LARGE),
        ({"url": "Binary/gone"}, ErrorCode.NOT_FOUND),
        ({}, ErrorCode.EMPTY),
    ],
)
def test_photo_that_cannot_be_read_is_kept_with_an_error_code(attachment: dict[str, Any], code: ErrorCode) -> None:
    message = _read(payload=[{"contentAttachment": attachment}, _inline()])

    assert [photo.error_code for photo in message.attachments] == [code, None]


@pytest.mark.parametrize("kind", ["DocumentReference", "Media", "Binary"])
def test_malformed_resource_is_an_error_of_its_photo_alone(kind: str) -> None:
    malformed = {"resourceType": kind, "id": "bad", "content": "none", "data": 1}
    payload = [
        {"contentReference": {"reference": "#bad"}},
        {"contentAttachment": {"url": "#bad"}},
        *([{"contentReference": {"reference": f"{kind}/bad"}}] if kind != "Binary" else []),
        _inline(),
    ]

    message = _read(FakeServer({f"{kind}/bad": malformed}), contained=[malformed], payload=payload)

    *bad, good = message.attachments
    assert [photo.error_code for photo in bad] == [ErrorCode.CORRUPT] * (len(payload) - 1)
    assert good.data == PHOTO


def test_content_that_is_no_photo_is_counted_and_left_alone() -> None:
    superseded = {"resourceType": "DocumentReference", "status": "superseded", "content": []}
    payload = [
        {"contentAttachment": {"contentType": "application/pdf", "url": "Binary/9"}},
        {"contentReference": {"reference": "Questionnaire/1"}},
        {"contentReference": {"reference": "AnaDiaz/1"}},
        {"contentReference": {"identifier": {"value": "4711"}}},
        {"contentReference": {"reference": "https://elsewhere.example/fhir/Binary/1"}},
        {"contentReference": {"reference": "DocumentReference/old"}},
    ]

    message = _read(FakeServer({"DocumentReference/old": superseded}), payload=payload)

    assert not message.attachments
    assert message.left_alone == {
        "content of another type": 1,
        "another resource": 2,
        "unknown reference": 2,
        "superseded document": 1,
    }


def test_content_is_left_alone_when_the_server_states_that_it_is_no_photo() -> None:
    class OfText(FakeServer):
        def content(self, url: str, media_type: str | None) -> bytes:
            raise AnotherTypeError

    message = _read(OfText())

    assert not message.attachments
    assert message.left_alone == {"content of another type": 1}


def test_thread_is_the_topic_or_else_the_first_message() -> None:
    first = MESSAGE | {"id": "m-0"}
    second = MESSAGE | {"inResponseTo": [{"reference": "Communication/m-0"}]}
    server = FakeServer({"Communication/m-0": first, "Communication/m-9": second}, {"Binary/b-1": PHOTO})

    assert _read(server, partOf=[{"reference": "Communication/topic"}]).thread == "Communication/topic"
    assert _read(server, inResponseTo=[{"reference": "Communication/m-9"}]).thread == "Communication/m-0"
    assert _read(server, inResponseTo=[{"reference": "Communication/deleted"}]).thread == "Communication/deleted"


def test_thread_ends_when_messages_answer_each_other_in_a_circle() -> None:
    a, b = (MESSAGE | {"inResponseTo": [{"reference": f"Communication/{name}"}]} for name in "ab")
    server = FakeServer({"Communication/a": b, "Communication/b": a})

    assert _read(server, inResponseTo=[{"reference": "Communication/a"}]).thread in {
        "Communication/a",
        "Communication/b",
    }


def test_answered_requests_are_named() -> None:
    based_on = [{"reference": "CommunicationRequest/r"}, {"reference": "ServiceRequest/s"}, {"display": "Ana"}]

    assert _read(basedOn=based_on).answers == ["CommunicationRequest/r"]


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({}, Step.TAKE),
        ({"status": "in-progress"}, Step.TAKE),
        ({"status": "unknown", "sender": {"reference": "RelatedPerson/1"}}, Step.TAKE),
        ({"status": "entered-in-error"}, Step.WITHDRAW),
        ({"status": "preparation"}, Step.IGNORE),
        ({"status": "on-hold"}, Step.IGNORE),
        ({"sender": {"reference": "Practitioner/1"}}, Step.IGNORE),
        ({"sender": {"reference": "Device/triage"}}, Step.IGNORE),
        ({"sender": {"reference": "https://elsewhere.example/Patient/1"}}, Step.IGNORE),
        ({"sender": None}, Step.IGNORE),
    ],
)
def test_only_finished_messages_of_patients_are_taken(changes: dict[str, Any], step: Step) -> None:
    assert next_step(Communication.read(MESSAGE | changes), base=BASE) is step


def test_error_names_the_element_and_never_its_value() -> None:
    with pytest.raises(
        UsageError, match=r"^invalid Communication: payload\.1\.contentReference\.reference: "
    ) as raised:
        _read(payload=[{}, {"contentReference": {"reference": ["Ana Diaz"]}}])

    assert "Ana" not in str(raised.value)


def test_message_is_read_again_later_when_the_server_cannot_answer() -> None:
    class Down(FakeServer):
        def content(self, url: str, media_type: str | None) -> bytes:
            raise ServiceUnavailableError("the FHIR server does not answer")

    with pytest.raises(ServiceUnavailableError):
        _read(Down())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*MESSAGE, "reference"]), inner),
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(MESSAGE, JSON)))
def test_arbitrary_elements_are_read_or_refused(changes: dict[str, Any]) -> None:
    with suppress(UsageError):
        communication = Communication.read(MESSAGE | changes)
        next_step(communication, base=BASE)
        read_message(communication, FakeServer(), base=BASE, limits=LIMITS)
