from typing import Any

import pytest

from triage.errors import UsageError
from worker.documents import parse_submission

PATIENT = "Erika-Mustermann"
MESSAGE: dict[str, Any] = {"source": "ehr", "message_id": "m-1", "attachments": [{"uri": "file:///in/1.jpg"}]}


def test_message_is_read_with_its_defaults() -> None:
    message = parse_submission(MESSAGE).to_message()

    assert (message.source, message.external_id, message.thread, message.role, message.locale) == (
        "ehr",
        "m-1",
        None,
        "patient",
        "en",
    )
    assert not message.opted_out
    assert [attachment.uri for attachment in message.attachments] == ["file:///in/1.jpg"]


def test_every_field_is_taken_over() -> None:
    attachment = {"uri": "s3://in/1.jpg", "id": "a-1", "group": "arm"}
    fields = {"thread": "t-1", "role": "proxy", "locale": "de", "opted_out": True, "attachments": [attachment]}

    message = parse_submission(MESSAGE | fields).to_message()

    assert (message.thread, message.role, message.locale, message.opted_out) == ("t-1", "proxy", "de", True)
    [found] = message.attachments
    assert (found.external_id, found.group) == ("a-1", "arm")


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"source": "ehr"}, "message_id"),
        (MESSAGE | {"attachments": []}, "attachments"),
        (MESSAGE | {"attachments": [{"url": PATIENT}]}, "attachments.0.uri"),
        (MESSAGE | {"message_id": 7}, "message_id"),
        (MESSAGE | {"patient_name": PATIENT}, "patient_name"),
        ([PATIENT], "message"),
        (None, "message"),
    ],
)
def test_malformed_message_is_refused_by_field_and_without_its_values(document: object, field: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_submission(document)

    assert field in str(raised.value)
    assert PATIENT not in str(raised.value)
