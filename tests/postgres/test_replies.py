"""What retake requests say: the photos with their reasons, and the reply that is stored when a request is flagged."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.clinic import Clinic
from triage.domain.ids import MessageId
from triage.domain.messages import IncomingAttachment, IncomingMessage, RetakeRequest
from triage.domain.states import FindingKind, Outcome
from triage.errors import UsageError
from triage.replies.catalogue import load_catalogue, shipped_catalogue
from triage.reports.explain import history
from triage.retakes.override import override
from triage.retakes.requests import claim, list_requests
from triage.storage import retention

SHIPPED = shipped_catalogue()


def _requests(clinic: Clinic) -> dict[str, RetakeRequest]:
    return {request.message: request for request in list_requests(clinic.sessions, limit=100)}


def _story(clinic: Clinic, message_id: MessageId) -> dict[str, Any]:
    with clinic.sessions() as session:
        return history(session, message_id)


def test_request_names_the_photos_of_failing_groups_and_their_reasons(clinic: Clinic) -> None:
    arm = [
        IncomingAttachment(uri=f"file:///in/{name}", external_id=name, group="arm")
        for name in ("a/0.1,too_dark!,motion", "b/0.2,no_clear_reason")
    ]
    leg = [
        IncomingAttachment(uri=f"file:///in/{name}", external_id=name, group="leg")
        for name in ("c/0.9,defocus!", "d/0.1,defocus!")
    ]
    clinic.intake.enqueue([IncomingMessage("ehr", "m", [*arm, *leg], locale="es-MX")])
    clinic.drain()

    [request] = claim(clinic.sessions, limit=10, lease=timedelta(minutes=1), by="ehr")

    dark, unclear = request.photos
    assert (dark.external_id, dark.group, dark.score) == ("a/0.1,too_dark!,motion", "arm", 0.1)
    assert [(reason.kind.value, reason.severity.value) for reason in dark.reasons] == [
        ("too_dark", "severe"),
        ("motion", "mild"),
    ]
    assert (unclear.external_id, unclear.reasons) == ("b/0.2,no_clear_reason", [])
    assert request.locale == "es-MX"
    assert request.reply == SHIPPED.reply([FindingKind.TOO_DARK, FindingKind.MOTION], "es")


def test_reply_says_how_to_take_a_good_photo_when_nothing_was_measured(clinic: Clinic) -> None:
    clinic.send("m", "a/0.1")
    clinic.drain()

    assert _requests(clinic)["m"].reply == SHIPPED.reply([], "en")


def test_reply_stays_as_it_was_written_when_the_catalogue_changes(clinic: Clinic, tmp_path: Path) -> None:
    clinic.send("m1", "a/0.1,too_dark")
    clinic.drain()
    (tmp_path / "en.toml").write_text('[instructions]\ntoo_dark = "Light, please."\n')
    catalogue = load_catalogue(tmp_path)
    clinic.inbox._policy = replace(clinic.policy, catalogue=catalogue)
    clinic.send("m2", "b/0.1,too_dark")
    clinic.drain()

    requests = _requests(clinic)

    assert requests["m1"].reply == SHIPPED.reply([FindingKind.TOO_DARK], "en")
    assert requests["m2"].reply == catalogue.reply([FindingKind.TOO_DARK], "en")
    assert "Light, please." in catalogue.reply([FindingKind.TOO_DARK], "en").text


def test_person_can_ask_for_photos_that_pass_or_wait(clinic: Clinic) -> None:
    clinic.send("passed", "a/0.9,too_dark", locale="es")
    clinic.drain()
    clinic.send("waits", "b/0.9")
    for message in ("passed", "waits"):
        override(clinic.sessions, message, Outcome.RETAKE, by="nurse-7", reason="unclear", policy=clinic.policy)

    requests = _requests(clinic)

    assert [photo.external_id for photo in requests["passed"].photos] == ["a/0.9,too_dark"]
    assert requests["passed"].reply == SHIPPED.reply([FindingKind.TOO_DARK], "es")
    assert requests["waits"].photos == []
    assert requests["waits"].reply == SHIPPED.reply([], "en")


def test_history_of_a_message_has_the_reply(clinic: Clinic) -> None:
    acceptance = clinic.send("m", "a/0.1,motion")
    clinic.drain()

    [request] = _story(clinic, acceptance.id)["retake_requests"]

    assert request["photos"] == [
        {
            "attachment_id": "a/0.1,motion",
            "id": str(acceptance.attachments[0].id),
            "group": None,
            "score": 0.1,
            "reasons": [{"kind": "motion", "severity": "mild"}],
        }
    ]
    assert request["reply"]["text"] == SHIPPED.reply([FindingKind.MOTION], "en").text


def test_reply_is_removed_when_the_message_is_forgotten(clinic: Clinic) -> None:
    acceptance = clinic.send("m", "a/0.1,motion", group="left arm", locale="es")
    clinic.drain()
    claim(clinic.sessions, limit=1, lease=timedelta(minutes=1), by="ehr")
    with clinic.sessions.begin() as session:
        retention.forget_message(session, acceptance.id, actor="dpo", reason="request-1")

    [request] = list_requests(clinic.sessions, limit=10)

    [photo] = request.photos
    assert request.reply is None
    assert (photo.external_id, photo.group) == (f"forgotten:{photo.id}", None)
    assert [reason.kind.value for reason in photo.reasons] == ["motion"]
    [stored] = clinic.query("SELECT to_jsonb(r)::text AS row FROM retake_request r")
    assert "a/0.1" not in stored.row
    assert "left arm" not in stored.row
    assert '"es"' not in stored.row


@pytest.mark.parametrize("locale", ["es_MX", "", "de-", "e" * 9, "es-" + "x" * 40, "Mustermann", "es MX"])
def test_message_is_refused_when_its_locale_is_no_language_tag(clinic: Clinic, locale: str) -> None:
    with pytest.raises(UsageError, match="invalid locale: use a language tag") as raised:
        clinic.send("m", "a/0.1", locale=locale)

    assert not locale or locale not in str(raised.value)


def test_locale_that_is_not_given_again_is_no_difference(clinic: Clinic) -> None:
    assert clinic.send("m", "a/0.1", locale="es").unchanged == []
    assert clinic.send("m", "a/0.1").unchanged == []
    assert clinic.send("m", "a/0.1", locale="de").unchanged == ["locale"]
