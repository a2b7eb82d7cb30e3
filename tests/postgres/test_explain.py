import json
from itertools import pairwise
from typing import Any

from tests.support.clinic import Clinic, scored
from triage.domain.card import Card
from triage.domain.ids import MessageId
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.domain.states import Outcome, VerdictOrigin
from triage.reports.explain import history
from triage.retakes.override import override
from triage.storage import messages, verdicts
from triage.storage import model_versions as models


def _explain(clinic: Clinic, message: str) -> Any:
    """The history after a way through JSON, which it must survive unchanged."""
    with clinic.sessions() as session:
        story = history(session, MessageId(messages.find_message(session, message).id))
    assert json.loads(json.dumps(story)) == story
    return story


def _override(clinic: Clinic, message: str, outcome: Outcome, *, by: str, reason: str) -> None:
    override(clinic.sessions, message, outcome, by=by, reason=reason, policy=clinic.policy)


def test_history_lists_all_decisions_in_order_when_they_differ(clinic: Clinic) -> None:
    clinic.send("m", "a/0.1", thread="t")
    clinic.drain()
    clinic.send("m", "a/0.1", "b/0.9", thread="t")
    clinic.drain()
    _override(clinic, "m", Outcome.RETAKE, by="nurse-1", reason="the wrong arm")
    _override(clinic, "m", Outcome.PASS, by="doctor-2", reason="the right arm after all")

    story = _explain(clinic, "m")

    assert (story["outcome"], story["reason"], story["decided_by"]) == ("pass", "override", "person")
    assert [(d["outcome"], d["decided_by"], d["model"], d["actor"], d["note"]) for d in story["decisions"]] == [
        ("retake", "model", "fixture", None, None),
        ("pass", "model", "fixture", None, None),
        ("retake", "person", None, "nurse-1", "the wrong arm"),
        ("pass", "person", None, "doctor-2", "the right arm after all"),
    ]
    assert [(r["status"], r["withdrawn_reason"]) for r in story["retake_requests"]] == [
        ("withdrawn", "decided_again"),
        ("withdrawn", "override"),
    ]
    decided = {event["details"].pop("decision") for event in story["audit"]}
    assert len(decided) == 2
    assert [(event["actor"], event["action"], event["details"]) for event in story["audit"]] == [
        ("nurse-1", "message.overridden", {"outcome": "retake", "role": "postgres"}),
        ("doctor-2", "message.overridden", {"outcome": "pass", "role": "postgres"}),
    ]
    for entries, time in (("decisions", "created_at"), ("retake_requests", "created_at"), ("audit", "at")):
        assert all(earlier[time] < later[time] for earlier, later in pairwise(story[entries]))


def test_history_holds_every_verdict_and_error_of_every_photo(clinic: Clinic) -> None:
    accepted = clinic.send("m", "a/0.25", "b/unreadable")
    clinic.drain()
    [(card,)] = clinic.query("SELECT card FROM model_version")
    later = Card.model_validate(card | {"name": "later", "weights_sha256": "1" * 64})
    with clinic.sessions.begin() as session:
        verdicts.add(
            session,
            [scored(accepted.attachments[0].id, 0.75)],
            model_version_id=models.add(session, later)[0].id,
            threshold=0.6,
            origin=VerdictOrigin.RESCORING,
        )

    photo, unreadable = _explain(clinic, "m")["attachments"]

    assert [(v["model"], v["origin"], v["score"], v["threshold"], v["acceptable"]) for v in photo["verdicts"]] == [
        ("fixture", "inbox", 0.25, 0.5, False),
        ("later", "rescoring", 0.75, 0.6, True),
    ]
    assert (photo["attachment_id"], photo["status"], photo["attempts"]) == ("a/0.25", "scored", 1)
    assert (unreadable["status"], unreadable["error_code"], unreadable["verdicts"]) == ("not_assessable", "corrupt", [])


def test_history_excludes_other_messages_of_the_thread(clinic: Clinic) -> None:
    for number in range(2):
        clinic.send(f"m{number}", f"{number}/0.1", thread="t")
    clinic.drain()
    _override(clinic, "m1", Outcome.PASS, by="nurse-1", reason="seen")

    story = _explain(clinic, "m0")

    assert [attachment["attachment_id"] for attachment in story["attachments"]] == ["0/0.1"]
    assert [decision["outcome"] for decision in story["decisions"]] == ["retake"]
    assert (len(story["retake_requests"]), story["audit"]) == (1, [])


def test_history_has_no_decision_when_a_photo_is_pending(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9")

    story = _explain(clinic, "m")

    assert (story["outcome"], story["reason"], story["decided_by"], story["decisions"]) == (None, None, None, [])
    assert [attachment["status"] for attachment in story["attachments"]] == ["pending"]


def test_history_leaves_uris_out(clinic: Clinic) -> None:
    clinic.intake.enqueue(
        [IncomingMessage("ehr", "m", [IncomingAttachment(uri="file:///in/Erika-Mustermann/0.9", external_id="p-1")])]
    )
    clinic.drain()

    assert "Mustermann" not in json.dumps(_explain(clinic, "m"))
