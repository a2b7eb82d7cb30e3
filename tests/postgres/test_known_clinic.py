"""Every figure of a report is computed again, in plain Python, from drawn messages whose probabilities are known."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from scipy import stats

from benchmarks.known_clinic import ANSWER_DAYS, DAYS, Drawn, KnownClinic, Photo, Request, contained
from triage.domain.card import RegisteredModel
from triage.domain.reporting import Period
from triage.domain.states import Outcome
from triage.reports.summary import report
from triage.storage.database import Sessions

Z = 1.959963984540054


@pytest.fixture
def known(sessions: Sessions, live_model: RegisteredModel) -> KnownClinic:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    clinic = KnownClinic(midnight)  # the same messages on every day
    clinic.draw(2000)
    clinic.write(sessions.kw["bind"], live_model.id)
    return clinic


def test_figures_are_those_of_the_drawn_messages_when_computed_again(sessions: Sessions, known: KnownClinic) -> None:
    summary = report(sessions, Period(), answer_days=ANSWER_DAYS)

    messages = known.messages
    _check_outcomes(summary, messages)
    _check_photos(summary, messages)
    _check_times(summary, messages)
    _check_scores(summary, messages)
    _check_people(summary, messages)
    _check_requests(summary, messages, datetime.now(UTC))
    _check_needless(summary, messages)
    _check_backlog(summary, messages)
    _check_drift(summary, messages, known.now)
    inside, intervals = contained(summary)
    assert inside >= 0.85 * intervals


def test_report_on_a_part_counts_that_part_when_the_clinic_is_older(sessions: Sessions, known: KnownClinic) -> None:
    since = (known.now - timedelta(days=20)).replace(hour=0, minute=0, second=0, microsecond=0)
    until = since + timedelta(days=10)

    summary = report(sessions, Period(since, until), answer_days=ANSWER_DAYS)

    _check_outcomes(summary, [each for each in known.messages if since <= each.received_at < until])


def _check_outcomes(summary: dict[str, Any], messages: Sequence[Drawn]) -> None:
    assert _counts(summary["messages"]) == _counted(messages)
    retakes, decided = _rate(messages)
    assert summary["messages"]["retake_rate"] == pytest.approx(retakes / decided)
    assert summary["messages"]["interval"] == pytest.approx(_wilson(retakes, decided))
    days = {each.received_at.date() for each in messages}
    rows = [*summary["trend"]["days"], *summary["trend"]["weeks"]]
    for row in rows + [row for split in summary["outcomes"].values() for row in split]:
        retakes, decided = row["retake"], row["total"] - row["pending"]
        assert row["retake_rate"] == (pytest.approx(retakes / decided) if decided else None)
        assert row["interval"] == (pytest.approx(_wilson(retakes, decided)) if decided else None)
    for row in summary["trend"]["days"]:
        assert _counts(row) == _counted(each for each in messages if each.received_at.date().isoformat() == row["day"])
    assert {row["day"] for row in summary["trend"]["days"]} >= {day.isoformat() for day in days}
    for row in summary["trend"]["weeks"]:
        monday = datetime.fromisoformat(row["week"]).date()
        week = [each for each in messages if monday <= each.received_at.date() < monday + timedelta(days=7)]
        assert (monday.weekday(), _counts(row)) == (0, _counted(week))
    for name in ("source", "role", "locale", "fitzpatrick"):
        groups = {row[name]: _counts(row) for row in summary["outcomes"][name]}
        values = {getattr(each, name) for each in messages}
        assert groups == {value: _counted(m for m in messages if getattr(m, name) == value) for value in values}
    assert summary["hours"] == [sum(each.received_at.hour == hour for each in messages) for hour in range(24)]


def _check_photos(summary: dict[str, Any], messages: Sequence[Drawn]) -> None:
    reasons = Counter((each.source, reason) for each in messages for reason in each.failing)
    assert {(row["source"], row["reason"]): row["n"] for row in summary["reasons_by_source"]} == reasons
    assert summary["reasons"] == Counter(reason for each in messages for reason in each.failing)
    photos = [photo for each in messages for photo in each.photos]
    assert summary["errors"] == Counter(photo.error for photo in photos if photo.error)
    scored, unreadable = (sum(map(bool, states)) for states in ([p.score for p in photos], [p.error for p in photos]))
    assert summary["photos"] == {
        "total": len(photos),
        "pending": len(photos) - scored - unreadable,
        "in_progress": 0,
        "scored": scored,
        "not_assessable": unreadable,
    }


def _check_scores(summary: dict[str, Any], messages: Sequence[Drawn]) -> None:
    [found] = summary["scores"]
    scores = [photo.score for each in messages for photo in each.photos if photo.score is not None]
    assert (found["n"], found["acceptable"]) == (len(scores), sum(score >= found["threshold"] for score in scores))
    assert found["mean"] == pytest.approx(sum(scores) / len(scores))
    assert found["histogram"] == [
        sum(tenth / 10 <= score < (tenth + 1) / 10 for score in scores) for tenth in range(10)
    ]


def _check_times(summary: dict[str, Any], messages: Sequence[Drawn]) -> None:
    decided = [each for each in messages if each.outcome]
    requests = [(each, each.request) for each in messages if each.request]
    waits = {
        "to_decision": [each.decided_at - each.received_at for each in decided],
        "to_request": [request.flagged_at - each.received_at for each, request in requests],
        "to_sent": [request.sent_at - each.received_at for each, request in requests if request.sent_at],
    }
    for name, times in waits.items():
        _check_durations(summary["times"][name], times)


def _check_durations(found: dict[str, Any], times: Sequence[timedelta]) -> None:
    seconds = sorted(time.total_seconds() for time in times)
    assert (found["n"], found["worst"]) == (len(seconds), pytest.approx(seconds[-1], abs=1e-3))
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        place = share * (len(seconds) - 1)
        low, part = int(place), place - int(place)
        expected = seconds[low] + part * (seconds[min(low + 1, len(seconds) - 1)] - seconds[low])
        assert found[name] == pytest.approx(expected, abs=1e-3)


def _check_people(summary: dict[str, Any], messages: Sequence[Drawn]) -> None:
    decided = [each for each in messages if each.outcome]
    people = sum(each.person is not None for each in decided)
    assert (summary["people"]["decided"], summary["people"]["by_people"]) == (len(decided), people)
    assert summary["people"]["interval"] == pytest.approx(_wilson(people, len(decided)))
    for row in summary["people"]["by_reason"]:
        same = [each for each in decided if each.reason == row["reason"]]
        to_pass, to_retake = (sum(each.person == outcome for each in same) for outcome in ("pass", "retake"))
        assert (row["decisions"], row["to_pass"], row["to_retake"]) == (len(same), to_pass, to_retake)
        changed = sum(each.person not in {None, each.outcome} for each in same)
        assert (row["changed"], row["confirmed"]) == (changed, to_pass + to_retake - changed)
        assert row["interval"] == pytest.approx(_wilson(changed, len(same)))
    changed = sum(each.person not in {None, each.outcome} for each in decided)
    assert (summary["people"]["changed"], summary["people"]["confirmed"]) == (changed, people - changed)
    assert 0 < changed < people
    assert summary["overrides"] == people


def _check_requests(summary: dict[str, Any], messages: Sequence[Drawn], now: datetime) -> None:
    found, window = summary["retake_outcomes"], timedelta(days=ANSWER_DAYS)
    fates, complete, times, observed = Counter[str](), Counter[str](), list[timedelta](), list[tuple[float, bool]]()
    by: dict[str, dict[str, Counter[str]]] = {name: {} for name in found["by"]}
    assert list(by) == ["source", "reason", "locale", "catalogue_version"]
    for message in messages:
        request = message.request
        if request is None:
            continue
        asked_at = request.sent_at or request.flagged_at
        answers = [
            each
            for each in messages
            if each.thread == message.thread
            and each is not message
            and asked_at < each.received_at <= asked_at + window
        ]
        fate = _fate(message, answers, is_over=now >= asked_at + window)
        fates[fate] += 1
        values = (message.source, request.reason, message.locale, request.version)
        for groups, value in zip(by.values(), values, strict=True):
            groups.setdefault(value, Counter())[fate] += 1
        if fate == "withdrawn":
            continue
        usable = [each.received_at - asked_at for each in answers if each.final == Outcome.PASS]
        times += [each.received_at - asked_at for each in answers]
        end = usable[0] if usable else min(now - asked_at, window)
        observed.append((end / timedelta(days=1), bool(usable)))
        if now >= asked_at + window:
            complete.update(requests=1, answered=len(answers), usable=len(usable))
    assert {name: n for name, n in found["fates"].items() if n} == fates
    assert found["complete"]["requests"] == complete["requests"]
    for name in ("answered", "usable"):
        assert found["complete"][name]["n"] == complete[name]
        assert found["complete"][name]["interval"] == pytest.approx(_wilson(complete[name], complete["requests"]))
    _check_durations(found["time_to_answer"], times)
    for point in found["curve"]:
        assert point["share"] == pytest.approx(1 - _alive(observed, point["days"]), abs=1e-6)
        assert point["at_risk"] == sum(end > point["days"] for end, _ in observed)
    statuses = Counter(_status(each.request) for each in messages if each.request)
    assert {name: n for name, n in summary["retake_requests"].items() if n} == statuses
    assert (found["requests"], found["sent"]) == (fates.total(), statuses["sent"])
    for name, groups in by.items():
        assert {row["value"]: {fate: n for fate, n in row["fates"].items() if n} for row in found["by"][name]} == groups
        assert {row["value"]: row["requests"] for row in found["by"][name]} == {
            value: counts.total() for value, counts in groups.items()
        }


def _status(request: Request) -> str:
    return "withdrawn" if request.is_withdrawn else "sent" if request.sent_at else "flagged"


def _fate(message: Drawn, answers: Sequence[Drawn], *, is_over: bool) -> str:
    assert message.request is not None
    if message.request.is_withdrawn:
        return "withdrawn"
    if any(each.final == Outcome.PASS for each in answers):
        return "usable"
    if answers:
        if answers[-1].outcome is None:
            return "open"
        reasons = answers[-1].failing
        return "other_reason" if reasons and message.request.reason not in reasons else "still_bad"
    return "no_answer" if is_over else "open"


def _check_needless(summary: dict[str, Any], messages: Sequence[Drawn]) -> None:
    asked = [each for each in messages if each.request]
    for row, some in [
        (summary["needless"], asked),
        *(
            (row, [each for each in asked if each.fitzpatrick == row["value"]])
            for row in summary["needless"]["by"]["fitzpatrick"]
        ),
        *((row, [m for m in asked if m.source == row["value"]]) for row in summary["needless"]["by"]["source"]),
        *((row, [m for m in asked if m.failing == [row["value"]]]) for row in summary["needless"]["by"]["reason"]),
    ]:
        requests = [each.request for each in some if each.request]
        reviewed = [each for each in requests if each.is_reviewed]
        needless = sum(each.is_needless for each in reviewed)
        reported = sum(request.is_appealed or request.is_withdrawn for request in requests)
        known = sum(r.is_appealed or r.is_withdrawn or (r.is_reviewed and r.is_needless) for r in requests)
        assert (row["requests"], row["reported"], row["known"]) == (len(requests), reported, known)
        assert row["at_least"] == pytest.approx(known / len(requests))
        assert (row["reviewed"], row["needless"]) == (len(reviewed), needless)
        assert row["interval"] == pytest.approx(_wilson(needless, len(reviewed)))


def _check_backlog(summary: dict[str, Any], messages: Sequence[Drawn]) -> None:
    found = summary["backlog"]
    pending = [each.received_at for each in messages if each.outcome is None]
    unsent = [each.request for each in messages if each.request and _status(each.request) == "flagged"]
    assert (found["messages_undecided"], found["requests_unsent"]) == (len(pending), len(unsent))
    assert found["for_staff"] == sum(each.final in {"uncertain", "not_assessable"} for each in messages)
    waited = (datetime.now(UTC) - min(pending)).total_seconds() if pending else None
    assert found["oldest_pending_seconds"] == (pytest.approx(waited, abs=600) if waited is not None else None)
    assert summary["archived"] == {"messages": 0, "days_left_out": [], "lacks": []}


def _check_drift(summary: dict[str, Any], messages: Sequence[Drawn], now: datetime) -> None:
    """The p-values of scipy over one photo of the first message of each thread."""
    promoted = now - timedelta(days=DAYS)
    week_ends = promoted + timedelta(days=28 + 7 * ((datetime.now(UTC) - promoted).days // 7 - 4))
    old = _first_photos(messages, promoted, promoted + timedelta(days=28))
    new = _first_photos(messages, week_ends - timedelta(days=7), week_ends)
    p_values = {}
    for source in {each.source for each, _ in old}:
        then, later = ([pair for pair in photos if pair[0].source == source] for photos in (old, new))
        [found] = [row for row in summary["drift"]["sources"] if row["source"] == source]
        assert (found["n_reference"], found["n_current"]) == (len(then), len(later))
        p_values[source] = {row["feature"]: row["p_value"] for row in found["features"]}
        scores = ([photo.score for _, photo in photos if photo.score is not None] for photos in (then, later))
        assert p_values[source]["score"] == pytest.approx(stats.ks_2samp(*scores, method="asymp").pvalue, rel=0.2)
        retakes = [
            Counter(each.outcome == "retake" for each, _ in photos if each.outcome is not None)
            for photos in (then, later)
        ]
        table = [[counts[True], counts[False]] for counts in retakes]
        expected = stats.chi2_contingency(table, correction=False).pvalue
        assert p_values[source]["retakes"] == pytest.approx(expected, rel=1e-6)
    assert summary["drift"]["status"] == (
        "drift" if any(r["drifted"] for r in summary["drift"]["sources"]) else "stable"
    )


def _first_photos(messages: Sequence[Drawn], since: datetime, until: datetime) -> list[tuple[Drawn, Photo]]:
    """Of the first message of each thread in a period, the assessed photo whose id has the smallest last digits."""
    first: dict[UUID, Drawn] = {}
    for message in sorted(messages, key=lambda each: each.id):
        if since <= message.received_at < until:
            first.setdefault(message.thread, message)
    drawn = []
    for message in first.values():
        assessed = [photo for photo in message.photos if photo.score is not None or photo.error]
        if assessed:
            drawn.append((message, min(assessed, key=lambda photo: photo.id.hex[-12:])))
    return drawn


def _counts(row: dict[str, Any]) -> dict[str, int]:
    return {name: row[name] for name in ("total", *(outcome.value for outcome in Outcome), "pending")}


def _counted(messages: Iterable[Drawn]) -> dict[str, int]:
    outcomes = Counter(each.final or "pending" for each in messages)
    return {"total": outcomes.total()} | {name: outcomes[name] for name in (*(o.value for o in Outcome), "pending")}


def _rate(messages: Iterable[Drawn]) -> tuple[int, int]:
    decided = [each.final for each in messages if each.final]
    return decided.count("retake"), len(decided)


def _wilson(k: int, n: int) -> tuple[float, float]:
    """The roots of (p - k/n)^2 = z^2 p (1 - p) / n."""
    a, b, c = n + Z**2, -(2 * k + Z**2), k * k / n
    root = (b * b - 4 * a * c) ** 0.5
    return max(0.0, (-b - root) / (2 * a)), min(1.0, (-b + root) / (2 * a))


def _alive(observed: Sequence[tuple[float, bool]], until: float) -> float:
    """The product-limit estimate, event by event."""
    alive = 1.0
    for time, happened in sorted(observed):
        if happened and time <= until:
            alive *= 1 - 1 / sum(other >= time for other, _ in observed)
    return alive
