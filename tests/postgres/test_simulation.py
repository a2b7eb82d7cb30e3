"""The burden simulator over a clinic whose messages were decided by the product itself."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import pytest
from sqlalchemy import text

from tests.support.cards import make_card
from tests.support.clinic import Clinic, scored
from tests.support.command_line import Result
from triage.domain.reporting import Period
from triage.domain.states import Outcome, VerdictOrigin
from triage.errors import UsageError
from triage.reports.summary import report
from triage.retakes.opt_out import opt_out
from triage.retakes.override import override
from triage.retakes.proposals import find_proposal, list_proposals, propose
from triage.retakes.requests import claim
from triage.retakes.reviews import appeal, review
from triage.retakes.scenario import Scenario
from triage.retakes.simulate import simulate
from triage.storage import model_versions as models
from triage.storage import verdicts
from worker.documents.simulation import SimulationDocument

Triage: TypeAlias = Callable[..., Result]
_TIMES = {
    "message": ("received_at",),
    "attachment": ("created_at",),
    "verdict": ("created_at",),
    "decision": ("created_at",),
    "retake_request": ("created_at", "withdrawn_at"),
}
_IDS = {
    "message": ("id", "current_decision_id"),
    "attachment": ("id", "message_id"),
    "verdict": ("id", "attachment_id"),
    "decision": ("id", "message_id", "supersedes_id"),
    "retake_request": ("id", "message_id", "decision_id"),
    "request_review": ("id", "request_id"),
    "delivery": ("message_id", "subject_id"),
    "waiting_message": ("message_id",),
}
_OLDER = """
CREATE OR REPLACE FUNCTION pg_temp.older(id uuid, by double precision) RETURNS uuid LANGUAGE sql AS $$
    SELECT (lpad(to_hex((extract(epoch FROM uuid_extract_timestamp(id)) * 1000 - by * 1000)::bigint), 12, '0')
            || substr(replace(id::text, '-', ''), 13))::uuid
$$
"""


def _let_time_pass(clinic: Clinic, hours: float) -> None:
    """Makes everything older, also what only a superuser can change. Ids hold the time of their creation."""
    with clinic.sessions.begin() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text(_OLDER))
        for table in _IDS:
            changes = [f"{column} = pg_temp.older({column}, :seconds)" for column in _IDS[table]]
            changes += [f"{column} = {column} - make_interval(secs => :seconds)" for column in _TIMES.get(table, ())]
            session.execute(text(f"UPDATE {table} SET {', '.join(changes)}"), {"seconds": 3600 * hours})


def _busy(clinic: Clinic) -> None:
    """Twelve threads over some days, with resends, groups, unreadable photos, opt-outs, overrides and withdrawals."""
    random = np.random.default_rng(3)
    for step in range(60):
        thread = f"t{random.integers(12)}"
        photos = [
            f"{step}-{k}/{'unreadable' if random.random() < 0.1 else f'{random.beta(2, 3):.2f}'}"
            for k in range(random.integers(1, 4))
        ]
        if random.random() < 0.5:
            photos = [f"{thread}/0.1"]  # the same photo again
        group = "arm" if random.random() < 0.3 else None
        clinic.send(f"m{step}", *photos, thread=thread, group=group)
        if random.random() < 0.2:
            clinic.send(f"m{step}", f"late-{step}/0.2", thread=thread)
        clinic.drain()
        if step % 9 == 4:
            outcome = Outcome.PASS if random.random() < 0.5 else Outcome.RETAKE
            with suppress(UsageError):  # the thread has had its requests
                override(clinic.sessions, f"m{step}", outcome, by="nurse-1", reason="seen", policy=clinic.policy)
        if step % 13 == 7:
            claim(clinic.sessions, by="ehr", limit=2, lease=timedelta(days=1))
        if step in {10, 20}:
            opt_out(clinic.sessions, source="ehr", thread=thread, by="nurse-1", policy=clinic.policy)
        _let_time_pass(clinic, float(random.choice([0.1, 3, 12])))


def _simulate(clinic: Clinic, scenario: Scenario | None = None) -> dict[str, Any]:
    period = Period(datetime.now(UTC) - timedelta(days=60))
    return simulate(clinic.sessions, period, scenario or Scenario(), policy=clinic.policy)


def _outcomes(clinic: Clinic) -> dict[str, int]:
    """By the last decision of a model on each message."""
    rows = clinic.query(
        "SELECT outcome, count(*) FROM (SELECT DISTINCT ON (message_id) outcome FROM decision "
        "WHERE decided_by = 'model' ORDER BY message_id, id DESC) last GROUP BY outcome"
    )
    return {row.outcome: row.count for row in rows}


def test_replay_with_todays_settings_gives_the_stored_decisions(clinic: Clinic) -> None:
    _busy(clinic)

    found = _simulate(clinic)

    reasons = {row.reason for row in clinic.query("SELECT reason FROM decision")}
    assert {"cooldown", "request_limit", "identical_resend", "opted_out", "unreadable_photo", "override"} <= reasons
    assert found["reproduced"]["k"] == found["reproduced"]["n"] > 60
    assert {name: n for name, n in found["today"]["outcomes"].items() if n} == _outcomes(clinic)
    assert found["today"] == found["scenario"]
    assert found["labelled"] > 0


def test_simulation_is_the_same_wherever_the_period_is_split_to_be_read(clinic: Clinic) -> None:
    _busy(clinic)
    [times] = clinic.query("SELECT min(received_at) AS first, max(received_at) AS last FROM message")
    now = datetime.now(UTC)
    scenario = Scenario(threshold=0.4, cooldown_hours=6)

    def found(since: datetime) -> list[Any]:
        result = simulate(clinic.sessions, Period(since, now), scenario, policy=clinic.policy)
        burden = [{**result[side], "requests_per_day": 0, "staff_per_day": 0} for side in ("today", "scenario")]
        return [*burden, *(result[key] for key in ("messages", "reproduced", "labelled", "appealed"))]

    split_after_none = found(now - timedelta(days=60))
    split_in_the_middle = found(times.first)
    since = times.last - (now - times.last)
    split_at_the_last = found(since)

    assert split_in_the_middle == split_after_none
    assert split_at_the_last[2] == sum(
        row.received_at >= since for row in clinic.query("SELECT received_at FROM message")
    )
    assert split_after_none[0] != split_after_none[1]


@pytest.mark.parametrize("days", [20, 80])
def test_messages_that_were_decided_again_later_are_replayed_with_their_later_photos(
    clinic: Clinic, days: float
) -> None:
    for step in range(4):
        clinic.send(f"m{step}", f"{step}/0.1", f"other-{step}/0.2")
        clinic.drain()
    clinic.send("never-again", "x/0.1")
    clinic.drain()
    _let_time_pass(clinic, 24 * 0.7 * days)  # in the first of the parts in which the period is read
    for step in range(3):
        clinic.send(f"m{step}", f"late-{step}/0.9")
    clinic.drain()
    _let_time_pass(clinic, 24)

    found = simulate(
        clinic.sessions,
        Period(datetime.now(UTC) - timedelta(days=days)),
        Scenario(threshold=0.95),
        policy=clinic.policy,
    )

    assert (found["reproduced"]["k"], found["reproduced"]["n"]) == (8, 8)
    assert found["today"]["outcomes"] == {"pass": 3, "retake": 2, "uncertain": 0, "not_assessable": 0}
    assert found["scenario"]["outcomes"] == {"pass": 0, "retake": 5, "uncertain": 0, "not_assessable": 0}


def test_scenario_gives_what_a_clinic_with_its_settings_decides(make_clinic: Callable[..., Clinic]) -> None:
    clinic = make_clinic()
    for step, score in enumerate([0.1, 0.42, 0.48, 0.7, 0.3]):
        clinic.send(f"m{step}", f"{step}/{score}", thread=f"t{step // 2}")
        clinic.drain()

    lower = _simulate(clinic, Scenario(threshold=0.4))
    staff = _simulate(clinic, Scenario(uncertain_margin=0.1))
    never = _simulate(clinic, Scenario(max_requests_per_thread=0))
    soon = _simulate(clinic, Scenario(cooldown_hours=0))

    assert _simulate(clinic)["today"]["outcomes"] == {"pass": 1, "retake": 3, "uncertain": 1, "not_assessable": 0}
    assert lower["scenario"]["outcomes"] == {"pass": 3, "retake": 2, "uncertain": 0, "not_assessable": 0}
    assert staff["scenario"]["outcomes"] == {"pass": 1, "retake": 2, "uncertain": 2, "not_assessable": 0}
    assert (never["scenario"]["requests"], never["scenario"]["staff"]) == (0, 4)
    assert soon["scenario"]["requests"] == 4
    assert lower["changes"] == {"threshold": 0.4}


def test_needless_share_is_known_from_the_decisions_of_people(clinic: Clinic) -> None:
    for step, score in enumerate([0.1, 0.2, 0.45, 0.9]):
        clinic.send(f"m{step}", f"{step}/{score}")
    clinic.drain()
    unknown = _simulate(clinic)["today"]
    for step, outcome in enumerate([Outcome.RETAKE, Outcome.RETAKE, Outcome.PASS, Outcome.RETAKE]):
        override(clinic.sessions, f"m{step}", outcome, by="nurse-1", reason="seen", policy=clinic.policy)

    found = _simulate(clinic, Scenario(threshold=0.3))

    assert (unknown["needless"]["value"], unknown["bad_caught"]["value"]) == (None, None)
    assert (found["today"]["needless"]["k"], found["today"]["needless"]["n"]) == (1, 3)
    assert (found["scenario"]["needless"]["k"], found["scenario"]["needless"]["n"]) == (0, 2)
    assert (found["today"]["bad_caught"]["k"], found["today"]["bad_caught"]["n"]) == (2, 3)
    assert found["today"]["bad_caught"]["interval"][0] < 2 / 3 < found["today"]["bad_caught"]["interval"][1]


def test_needless_share_counts_reviews_and_bounds_it_by_appeals(clinic: Clinic) -> None:
    for step in range(4):
        clinic.send(f"m{step}", f"{step}/0.{step + 1}")
    clinic.drain()
    for reviewer, needless in (("dr-1", False), ("dr-2", True), ("dr-3", False)):
        review(clinic.sessions, "m0", needless=needless, by=reviewer)
    review(clinic.sessions, "m1", needless=True, by="dr-1")
    appeal(clinic.sessions, "m2", by="nurse-1", reason="sharp enough")
    override(clinic.sessions, "m1", Outcome.RETAKE, by="nurse-1", reason="a review counts", policy=clinic.policy)

    found = _simulate(clinic, Scenario(threshold=0.15))

    assert (found["labelled"], found["appealed"]) == (2, 1)
    assert (found["today"]["needless"]["k"], found["today"]["needless"]["n"]) == (1, 2)
    assert found["today"]["needless_at_least"] == 2 / 4
    assert (found["scenario"]["needless"]["k"], found["scenario"]["needless"]["n"]) == (0, 1)
    assert found["scenario"]["needless_at_least"] == 0
    assert (found["scenario"]["bad_caught"]["k"], found["scenario"]["bad_caught"]["n"]) == (1, 1)


def test_candidate_is_simulated_by_its_stored_scores(clinic: Clinic) -> None:
    accepted = [clinic.send(f"m{step}", f"{step}/{score}") for step, score in enumerate([0.1, 0.2, 0.9])]
    clinic.drain()
    with clinic.sessions.begin() as session:
        candidate, _ = models.add(session, make_card("candidate", weights_sha256="2" * 64))
    with pytest.raises(UsageError, match="has not scored"):
        _simulate(clinic, Scenario(model="candidate"))
    with clinic.sessions.begin() as session:
        verdicts.add(
            session,
            [scored(accepted[0].attachments[0].id, 0.8), scored(accepted[2].attachments[0].id, 0.3)],
            model_version_id=candidate.id,
            threshold=0.5,
            origin=VerdictOrigin.SHADOW,
        )

    found = _simulate(clinic, Scenario(model="candidate"))

    assert (found["messages"], found["left_out"]) == (2, 1)
    assert [found[side]["outcomes"]["retake"] for side in ("today", "scenario")] == [1, 1]
    assert _simulate(clinic, Scenario(model="candidate", threshold=0.2))["scenario"]["outcomes"]["pass"] == 2


def test_wrong_scenario_is_refused(clinic: Clinic) -> None:
    for scenario in (
        Scenario(threshold=1.5),
        Scenario(thresholds_by_photo_count={0: 0.5}),
        Scenario(max_requests_per_thread=-1),
        Scenario(cooldown_hours=float("nan")),
        Scenario(model="unknown"),
    ):
        with pytest.raises(UsageError):
            _simulate(clinic, scenario)
    with pytest.raises(UsageError, match="no start"):
        simulate(clinic.sessions, Period(), Scenario(), policy=clinic.policy)


def test_number_of_queries_at_a_time_is_refused_when_it_is_not_positive(clinic: Clinic) -> None:
    with pytest.raises(UsageError, match="at_once"):
        report(clinic.sessions, Period(), at_once=0)
    with pytest.raises(UsageError, match="at_once"):
        simulate(clinic.sessions, Period(), Scenario(), policy=clinic.policy, at_once=-1)


def test_only_one_proposal_has_a_name_when_several_people_save_it_at_once(clinic: Clinic) -> None:
    clinic.send("m-1", "a/0.42")
    clinic.drain()
    together, saved, latest = threading.Barrier(4), list[str](), Period(datetime.now(UTC) - timedelta(days=1))

    def save(by: str) -> None:
        together.wait()
        with suppress(UsageError):
            propose(clinic.sessions, "milder", latest, Scenario(threshold=0.4), policy=clinic.policy, by=by)
            saved.append(by)

    threads = [threading.Thread(target=save, args=(f"chief-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    [found] = list_proposals(clinic.sessions)
    assert saved == [found.saved_by]
    propose(clinic.sessions, "mildest", latest, Scenario(threshold=0.3), policy=clinic.policy, by="chief-1")
    assert [each.name for each in list_proposals(clinic.sessions)] == ["mildest", "milder"]
    assert [each.name for each in list_proposals(clinic.sessions, limit=1)] == ["mildest"]
    assert find_proposal(clinic.sessions, "milder") == found
    for name in (".", ".."):  # no page would have this address
        with pytest.raises(UsageError, match="cannot be part of a URL"):
            propose(clinic.sessions, name, latest, Scenario(threshold=0.4), policy=clinic.policy, by="chief-1")


def test_proposal_is_saved_and_its_thresholds_are_applied(clinic: Clinic, triage: Triage) -> None:
    for step, score in enumerate([0.1, 0.42, 0.9]):
        clinic.send(f"m{step}", f"{step}/{score}")
    clinic.drain()
    arguments = ("simulate", "--threshold", "0.4", "--photo-count", "3=0.6", "--cooldown-hours", "48", "--json")

    found = triage(*arguments, "--save", "milder", "--by", "chief-1").json

    assert SimulationDocument.model_validate(found).scenario.requests == 1
    assert "exists" in triage(*arguments, "--save", "milder", "--by", "chief-1").complaint()
    [listed] = triage("proposals", "list", "--json").json
    assert (listed["name"], listed["saved_by"], listed["applied_at"]) == ("milder", "chief-1", None)
    assert listed["simulation"] == found
    shown = triage("proposals", "show", "milder").out
    assert "proposal milder, saved by chief-1" in shown
    assert "not applied" in shown
    assert "today: threshold 0.5\n" in shown
    assert "threshold 0.5 -> 0.4" in shown
    assert "cooldown hours 24 -> 48" in shown
    applied = triage("proposals", "apply", "milder", "--by", "chief-2")
    assert "set TRIAGE_RETAKES__COOLDOWN_HOURS=48.0" in applied.out
    with clinic.sessions() as session:
        live = models.live(session)
    assert live is not None
    assert (live.card.threshold, live.card.thresholds_by_photo_count) == (0.4, {3: 0.6})
    assert live.card.threshold_chosen_by == "proposal milder"
    assert triage("proposals", "show", "milder", "--json").json["applied_by"] == "chief-2"
    events = {row.action: row.details for row in clinic.query("SELECT action, details FROM audit_event")}
    assert events["model.thresholds_set"]["proposal"]
    assert "proposal.applied" in events


def test_proposal_is_applied_again_only_when_the_card_has_changed(clinic: Clinic, triage: Triage) -> None:
    clinic.send("m", "a/0.1")
    clinic.drain()
    assert triage("simulate", "--threshold", "0.4", "--save", "milder", "--by", "chief-1").code == 0
    assert triage("simulate", "--threshold", "0.6", "--save", "stricter", "--by", "chief-1").code == 0
    assert triage("proposals", "apply", "milder", "--by", "chief-1").code == 0

    again = triage("proposals", "apply", "milder", "--by", "chief-2")

    def actions() -> list[str]:
        return [row.action for row in clinic.query("SELECT action FROM audit_event")]

    assert "applied already by chief-1" in again.out
    assert (actions().count("proposal.applied"), actions().count("model.thresholds_set")) == (1, 1)
    triage("proposals", "apply", "stricter", "--by", "chief-1")
    assert "already" not in triage("proposals", "apply", "milder", "--by", "chief-2").out
    assert actions().count("proposal.applied") == 3
    with clinic.sessions() as session:
        live = models.live(session)
    assert live is not None
    assert live.card.threshold == 0.4


def test_proposal_is_refused_when_it_cannot_be_applied(clinic: Clinic, triage: Triage) -> None:
    clinic.send("m", "a/0.1")
    clinic.drain()
    assert triage("simulate", "--threshold", "0.05", "--save", "low", "--by", "chief-1").code == 0
    with clinic.sessions.begin() as session:
        models.add(session, make_card("other", weights_sha256="3" * 64))
        session.execute(text("UPDATE model_version SET stage = 'retired' WHERE stage = 'live'"))
        session.execute(text("UPDATE model_version SET stage = 'live' WHERE name = 'other'"))

    assert "another model is live" in triage("proposals", "apply", "low", "--by", "chief-1").complaint()
    assert "no proposal" in triage("proposals", "apply", "unknown", "--by", "chief-1").complaint()
    assert "changes nothing" in triage("simulate", "--save", "same", "--by", "chief-1").complaint()
    assert "such as 3=0.6" in triage("simulate", "--photo-count", "x").complaint()
    assert "unknown" in triage("simulate", "--threshold", "0.3").out
