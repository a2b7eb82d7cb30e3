from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.clinic import Clinic, ScriptedAssessor, WithShadow, scored
from tests.support.rescoring import step
from triage.domain.card import Card, card_json
from triage.domain.messages import ClaimedAttachment
from triage.domain.photos import AssessedBatch, Assessment, Scored
from triage.domain.reporting import Period
from triage.reports.flips import flips_of
from triage.reports.html import render_html
from triage.reports.summary import summarise
from triage.scoring.drain import DrainLimits, drain
from triage.scoring.rescoring import Rescoring
from triage.scoring.start import start_rescoring
from triage.storage import model_versions as models
from triage.storage import runs
from worker.cli.report import to_table


@pytest.fixture
def shadowed(clinic: Clinic) -> Clinic:
    with clinic.sessions.begin() as session:
        live = models.live(session)
        assert live is not None
        card = Card.model_validate(card_json(live.card) | {"name": "newer", "weights_sha256": "1" * 64})
        shadow = models.add(session, card)[0].id
    clinic.send("good", "a/0.9")
    clinic.send("bad", "b/0.2")
    clinic.send("middling", "c/0.5", "d/unreadable")
    drain(clinic.inbox, lambda: WithShadow(clinic.assessor, shadow), DrainLimits(photos_per_batch=4, seconds=60))
    return clinic


def test_shadow_verdicts_are_stored_and_decide_nothing(shadowed: Clinic) -> None:
    assert shadowed.decisions("good") == [("pass", "photo_passed")]
    assert shadowed.requests() == [("bad", "flagged")]
    assert shadowed.query("SELECT origin, count(*) FROM verdict GROUP BY origin ORDER BY origin") == [
        ("inbox", 3),
        ("shadow", 3),
    ]


def test_report_counts_disagreements_of_the_shadow_model(shadowed: Clinic) -> None:
    with shadowed.sessions() as session:
        report = summarise(session, Period())

    [shadow] = report["shadows"]
    assert (shadow["model"], shadow["n"], shadow["good_to_bad"], shadow["bad_to_good"]) == ("newer", 3, 1, 1)
    assert shadow["disagreement"] == pytest.approx(2 / 3)
    assert shadow["mean_score_difference"] == pytest.approx((0.8 + 0.6 + 0) / 3)
    assert "shadow model newer disagrees on 66.7 % of 3 photos" in to_table(report)
    assert "Shadow models" in render_html(report)


def test_shadow_results_are_refused_when_the_lease_was_lost(clinic: Clinic) -> None:
    accepted = clinic.send("m", "a/0.9")
    claim = clinic.inbox.claim(1, retry=False)
    assert claim is not None
    clinic.inbox.release(claim)
    shadow = AssessedBatch(clinic.assessor.model_version_id, 0.5, [scored(accepted.attachments[0].id, 0.1)])

    clinic.inbox.record(claim, replace(clinic.assessor.assess(claim.attachments), shadows=[shadow]))

    assert clinic.query("SELECT count(*) FROM verdict") == [(0,)]


def test_photos_with_shadow_verdicts_are_rescored(shadowed: Clinic) -> None:
    """Shadow verdicts decide nothing; the rescoring withdraws an unsent request of a message that passes."""
    with shadowed.sessions.begin() as session:
        shadow = models.find(session, "newer")
    run = start_rescoring(shadowed.sessions, model="newer", actor="test")

    class Inverted(ScriptedAssessor):
        @staticmethod
        def _one(attachment: ClaimedAttachment) -> Assessment:
            assessment = ScriptedAssessor._one(attachment)
            if isinstance(assessment, Scored):
                return scored(assessment.id, 1 - assessment.score.score)
            return assessment

    rescoring = Rescoring(
        shadowed.sessions,
        lambda _: Inverted(shadow.id),
        photos_per_batch=2,
        lease=timedelta(seconds=60),
        policy=shadowed.policy,
    )
    while step(rescoring):
        pass

    with shadowed.sessions() as session:
        progress = runs.find(session, run.id).progress
    [flips] = flips_of(shadowed.sessions, run.id)
    assert (progress["scored"], progress["good_to_bad"], progress["bad_to_good"]) == (3, 1, 1)
    assert (flips["photos"], flips["good_to_bad"], flips["bad_to_good"]) == (3, 1, 1)
    assert shadowed.requests() == [("bad", "withdrawn")]
    assert shadowed.query("SELECT origin, count(*) FROM verdict GROUP BY origin ORDER BY origin") == [
        ("inbox", 3),
        ("rescoring", 3),
    ]
