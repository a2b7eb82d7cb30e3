import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.support.clinic import Clinic
from triage.domain.states import Outcome
from triage.errors import UsageError
from triage.retakes.override import override


def _override(clinic: Clinic, message: str, outcome: Outcome, *, by: str = "nurse-1", reason: str = "seen") -> None:
    override(clinic.sessions, message, outcome, by=by, reason=reason, policy=clinic.policy)


def test_message_passes_when_one_photo_of_three_is_good(clinic: Clinic) -> None:
    clinic.send("m", "a/0.1", "b/0.7", "c/0.2")
    clinic.drain()

    assert clinic.decisions("m") == [("pass", "photo_passed")]
    assert not clinic.requests()


def test_retake_is_flagged_when_no_photo_is_good(clinic: Clinic) -> None:
    clinic.send("m", "a/0.1", "b/0.2")
    clinic.drain()

    assert clinic.decisions("m") == [("retake", "no_photo_passed")]
    assert clinic.requests() == [("m", "flagged")]


def test_message_is_not_assessable_when_every_photo_is_unreadable(clinic: Clinic) -> None:
    clinic.send("m", "a/unreadable", "b/unreadable")
    clinic.drain()

    assert clinic.decisions("m") == [("not_assessable", "no_readable_photo")]
    assert not clinic.requests()


def test_score_at_the_threshold_is_accepted(clinic: Clinic) -> None:
    clinic.send("m", "a/0.5")
    clinic.drain()

    assert clinic.decisions("m") == [("pass", "photo_passed")]


def test_cooldown_and_limit_turn_a_retake_into_uncertain(clinic: Clinic) -> None:
    outcomes = []
    for number, hours in enumerate((0.0, 1.0, 24.0, 100.0)):
        clinic.let_time_pass(hours)
        clinic.send(f"m{number}", f"{number}/0.1", thread="t")
        clinic.drain()
        outcomes += clinic.decisions(f"m{number}")

    assert outcomes == [
        ("retake", "no_photo_passed"),
        ("uncertain", "cooldown"),
        ("retake", "no_photo_passed"),
        ("uncertain", "request_limit"),
    ]
    assert [message for message, _ in clinic.requests()] == ["m0", "m2"]


def test_no_second_request_when_the_same_photos_are_resent(clinic: Clinic) -> None:
    clinic.send("m0", "a/0.1", thread="t")
    clinic.drain()
    clinic.let_time_pass(48)
    clinic.send("m1", "a/0.1", thread="t")
    clinic.drain()

    assert clinic.decisions("m1") == [("uncertain", "identical_resend")]


def test_no_request_when_the_patient_opted_out(clinic: Clinic) -> None:
    clinic.send("m", "a/0.1", opted_out=True)
    clinic.drain()

    assert clinic.decisions("m") == [("uncertain", "opted_out")]
    assert not clinic.requests()


def test_limits_apply_per_thread(clinic: Clinic) -> None:
    for number in range(3):
        clinic.send(f"m{number}", "a/0.1", thread=f"t{number}")
    clinic.drain()

    assert len(clinic.requests()) == 3


def test_good_photo_sent_later_withdraws_the_unsent_request(clinic: Clinic) -> None:
    clinic.send("m", "a/0.1")
    clinic.drain()
    clinic.send("m", "a/0.1", "b/0.9")
    clinic.drain()

    assert clinic.decisions("m") == [("retake", "no_photo_passed"), ("pass", "photo_passed")]
    assert clinic.requests() == [("m", "withdrawn")]


def test_bad_photo_sent_later_adds_no_decision_and_no_request(clinic: Clinic) -> None:
    clinic.send("m", "a/0.1")
    clinic.drain()
    clinic.send("m", "b/0.2")
    clinic.drain()

    assert clinic.decisions("m") == [("retake", "no_photo_passed")]
    assert clinic.requests() == [("m", "flagged")]


def test_override_is_not_replaced_by_a_model(clinic: Clinic) -> None:
    clinic.send("m", "a/0.1")
    clinic.drain()
    _override(clinic, "m", Outcome.PASS)
    clinic.send("m", "b/0.1")
    clinic.drain()

    assert clinic.decisions("m") == [("retake", "no_photo_passed"), ("pass", "override")]
    assert clinic.requests() == [("m", "withdrawn")]


def test_override_can_request_a_retake_when_the_model_passed(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9")
    clinic.drain()
    _override(clinic, "m", Outcome.RETAKE)

    assert clinic.requests() == [("m", "flagged")]


def test_override_respects_the_thread_limit_and_the_opt_out(clinic: Clinic) -> None:
    for number in range(3):
        clinic.let_time_pass(48)
        clinic.send(f"m{number}", f"{number}/0.1", thread="t")
        clinic.drain()
    clinic.send("quiet", "a/0.9", opted_out=True)

    with pytest.raises(UsageError, match="limit of 2 retake requests"):
        _override(clinic, "m2", Outcome.RETAKE)
    with pytest.raises(UsageError, match="opted out"):
        _override(clinic, "quiet", Outcome.RETAKE)


def test_override_requires_an_actor_and_a_reason(clinic: Clinic) -> None:
    clinic.send("m", "a/0.9")

    with pytest.raises(UsageError, match="invalid actor id"):
        _override(clinic, "m", Outcome.PASS, by=" ")
    with pytest.raises(UsageError, match="invalid reason"):
        _override(clinic, "m", Outcome.PASS, reason="")
    with pytest.raises(UsageError, match="pass"):
        _override(clinic, "m", Outcome.UNCERTAIN)


@pytest.mark.parametrize("statement", ["UPDATE {} SET actor = 'x'", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
@pytest.mark.parametrize("table", ["decision", "audit_event"])
def test_history_is_append_only(clinic: Clinic, table: str, statement: str) -> None:
    clinic.send("m", "a/0.9")
    clinic.drain()
    _override(clinic, "m", Outcome.PASS)

    with pytest.raises(DBAPIError, match="append-only"), clinic.sessions.begin() as session:
        session.execute(text(statement.format(table)))
