"""The queue of the staff console: what waits, who holds it, who decides, and what undoing restores."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from tests.support.clinic import Clinic
from tests.support.console import Browser
from triage.blobs.store import BlobStore
from triage.domain.ids import DecisionId, MessageId
from triage.domain.queue import GROUNDS, Ground, Place
from triage.domain.reporting import Period
from triage.domain.staff import Role
from triage.domain.states import Outcome, Reason, ReviewKind, WaitingState
from triage.errors import LeaseLostError, TriageError, UsageError
from triage.queue import claims
from triage.queue.decide import decide, preview_reply, undo
from triage.reports.summary import report
from triage.retakes.override import override
from triage.retakes.reviews import appeal, review, rule
from triage.retention.forget import forget
from triage.retention.purge import Retention
from triage.staff import accounts
from worker.console.page import PATH

LEASE = timedelta(minutes=15)


def waiting(clinic: Clinic, **filters: Any) -> list[str]:
    return [each.message for each in claims.list_waiting(clinic.sessions, **filters).messages]


def send_waiting(clinic: Clinic, *names: str, source: str = "ehr") -> None:
    """Messages whose only photo is unreadable, received one after another."""
    for name in names:
        clinic.send(name, f"{name}/unreadable", source=source)
    clinic.drain()


def id_of(clinic: Clinic, name: str) -> MessageId:
    [row] = clinic.query("SELECT id FROM message WHERE external_id = :name", name=name)
    return MessageId(row.id)


def current(clinic: Clinic, name: str) -> DecisionId:
    [row] = clinic.query("SELECT current_decision_id AS id FROM message WHERE external_id = :name", name=name)
    return DecisionId(row.id)


def decide_as(clinic: Clinic, by: str, name: str, outcome: Outcome, seen: DecisionId | None = None) -> None:
    if name in waiting(clinic):
        claims.claim(clinic.sessions, id_of(clinic, name), by=by, lease=LEASE)
    decide_held(clinic, by, name, outcome, seen)


def decide_held(
    clinic: Clinic,
    by: str,
    name: str,
    outcome: Outcome,
    seen: DecisionId | None = None,
    *,
    ground: Ground = Ground.OTHER,
    of_others: bool = False,
) -> None:
    decide(
        clinic.sessions,
        id_of(clinic, name),
        outcome,
        seen=seen or current(clinic, name),
        ground=ground,
        note="clear enough",
        by=by,
        policy=clinic.policy,
        of_others=of_others,
    )


def test_queue_has_the_messages_that_a_model_leaves_to_people(clinic: Clinic) -> None:
    clinic.send("passes", "p/0.9")
    clinic.send("retake", "r/0.2")
    clinic.send("uncertain", "u/0.2", "u/unreadable")
    clinic.send("unreadable", "n/unreadable")
    clinic.send("pending", "w/0.9")
    clinic.execute("UPDATE attachment SET due_at = due_at + interval '1 hour' WHERE external_id = 'w/0.9'")

    clinic.drain()

    assert waiting(clinic) == ["uncertain", "unreadable"]
    assert [each.reason for each in claims.list_waiting(clinic.sessions).messages] == [
        Reason.UNREADABLE_PHOTO,
        Reason.NO_READABLE_PHOTO,
    ]


def test_filters_and_pages_select_in_order_of_receipt(clinic: Clinic) -> None:
    send_waiting(clinic, "m-1", "m-2", "m-3")
    send_waiting(clinic, "x-1", source="portal")
    clinic.execute("UPDATE waiting_message SET since = since - interval '5 hours' WHERE source = 'portal'")

    first = claims.list_waiting(clinic.sessions, limit=2)
    rest = claims.list_waiting(clinic.sessions, limit=2, after=first.following)

    assert [[each.message for each in page.messages] for page in (first, rest)] == [["x-1", "m-1"], ["m-2", "m-3"]]
    assert (first.total, rest.following) == (4, None)
    assert waiting(clinic, source="portal") == waiting(clinic, older_than=timedelta(hours=4)) == ["x-1"]
    assert waiting(clinic, reason=Reason.COOLDOWN) == waiting(clinic, source="none") == []
    assert claims.list_sources(clinic.sessions) == ["ehr", "portal"]


def test_message_leaves_the_queue_when_it_is_decided_forgotten_or_retried(clinic: Clinic, tmp_path: Any) -> None:
    send_waiting(clinic, "m-1", "m-2", "m-3")

    override(clinic.sessions, "m-1", Outcome.PASS, by="dr-1", reason="clear", policy=clinic.policy)
    retention = Retention(clinic.sessions, BlobStore(str(tmp_path)), keep=None)
    forget(clinic.sessions, retention, "m-2", by="dr-1", reason="r-1", policy=clinic.policy)

    assert waiting(clinic) == ["m-3"]


def test_claimed_message_is_kept_from_others_until_the_lease_ends(clinic: Clinic) -> None:
    send_waiting(clinic, "m-1", "m-2")
    message = id_of(clinic, "m-1")

    claims.claim(clinic.sessions, message, by="dr-1", lease=LEASE)
    claims.claim(clinic.sessions, message, by="dr-1", lease=LEASE)  # extends it

    with pytest.raises(LeaseLostError, match="another person holds"):
        claims.claim(clinic.sessions, message, by="dr-2", lease=LEASE)
    assert claims.claim_oldest(clinic.sessions, by="dr-2", lease=LEASE) == id_of(clinic, "m-2")
    assert claims.claim_oldest(clinic.sessions, by="dr-3", lease=LEASE) is None
    clinic.execute("UPDATE waiting_message SET lease_until = lease_until - interval '1 hour'")
    assert claims.claim_oldest(clinic.sessions, by="dr-3", lease=LEASE) == message
    claims.release(clinic.sessions, message, by="dr-1")  # not his any more
    assert claims.list_waiting(clinic.sessions).messages[0].claimed_by == "dr-3"
    claims.release(clinic.sessions, message, by="dr-1", of_others=True)
    assert claims.list_waiting(clinic.sessions).messages[0].claimed_by is None


def test_form_takes_one_message_when_a_person_clicks_twice(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    send_waiting(clinic, "m-1", "m-2")
    person = logged_in()

    def form() -> str:
        [shown] = re.findall(r'name="form" value="([0-9a-f-]+)"', person.get("/").text)
        return str(shown)

    clicked, other = form(), form()
    taken = [person.post("/next", form=each).headers["location"] for each in (clicked, clicked, other)]
    person.post(f"/messages/{id_of(clinic, 'm-1')}/claim")  # extends the claim
    taken.append(person.post("/next", form=clicked).headers["location"])

    first, second = (f"{PATH}/messages/{id_of(clinic, name)}" for name in ("m-1", "m-2"))
    assert taken == [first, first, second, first]
    claims.release(clinic.sessions, id_of(clinic, "m-2"), by="staff:dr-7")
    assert person.post("/next", form=other).headers["location"] == second  # nothing is held by it: the form claims
    assert person.post("/next", form="x").status_code == 400


def test_form_takes_one_message_when_it_arrives_twice_at_once(clinic: Clinic) -> None:
    send_waiting(clinic, "m-1", "m-2", "m-3", "m-4")
    take = partial(claims.claim_oldest, clinic.sessions, by="dr-1", lease=LEASE, form=uuid4())

    with ThreadPoolExecutor(4) as pool:
        taken = {each.result() for each in [pool.submit(take) for _ in range(8)]}

    assert taken == {id_of(clinic, "m-1")}


def test_message_that_was_sent_to_a_colleague_is_in_the_part_of_this_person(
    clinic: Clinic, logged_in: Callable[..., Browser]
) -> None:
    send_waiting(clinic, "m-1", "m-2")
    sender, colleague = logged_in(), logged_in(Role.REVIEWER, "dr-8")
    path = sender.post("/next").headers["location"].removeprefix("/console")
    assert '<option value="dr-8">' in sender.get(path).text

    assert sender.post(f"{path}/assign", to="dr-8").status_code == 303

    assert waiting(clinic, assigned_to="staff:dr-8") == ["m-1"]
    assert waiting(clinic, assigned_to="staff:dr-7") == []
    assert "<dd>dr-8</dd>" in sender.get(path).text
    page = colleague.get("/?mine=1").text
    assert ">m-1<" in page
    assert ">m-2<" not in page
    assert sender.post("/next").headers["location"].endswith(str(id_of(clinic, "m-2")))  # not what is another's
    assert colleague.post("/next", mine="1").headers["location"].endswith(path)
    assert sender.post(f"{path}/assign", to="dr-7").status_code == 409  # the colleague holds it
    actions = clinic.query("SELECT actor, details FROM audit_event WHERE action = 'message.assigned'")
    assert [(row.actor, row.details["to"]) for row in actions] == [("staff:dr-7", "staff:dr-8")]


def test_message_is_sent_only_to_accounts_that_may_decide(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    send_waiting(clinic, "m-1")
    sender = logged_in()
    logged_in(Role.READER, "reader")
    path = f"/messages/{id_of(clinic, 'm-1')}"
    sender.get(path)

    for name in ("reader", "dr-9", EVIL):
        assert sender.post(f"{path}/assign", to=name).status_code == 400
    assert "reader" not in sender.get(path).text
    claims.claim(clinic.sessions, id_of(clinic, "m-1"), by="staff:dr-7", lease=LEASE)
    decide_held(clinic, "staff:dr-7", "m-1", Outcome.PASS)
    logged_in(Role.REVIEWER, "dr-8")
    assert sender.post(f"{path}/assign", to="dr-8").status_code == 400


def test_second_person_is_refused_when_two_decide_the_same_message(clinic: Clinic) -> None:
    send_waiting(clinic, "m-1")
    seen = current(clinic, "m-1")
    claims.claim(clinic.sessions, id_of(clinic, "m-1"), by="dr-1", lease=LEASE)
    with pytest.raises(LeaseLostError, match="another person holds"):
        decide_held(clinic, "dr-2", "m-1", Outcome.PASS)

    clinic.execute("UPDATE waiting_message SET lease_until = lease_until - interval '1 hour'")
    decide_as(clinic, "dr-2", "m-1", Outcome.PASS, seen)
    with pytest.raises(LeaseLostError, match="decided since"):
        decide_as(clinic, "dr-1", "m-1", Outcome.RETAKE, seen)

    assert clinic.decisions("m-1") == [("not_assessable", "no_readable_photo"), ("pass", "override")]
    assert waiting(clinic) == []


def test_decision_is_refused_when_the_person_does_not_hold_the_waiting_message(clinic: Clinic) -> None:
    send_waiting(clinic, "m-1")
    with pytest.raises(LeaseLostError, match="hold it, then decide"):
        decide_held(clinic, "dr-1", "m-1", Outcome.PASS)
    assert waiting(clinic) == ["m-1"]


def test_decision_is_refused_when_a_person_has_made_it_already(clinic: Clinic) -> None:
    send_waiting(clinic, "m-1")
    decide_as(clinic, "dr-1", "m-1", Outcome.PASS)

    with pytest.raises(UsageError, match="has this decision already"):
        decide_as(clinic, "dr-1", "m-1", Outcome.PASS)
    with pytest.raises(UsageError, match="another person decided"):
        decide_as(clinic, "dr-2", "m-1", Outcome.RETAKE)

    decide_held(clinic, "head", "m-1", Outcome.RETAKE, of_others=True)
    assert clinic.decisions("m-1")[1:] == [("pass", "override"), ("retake", "override")]


def reply_of(clinic: Clinic) -> str:
    [row] = clinic.query("SELECT reply FROM retake_request WHERE status = 'flagged'")
    return str(row.reply["text"])


def test_patient_gets_the_reason_that_the_person_chose_and_saw(clinic: Clinic) -> None:
    clinic.send("m-1", "a/0.2,too_dark!", "b/unreadable")
    clinic.drain()
    claims.claim(clinic.sessions, id_of(clinic, "m-1"), by="dr-1", lease=LEASE)

    def preview(ground: Ground) -> str:
        seen, policy = current(clinic, "m-1"), clinic.policy
        reply = preview_reply(clinic.sessions, id_of(clinic, "m-1"), seen=seen, ground=ground, by="dr-1", policy=policy)
        assert reply is not None
        return reply.text

    texts = {ground: preview(ground) for ground in GROUNDS[Outcome.RETAKE]}
    assert texts[Ground.OTHER] == texts[Ground.TOO_DARK]  # what was measured
    assert len(set(texts.values())) == len(texts) - 1
    assert clinic.requests() == []
    decide_held(clinic, "dr-1", "m-1", Outcome.RETAKE, ground=Ground.TOO_CLOSE)

    assert reply_of(clinic) == texts[Ground.TOO_CLOSE]
    decide_held(clinic, "dr-1", "m-1", Outcome.PASS)
    undo(clinic.sessions, id_of(clinic, "m-1"), seen=current(clinic, "m-1"), by="dr-1", policy=clinic.policy)
    assert reply_of(clinic) == texts[Ground.TOO_CLOSE]


def test_preview_is_none_when_the_message_has_a_request(clinic: Clinic) -> None:
    clinic.send("m-1", "a/0.2")
    clinic.drain()
    message, seen = id_of(clinic, "m-1"), current(clinic, "m-1")

    reply = preview_reply(clinic.sessions, message, seen=seen, ground=Ground.BLURRED, by="dr-1", policy=clinic.policy)

    assert reply is None


def test_undo_restores_the_decision_before_and_its_place_in_the_queue(clinic: Clinic) -> None:
    send_waiting(clinic, "m-1")
    decide_as(clinic, "dr-1", "m-1", Outcome.RETAKE)
    assert clinic.requests() == [("m-1", "flagged")]

    with pytest.raises(UsageError, match="another person or a model"):
        undo(clinic.sessions, id_of(clinic, "m-1"), seen=current(clinic, "m-1"), by="dr-2", policy=clinic.policy)
    undo(clinic.sessions, id_of(clinic, "m-1"), seen=current(clinic, "m-1"), by="dr-1", policy=clinic.policy)

    assert clinic.decisions("m-1")[-1] == ("not_assessable", "no_readable_photo")
    assert clinic.requests() == [("m-1", "withdrawn")]
    assert waiting(clinic) == ["m-1"]
    clinic.drain()
    assert waiting(clinic) == ["m-1"]


def test_undo_is_refused_while_another_person_holds_the_message(clinic: Clinic) -> None:
    send_waiting(clinic, "m-1")
    decide_as(clinic, "dr-1", "m-1", Outcome.PASS)
    undo(clinic.sessions, id_of(clinic, "m-1"), seen=current(clinic, "m-1"), by="dr-1", policy=clinic.policy)
    claims.claim(clinic.sessions, id_of(clinic, "m-1"), by="dr-2", lease=LEASE)

    with pytest.raises(LeaseLostError, match="another person holds"):
        undo(clinic.sessions, id_of(clinic, "m-1"), seen=current(clinic, "m-1"), by="dr-1", policy=clinic.policy)

    assert waiting(clinic) == ["m-1"]


def test_undo_flags_the_request_again_when_a_person_had_withdrawn_it(clinic: Clinic) -> None:
    clinic.send("m-1", "a/0.2")
    clinic.drain()
    decide_as(clinic, "dr-1", "m-1", Outcome.PASS)
    assert clinic.requests() == [("m-1", "withdrawn")]

    undo(
        clinic.sessions,
        id_of(clinic, "m-1"),
        seen=current(clinic, "m-1"),
        by="head",
        policy=clinic.policy,
        of_others=True,
    )

    assert clinic.requests() == [("m-1", "withdrawn"), ("m-1", "flagged")]


def test_decision_of_a_model_cannot_be_undone(clinic: Clinic) -> None:
    send_waiting(clinic, "m-1")
    with pytest.raises(UsageError, match="another person or a model"):
        undo(
            clinic.sessions,
            id_of(clinic, "m-1"),
            seen=current(clinic, "m-1"),
            by="dr-1",
            policy=clinic.policy,
            of_others=True,
        )


def test_ground_is_refused_when_it_belongs_to_the_other_decision(clinic: Clinic) -> None:
    send_waiting(clinic, "m-1")
    for outcome, ground in ((Outcome.PASS, Ground.BLURRED), (Outcome.UNCERTAIN, Ground.OTHER)):
        with pytest.raises(TriageError, match="one of its reasons"):
            decide(
                clinic.sessions,
                id_of(clinic, "m-1"),
                outcome,
                seen=current(clinic, "m-1"),
                ground=ground,
                by="dr-1",
                policy=clinic.policy,
            )


def test_place_is_stable_when_messages_have_the_same_time(clinic: Clinic) -> None:
    send_waiting(clinic, "m-1", "m-2", "m-3")
    clinic.execute("UPDATE waiting_message SET since = '2026-01-01T00:00:00Z'")
    seen, after = list[str](), None
    while True:
        page = claims.list_waiting(clinic.sessions, limit=1, after=after)
        seen += [each.message for each in page.messages]
        if page.following is None:
            break
        after = page.following
    assert sorted(seen) == ["m-1", "m-2", "m-3"]
    assert isinstance(after, Place)


def test_person_takes_decides_and_undoes_with_forms(
    clinic: Clinic, logged_in: Callable[..., Browser], browser: Any
) -> None:
    send_waiting(clinic, "m-1", "m-2")
    opened, other = logged_in(), logged_in(Role.REVIEWER, "dr-8")
    assert opened.get("/").text.index(">m-1<") < opened.get("/").text.index(">m-2<")

    page = opened.post("/next")
    path = page.headers["location"].removeprefix("/console")
    assert "Preview the request" in opened.get(path).text
    assert "<dd>you (" in opened.get(path).text
    assert "<td>dr-7</td>" in other.get("/").text
    assert "Preview the request" not in other.get(path).text
    seen = str(current(clinic, "m-1"))
    form = {"outcome": "retake", "ground": "blurred", "note": "the mole\nis not sharp", "seen": seen}
    assert other.post(f"{path}/decide", **form).status_code == 409
    preview = opened.post(f"{path}/preview", **form).text
    assert "What the patient gets" in preview
    assert "</blockquote>" in preview
    assert 'name="note" value="the mole is not sharp"' in preview
    done = opened.post(f"{path}/decide", **form)

    after = done.headers["location"].removeprefix("/console")
    shown = opened.get(after).text
    assert "Decided: retake." in shown
    assert '<span class="ground">blurred:</span> the mole is not sharp' in shown
    assert "Request to the patient: not yet collected" in shown
    again = opened.post(f"{path}/decide", **form)  # a second click
    assert (again.status_code, again.headers["location"]) == (303, done.headers["location"])
    assert opened.post(f"{path}/decide", **form | {"note": "another one"}).status_code == 409
    assert clinic.decisions("m-1") == [("not_assessable", "no_readable_photo"), ("retake", "override")]
    decided = str(current(clinic, "m-1"))
    assert other.post(f"{path}/undo", seen=decided).status_code == 400
    undone = opened.post(f"{path}/undo", seen=decided)
    assert opened.post(f"{path}/undo", seen=decided).headers["location"] == undone.headers["location"]
    assert other.post(f"{path}/undo", seen=decided).status_code == 409
    assert [outcome for outcome, _ in clinic.decisions("m-1")] == ["not_assessable", "retake", "not_assessable"]
    assert "The decision is again: not assessable." in opened.get(undone.headers["location"][len("/console") :]).text
    assert 'role="status"' not in opened.get(after).text  # of a decision that no longer holds
    assert waiting(clinic) == ["m-1", "m-2"]
    assert opened.post("/next", reason="near_threshold").headers["location"].endswith("nothing=1")


def test_reader_sees_but_does_not_decide(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    send_waiting(clinic, "m-1")
    reader = logged_in(Role.READER)
    path = f"/messages/{id_of(clinic, 'm-1')}"

    page = reader.get(path).text

    assert "not assessable" in page
    assert "<form" in page
    assert f"{path}/claim" not in page
    assert f"{path}/decide" not in page


def test_reader_appeals_but_does_not_answer(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    send_asked(clinic, "m-1")
    reader = logged_in(Role.READER)
    path = f"/messages/{id_of(clinic, 'm-1')}"

    assert f"{path}/appeal" in reader.get(path).text
    assert reader.post(f"{path}/appeal", reason="sharp enough").status_code == 303

    assert [each.message for each in claims.list_waiting(clinic.sessions, state=WaitingState.APPEALED).messages] == [
        "m-1"
    ]
    assert f"{path}/rule" not in reader.get(path).text
    assert reader.post(f"{path}/rule", needless="0").status_code == 403


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}"


def test_stored_text_is_shown_as_text_when_it_holds_markup(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    clinic.send(EVIL, f"{EVIL}/unreadable", "a/0.2,too_dark!", thread=EVIL, group=EVIL)
    clinic.drain()
    opened = logged_in()
    path = f"/messages/{id_of(clinic, EVIL)}"
    opened.get(path)
    opened.post(f"{path}/claim")
    form = {"outcome": "retake", "ground": "other", "note": EVIL, "seen": str(current(clinic, EVIL))}
    assert opened.post(f"{path}/decide", **form).status_code == 303
    assert 'role="status"' not in opened.get(f"{path}?decided={EVIL}").text
    undone = opened.post(f"{path}/undo", seen=str(current(clinic, EVIL)))
    assert undone.status_code == 303
    opened.post(f"{path}/claim")

    pages = [opened.get(each).text for each in ("/", path, f"{path}?undone={EVIL}")]
    pages.append(opened.post(f"{path}/preview", **form | {"seen": str(current(clinic, EVIL))}).text)
    photo = clinic.query("SELECT id FROM attachment LIMIT 1")[0].id
    pages.append(opened.get(f"{path}/photos/{photo}").text)

    for page in pages:
        assert "<script" not in page
        assert "<img src=x" not in page
        assert "&lt;script&gt;" in page
        assert "{{7*7}}" in page
    for parameter in ("source", "reason", "hours", "after", "next"):
        assert "<script" not in opened.get(f"/?{parameter}={EVIL}").text
        assert "<script" not in opened.get(f"/login?{parameter}={EVIL}").text


@pytest.mark.parametrize(
    "query", ["?after=x", "?after=nan_0", "?after=1e99_0", "?reason=x", "?hours=-1", "?source=a b"]
)
def test_queue_explains_when_its_address_is_wrong(logged_in: Callable[..., Browser], query: str) -> None:
    assert logged_in().get(f"/{query}").status_code == 400


def test_every_look_and_decision_is_in_the_audit_trail(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    send_waiting(clinic, "m-1")
    opened = logged_in()
    path = f"/messages/{id_of(clinic, 'm-1')}"

    opened.get(path)
    opened.post(f"{path}/claim")
    opened.post(f"{path}/release")
    opened.post(f"{path}/claim")
    opened.post(f"{path}/decide", outcome="pass", ground="urgent", seen=str(current(clinic, "m-1")))

    with clinic.sessions() as session:
        actions = session.execute(
            text(
                "SELECT action FROM audit_event "
                "WHERE actor = 'staff:dr-7' AND subject_kind = 'message' ORDER BY position"
            )
        ).scalars()
        assert list(actions) == [
            "message.seen",
            "message.claimed",
            "message.released",
            "message.claimed",
            "message.overridden",
        ]


def send_asked(clinic: Clinic, *names: str) -> None:
    """Messages with a retake request."""
    for name in names:
        clinic.send(name, f"{name}/0.1", thread=name)
    clinic.drain()


def test_appealed_request_waits_until_a_person_rules_on_it(clinic: Clinic) -> None:
    send_asked(clinic, "m-1", "m-2")
    assert waiting(clinic) == []

    appeal(clinic.sessions, "m-1", by="n-1", reason="sharp")
    appeal(clinic.sessions, "m-1", by="n-2", reason="sharp enough")
    review(clinic.sessions, "m-1", needless=False, by="r-1")  # of a random sample: it answers no appeal

    [found] = claims.list_waiting(clinic.sessions).messages
    assert (found.message, found.state, found.reason) == ("m-1", WaitingState.APPEALED, Reason.NO_PHOTO_PASSED)
    ruled = rule(clinic.sessions, "m-1", needless=True, by="staff:dr-1")
    assert (ruled.kind, ruled.needless, ruled.recorded) == (ReviewKind.RULING, True, True)
    assert waiting(clinic) == []
    assert not rule(clinic.sessions, "m-1", needless=True, by="staff:dr-1").recorded
    with pytest.raises(UsageError, match="no one has appealed"):
        rule(clinic.sessions, "m-2", needless=True, by="staff:dr-1")


def test_appealed_message_leaves_the_queue_when_it_is_decided_or_forgotten(clinic: Clinic) -> None:
    send_asked(clinic, "m-1", "m-2", "m-3")
    for name in ("m-1", "m-2", "m-3"):
        appeal(clinic.sessions, name, by="n-1", reason="sharp")

    decide_as(clinic, "dr-1", "m-1", Outcome.PASS)
    clinic.execute(f"DELETE FROM waiting_message WHERE message_id = '{id_of(clinic, 'm-3')}'")
    override(clinic.sessions, "m-3", Outcome.PASS, by="dr-1", reason="sharp", policy=clinic.policy)
    appeal(clinic.sessions, "m-3", by="n-2", reason="sharp")  # no request stands

    assert waiting(clinic) == ["m-2"]


def test_ruling_is_refused_when_another_person_holds_the_message(clinic: Clinic) -> None:
    send_asked(clinic, "m-1")
    appeal(clinic.sessions, "m-1", by="n-1", reason="sharp")
    claims.claim(clinic.sessions, id_of(clinic, "m-1"), by="dr-1", lease=LEASE)

    with pytest.raises(LeaseLostError):
        rule(clinic.sessions, "m-1", needless=True, by="dr-2")
    assert rule(clinic.sessions, "m-1", needless=False, by="dr-1").recorded


def test_appeal_counts_unless_a_ruling_says_that_the_request_was_needed(clinic: Clinic) -> None:
    send_asked(clinic, "m-1", "m-2", "m-3")
    for name in ("m-1", "m-2"):
        appeal(clinic.sessions, name, by="n-1", reason="sharp")
    rule(clinic.sessions, "m-1", needless=True, by="dr-1")
    before = report(clinic.sessions, Period())["needless"]
    rule(clinic.sessions, "m-2", needless=False, by="dr-1")

    found = report(clinic.sessions, Period())["needless"]

    assert (before["reported"], found["reported"], found["requests"]) == (2, 1, 3)
    assert (found["reviewed"], found["share"]) == (0, None)  # appealed requests are no random sample


def test_filters_select_by_state_and_model(clinic: Clinic) -> None:
    send_waiting(clinic, "m-1")
    clinic.send("m-2", "a/0.2", "a/unreadable")
    send_asked(clinic, "m-3")
    appeal(clinic.sessions, "m-3", by="n-1", reason="sharp")
    live = clinic.assessor.model_version_id

    assert waiting(clinic, state=WaitingState.APPEALED) == ["m-3"]
    assert waiting(clinic, state=WaitingState.UNCERTAIN) == ["m-2"]
    assert waiting(clinic, state=WaitingState.NOT_ASSESSABLE) == ["m-1"]
    assert waiting(clinic, model=live) == ["m-2", "m-3"]  # no model scored the other one
    assert [model for model, _ in claims.list_models(clinic.sessions)] == [live]
    assert waiting(clinic, model=live, state=WaitingState.APPEALED) == ["m-3"]


def test_reviewer_rules_on_an_appeal_in_the_console(clinic: Clinic, logged_in: Callable[..., Browser]) -> None:
    send_asked(clinic, "m-1")
    nurse, doctor = logged_in(name="nurse"), logged_in(name="doctor")
    path = f"/messages/{id_of(clinic, 'm-1')}"
    assert "Appeal against the request" in nurse.get(path).text
    reason = "<script>alert(1)</script> sharp"

    assert nurse.post(f"{path}/appeal", reason=reason).status_code == 303

    queue = doctor.get("/?state=appealed").text
    assert "request appealed" in queue
    assert "m-1" in queue
    page = doctor.get(path).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; sharp" in page
    assert "<script" not in page
    assert doctor.post(f"{path}/rule", needless="2").status_code == 400
    assert doctor.post(f"{path}/rule", needless="0").status_code == 303
    assert waiting(clinic) == []
    assert clinic.query("SELECT kind, needless, actor FROM request_review ORDER BY id") == [
        ("appeal", True, "staff:nurse"),
        ("ruling", False, "staff:doctor"),
    ]
    for wrong in ("state=pass", "model=x", "hours=2", "reason=none"):
        assert doctor.get(f"/?{wrong}").status_code == 400


def test_appeal_counts_for_the_opened_message_when_a_sender_uses_its_id_for_another(
    clinic: Clinic, logged_in: Callable[..., Browser]
) -> None:
    clinic.send("m-1", "a/0.2")
    clinic.drain()
    clinic.send(str(id_of(clinic, "m-1")), "b/0.2")
    clinic.drain()
    path = f"/messages/{id_of(clinic, 'm-1')}"
    browser = logged_in()
    browser.get(path)

    assert browser.post(f"{path}/appeal", reason="sharp").status_code == 303
    assert waiting(clinic, state=WaitingState.APPEALED) == ["m-1"]
    assert browser.post(f"{path}/rule", needless="1").status_code == 303
    assert waiting(clinic) == []


def test_same_ruling_answers_a_later_appeal(clinic: Clinic) -> None:
    clinic.send("m-1", "a/0.2")
    clinic.drain()
    appeal(clinic.sessions, "m-1", by="n-1", reason="sharp")
    assert rule(clinic.sessions, "m-1", needless=False, by="dr-1").recorded
    appeal(clinic.sessions, "m-1", by="n-2", reason="sharp enough")
    assert waiting(clinic) == ["m-1"]

    assert not rule(clinic.sessions, "m-1", needless=False, by="dr-1").recorded
    assert waiting(clinic) == []


@pytest.mark.parametrize("is_disabled", [True, False])
def test_message_sent_to_a_person_is_everyones_when_the_person_may_no_longer_decide(
    clinic: Clinic, is_disabled: bool
) -> None:
    send_waiting(clinic, "m-1")
    accounts.add(clinic.sessions, "dr-2", Role.MANAGER, password="correct horse battery staple", by="admin")
    claims.assign(clinic.sessions, id_of(clinic, "m-1"), "dr-2", by="staff:dr-1")
    accounts.change_role(clinic.sessions, "dr-2", Role.REVIEWER, by="admin")
    assert claims.claim_oldest(clinic.sessions, by="staff:dr-1", lease=LEASE) is None

    if is_disabled:
        accounts.disable(clinic.sessions, "dr-2", by="admin")
    else:
        accounts.change_role(clinic.sessions, "dr-2", Role.READER, by="admin")

    assert claims.claim_oldest(clinic.sessions, by="staff:dr-1", lease=LEASE) == id_of(clinic, "m-1")
    assert waiting(clinic, assigned_to="staff:dr-2") == []
