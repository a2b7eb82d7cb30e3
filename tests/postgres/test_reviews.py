"""Appeals and reviews of retake requests, and samples of requests to review."""

from datetime import UTC, datetime

import pytest

from benchmarks.known_clinic import KnownClinic
from tests.support.clinic import Clinic
from triage.domain.card import RegisteredModel
from triage.domain.reporting import Period
from triage.domain.states import ReviewKind
from triage.errors import NotFoundError, UsageError
from triage.reports.sample import sample_needless
from triage.reports.summary import report
from triage.retakes.reviews import appeal, review
from triage.statistics.proportions import wilson_interval
from triage.storage.database import Sessions


@pytest.fixture
def asked(clinic: Clinic) -> Clinic:
    """A message with a retake request."""
    clinic.send("m-1", "a/0.1")
    clinic.drain()
    return clinic


def test_appeal_is_audited_and_counted_when_it_is_made_twice(asked: Clinic) -> None:
    first, again = (appeal(asked.sessions, "m-1", by="dr-7", reason="sharp enough") for _ in range(2))

    assert (first.kind, first.needless, first.recorded, again.recorded) == (ReviewKind.APPEAL, True, True, False)
    events = asked.query("SELECT actor, action, details ->> 'needless' FROM audit_event WHERE subject_kind = 'retake'")
    assert events == [("dr-7", "retake.appealed", "true")]
    found = report(asked.sessions, Period())["needless"]
    assert (found["requests"], found["reported"], found["at_least"]) == (1, 1, 1.0)
    assert (found["reviewed"], found["share"], found["interval"]) == (0, None, None)
    assert asked.requests() == [("m-1", "flagged")]


def test_majority_of_reviews_counts_when_reviewers_disagree(asked: Clinic) -> None:
    for reviewer, needless in (("r-1", True), ("r-2", False)):
        review(asked.sessions, "m-1", needless=needless, by=reviewer)
    tied = report(asked.sessions, Period())["needless"]
    review(asked.sessions, "m-1", needless=True, by="r-3", note="the second photo is sharp")

    found = report(asked.sessions, Period())["needless"]

    assert (tied["reviewed"], tied["needless"], found["reviewed"], found["needless"]) == (1, 0, 1, 1)
    assert (found["share"], found["interval"]) == (1.0, wilson_interval(1, 1))


def test_review_is_refused_when_the_reviewer_said_the_opposite(asked: Clinic) -> None:
    review(asked.sessions, "m-1", needless=True, by="r-1")

    with pytest.raises(UsageError, match="the opposite"):
        review(asked.sessions, "m-1", needless=False, by="r-1")


def test_judgement_is_refused_when_there_is_no_request_or_the_message_is_forgotten(asked: Clinic) -> None:
    asked.send("fine", "b/0.9")
    asked.drain()

    with pytest.raises(NotFoundError, match="no retake request"):
        appeal(asked.sessions, "fine", by="dr-7", reason="sharp")
    with pytest.raises(UsageError, match="reason"):
        appeal(asked.sessions, "m-1", by="dr-7", reason=" ")
    appeal(asked.sessions, "m-1", by="dr-7", reason="Mustermann is sharp")
    [(key,)] = asked.query("SELECT id FROM message WHERE external_id = 'm-1'")
    asked.execute(f"SELECT forget_message(gen_random_uuid(), '{key}', 'op-1', 'r')")
    assert asked.query("SELECT note FROM request_review") == [(None,)]
    with pytest.raises(UsageError, match="forgotten"):
        appeal(asked.sessions, str(key), by="dr-8", reason="sharp")


def test_sample_is_the_same_and_continues_a_smaller_one_when_it_is_drawn_again(
    sessions: Sessions, live_model: RegisteredModel
) -> None:
    known = KnownClinic(datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0))
    known.draw(600)
    known.write(sessions.kw["bind"], live_model.id)
    period = Period()

    wide, again = (sample_needless(sessions, period, width=0.4) for _ in range(2))
    narrow, other = sample_needless(sessions, period, width=0.3), sample_needless(sessions, period, width=0.4, seed=1)

    requests = [each.request for each in known.messages if each.request]
    assert wide == again
    assert wide.requests == len(requests)
    assert len(wide.proposed) == wide.size < narrow.size
    assert [*narrow.proposed][: wide.size] == [*wide.proposed]
    assert {each.id for each in other.proposed} != {each.id for each in wide.proposed}
    reviewed = {request.id for request in requests if request.is_reviewed}
    assert {each.id for each in narrow.proposed if each.is_reviewed} <= reviewed
    low, high = wilson_interval(round(narrow.expected_share * narrow.size), narrow.size) or (0, 1)
    assert high - low == pytest.approx(0.3, abs=0.02)


def test_sample_says_that_the_period_is_too_short_when_there_are_too_few_requests(asked: Clinic) -> None:
    drawn = sample_needless(asked.sessions, Period(), width=0.1)

    assert (drawn.requests, drawn.size, drawn.expected_share, len(drawn.proposed)) == (1, 381, 0.5, 1)
