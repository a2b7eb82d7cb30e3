"""A clinic whose truth is known: messages drawn from stated probabilities, and what a report on them must say.

    python -m benchmarks.known_clinic --messages 20000 --html report.html

The benchmark fails if the report's intervals contain the truth too rarely. A test does the same with 2,000 messages,
and computes each count again from the drawn messages.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import Engine, text

from benchmarks.clinic import clinic
from triage.domain.reporting import Period
from triage.domain.states import Fitzpatrick, Outcome
from triage.reports.html import render_html
from triage.reports.summary import report
from triage.statistics.confidence import Interval

DAYS: Final = 56
ANSWER_DAYS: Final = 7
SOURCES: Final = {"mychart": (0.5, 0.12), "referral": (0.3, 0.2), "walk-in": (0.2, 0.35)}
"""Share of messages, and the probability of a retake among messages that a model decides."""

REASONS: Final = {"defocus": 0.5, "too_dark": 0.3, "badly_framed": 0.2}
ANSWERS: Final = {"defocus": 0.8, "too_dark": 0.7, "badly_framed": 0.5}
"""The probability that a request with this reason is answered, at some time."""

USABLE: Final = 0.75
"""The probability that an answer passes."""

MEAN_DAYS: Final = 1.5
"""The mean of the exponential time from a request to its answer."""

NEEDLESS: Final = {skin: 0.05 + 0.03 * number for number, skin in enumerate(Fitzpatrick)}
"""The probability that a request is needless, by skin type. It is .1 where that is not given."""

NEEDLESS_UNKNOWN: Final = 0.1
REVIEWED: Final = 0.3
OVERRIDDEN: Final = 0.04
"""The share of messages that a model decides and a person decides otherwise."""

CONFIRMED: Final = 0.02
"""The share of messages that a model decides and a person decides in the same way."""

UNCERTAIN: Final = 0.06
UNREADABLE: Final = 0.03
LOCALES: Final = ("en", "es", "vi")
ROLES: Final = ("patient", "proxy", "pcp")


@dataclass(frozen=True)
class Request:
    """A retake request as drawn."""

    id: UUID
    flagged_at: datetime
    sent_at: datetime | None
    is_withdrawn: bool
    reason: str
    version: str
    is_needless: bool
    is_reviewed: bool
    is_appealed: bool


@dataclass(frozen=True)
class Photo:
    """A photo as drawn.

    Attributes:
        score: None while it waits, or if it cannot be read.
        reason: the likeliest one, if it fails.
        error: its code, if it cannot be read.
    """

    id: UUID
    score: float | None = None
    reason: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Drawn:
    """A message as drawn.

    Attributes:
        outcome: the model's, None while the message is pending. `reason` is that of the outcome.
        person: the outcome that a person decided afterwards.
    """

    id: UUID
    thread: UUID
    source: str
    role: str
    locale: str
    fitzpatrick: str | None
    received_at: datetime
    decided_at: datetime
    photos: Sequence[Photo]
    outcome: str | None
    reason: str
    person: str | None = None
    request: Request | None = None

    @property
    def final(self) -> str | None:
        """The outcome that counts."""
        return self.person or self.outcome

    @property
    def failing(self) -> list[str]:
        """The likeliest reasons of its photos that fail."""
        return [photo.reason for photo in self.photos if photo.reason]


@dataclass
class KnownClinic:
    """Draws messages, and answers to their requests, up to a time."""

    now: datetime
    random: Random = field(default_factory=lambda: Random(23))
    messages: list[Drawn] = field(default_factory=list)

    def draw(self, n: int) -> None:
        """Draws `n` messages that begin a thread, and the answers to their requests."""
        for _ in range(n):
            age = timedelta(days=self.random.uniform(0, DAYS))
            hour = self.random.triangular(6, 23, 19)
            midnight = (self.now - age).replace(hour=0, minute=0, second=0, microsecond=0)
            received_at = midnight + timedelta(hours=hour)
            if received_at < self.now:
                self._begin(received_at)

    def _begin(self, received_at: datetime) -> None:
        source = self.random.choices([*SOURCES], [share for share, _ in SOURCES.values()])[0]
        skin = self.random.choice([*Fitzpatrick, None])
        first = self._message(received_at, source, skin, thread=None, retake=SOURCES[source][1])
        self.messages.append(first)
        request = first.request
        if request is None or request.is_withdrawn or self.random.random() >= ANSWERS[request.reason]:
            return
        asked_at = request.sent_at or request.flagged_at
        at = asked_at + timedelta(days=self.random.expovariate(1 / MEAN_DAYS))
        if at >= self.now:
            return
        self.messages.append(self._message(at, source, skin, thread=first.thread, retake=1 - USABLE, is_answer=True))

    def _message(  # what an answer shares with its message
        self,
        received_at: datetime,
        source: str,
        skin: str | None,
        *,
        thread: UUID | None,
        retake: float,
        is_answer: bool = False,
    ) -> Drawn:
        draw = self.random
        outcome, reason = self._outcome(retake, is_answer=is_answer)
        wait = timedelta(seconds=draw.lognormvariate(1.5, 0.8))
        if received_at + wait > self.now:
            outcome, reason = None, ""
        person = None
        if outcome in {Outcome.PASS, Outcome.RETAKE} and not is_answer:
            chance = draw.random()
            if chance < OVERRIDDEN:
                person = Outcome.RETAKE.value if outcome == Outcome.PASS else Outcome.PASS.value
            elif chance < OVERRIDDEN + CONFIRMED:
                person = outcome
        message = Drawn(
            id=self._id(received_at),
            thread=thread or self._id(received_at),
            source=source,
            role=draw.choice(ROLES),
            locale=draw.choice(LOCALES),
            fitzpatrick=skin,
            received_at=received_at,
            decided_at=received_at + wait,
            photos=self._photos(received_at, outcome),
            outcome=outcome,
            reason=reason,
            person=person,
        )
        if outcome == Outcome.RETAKE and not is_answer:
            message = replace(message, request=self._request(message))
        return message

    def _photos(self, received_at: datetime, outcome: str | None) -> list[Photo]:
        draw = self.random
        if outcome is None:
            return [Photo(self._id(received_at))]
        if outcome == Outcome.NOT_ASSESSABLE:
            return [Photo(self._id(received_at), error="corrupt")]
        if outcome == Outcome.PASS:
            return [Photo(self._id(received_at), draw.uniform(0.55, 0.95)) for _ in range(draw.randint(1, 2))]
        [reason] = draw.choices([*REASONS], [*REASONS.values()])
        return [Photo(self._id(received_at), draw.uniform(0.05, 0.45), reason)]

    def _outcome(self, retake: float, *, is_answer: bool) -> tuple[str | None, str]:
        chance = self.random.random()
        if not is_answer:
            if chance < UNCERTAIN:
                return Outcome.UNCERTAIN.value, "near_threshold"
            if chance < UNCERTAIN + UNREADABLE:
                return Outcome.NOT_ASSESSABLE.value, "no_readable_photo"
        if self.random.random() < retake:
            return Outcome.RETAKE.value, "no_photo_passed"
        return Outcome.PASS.value, "photo_passed"

    def _request(self, message: Drawn) -> Request:
        draw = self.random
        flagged_at = message.decided_at
        sent_at = flagged_at + timedelta(minutes=draw.uniform(1, 30))
        is_withdrawn = message.person == Outcome.PASS
        skin = message.fitzpatrick
        needless = draw.random() < (NEEDLESS[Fitzpatrick(skin)] if skin else NEEDLESS_UNKNOWN)
        return Request(
            id=self._id(flagged_at),
            flagged_at=flagged_at,
            sent_at=None if is_withdrawn or sent_at > self.now else sent_at,
            is_withdrawn=is_withdrawn,
            reason=message.failing[0],
            version=draw.choice(("a1", "b2")),
            is_needless=needless,
            is_reviewed=draw.random() < REVIEWED,
            is_appealed=needless and draw.random() < 0.2,  # some object
        )

    def _id(self, at: datetime) -> UUID:
        milliseconds = int(at.timestamp() * 1000)
        return UUID(
            int=milliseconds << 80 | 7 << 76 | self.random.getrandbits(12) << 64 | 2 << 62 | self.random.getrandbits(62)
        )

    def write(self, engine: Engine, model: UUID) -> None:
        """Inserts the rows, without triggers and foreign keys. The model was promoted when the first message came."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for message in self.messages:
            for table, row in self._rows(message, model):
                rows.setdefault(table, []).append(row)
        threads = {row["id"]: row for row in rows["thread"]}
        rows["thread"] = list(threads.values())
        with engine.connect() as connection:
            connection.execute(text("SET session_replication_role = replica"))
            cursor: Any = connection.connection.cursor()
            for table, some in rows.items():
                columns = list(dict.fromkeys(name for row in some for name in row))
                with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
                    for row in some:
                        copy.write_row([row.get(name) for name in columns])
            promoted_at = {"id": model, "at": self.now - timedelta(days=DAYS)}
            connection.execute(text("UPDATE model_version SET promoted_at = :at WHERE id = :id"), promoted_at)
            connection.commit()
            connection.invalidate()  # the connection must not be reused with these settings

    def _rows(self, message: Drawn, model: UUID) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "thread", {"id": message.thread, "source": message.source, "external_id": str(message.thread)}
        first, last = self._id(message.decided_at), self._id(message.decided_at + timedelta(minutes=30))
        current = None if message.outcome is None else last if message.person else first
        yield (
            "message",
            {
                "id": message.id,
                "source": message.source,
                "external_id": str(message.id),
                "thread_id": message.thread,
                "role": message.role,
                "locale": message.locale,
                "opted_out": False,
                "fitzpatrick": message.fitzpatrick,
                "received_at": message.received_at,
                "current_decision_id": current,
            },
        )
        yield from self._photo_rows(message, model)
        if message.outcome is None:
            return
        decision = {"message_id": message.id, "model_version_id": model, "created_at": message.decided_at}
        decision |= {"outcome": message.outcome, "reason": message.reason, "decided_by": "model"}
        yield "decision", decision | {"id": first}
        if message.person:
            yield (
                "decision",
                {
                    "id": last,
                    "message_id": message.id,
                    "supersedes_id": first,
                    "outcome": message.person,
                    "reason": "override",
                    "decided_by": "person",
                    "actor": "dr-1",
                    "created_at": message.decided_at + timedelta(minutes=30),
                },
            )
        if message.request:
            yield from self._request_rows(message, message.request, first)

    def _photo_rows(self, message: Drawn, model: UUID) -> Iterator[tuple[str, dict[str, Any]]]:
        for number, photo in enumerate(message.photos):
            status = "scored" if photo.score is not None else "not_assessable" if photo.error else "pending"
            yield (
                "attachment",
                {
                    "id": photo.id,
                    "message_id": message.id,
                    "external_id": str(number),
                    "sha256": photo.id.hex * 2,
                    "status": status,
                    "error_code": photo.error,
                    "created_at": message.received_at,
                    "finished_at": None if status == "pending" else message.decided_at,
                },
            )
            if photo.score is None:
                continue
            findings = [{"kind": photo.reason, "level": "severe", "strength": 0.8}] if photo.reason else []
            yield (
                "verdict",
                {
                    "id": self._id(message.decided_at),
                    "attachment_id": photo.id,
                    "model_version_id": model,
                    "origin": "inbox",
                    "score": photo.score,
                    "threshold": 0.5,
                    "acceptable": photo.reason is None,
                    "grade": 1 if photo.reason else 4,
                    "cumulative": [photo.score] * 4,
                    "patch_scores": [photo.score] * 5,
                    "findings": Jsonb(findings),
                    "width": 3000,
                    "height": 4000,
                    "created_at": message.decided_at,
                },
            )

    def _request_rows(self, message: Drawn, request: Request, decision: UUID) -> Iterator[tuple[str, dict[str, Any]]]:
        photo = {"id": str(message.id), "score": 0.2, "reasons": [{"kind": request.reason, "severity": "severe"}]}
        reply = {"locale": message.locale, "catalogue_version": request.version, "subject": "s", "text": "t"}
        yield (
            "retake_request",
            {
                "id": request.id,
                "message_id": message.id,
                "thread_id": message.thread,
                "decision_id": decision,
                "photos": Jsonb([photo]),
                "reply": Jsonb(reply),
                "status": "withdrawn" if request.is_withdrawn else "sent" if request.sent_at else "flagged",
                "claimed_by": "sender" if request.sent_at else None,
                "created_at": request.flagged_at,
                "sent_at": request.sent_at,
                "withdrawn_at": message.decided_at + timedelta(minutes=30) if request.is_withdrawn else None,
            },
        )
        for kind, needless, wanted in (
            ("review", request.is_needless, request.is_reviewed),
            ("appeal", True, request.is_appealed),
        ):
            if wanted:
                review = {"id": self._id(request.flagged_at), "request_id": request.id, "kind": kind}
                yield "request_review", review | {"needless": needless, "actor": "nurse-1", "created_at": self.now}


def truths(summary: dict[str, Any]) -> Iterator[tuple[str, float, Interval | None]]:
    """Each probability that the messages were drawn from, and the interval that a report gives for it.

    Answers to requests count as messages, so the retake rate of a source is not one of them.
    """
    people = {row["reason"]: row for row in summary["people"]["by_reason"]}
    for reason in ("photo_passed", "no_photo_passed"):
        yield f"override rate of {reason}", OVERRIDDEN, people[reason]["interval"]
    in_time = 1 - math.exp(-ANSWER_DAYS / MEAN_DAYS)
    outcomes = summary["retake_outcomes"]
    for row in outcomes["by"]["reason"]:
        answered = ANSWERS[row["value"]] * in_time
        yield f"answered, {row['value']}", answered, row["complete"]["answered"]["interval"]
        yield f"usable, {row['value']}", answered * USABLE, row["complete"]["usable"]["interval"]
    usable = USABLE * sum(share * ANSWERS[reason] for reason, share in REASONS.items())
    for point in outcomes["curve"][2::2]:
        yield (
            f"usable after {point['days']:g} d",
            usable * (1 - math.exp(-point["days"] / MEAN_DAYS)),
            point["interval"],
        )
    for row in summary["needless"]["by"]["fitzpatrick"]:
        truth = NEEDLESS[Fitzpatrick(row["value"])] if row["value"] else NEEDLESS_UNKNOWN
        yield f"needless, {row['value']}", truth, row["interval"]


def contained(summary: dict[str, Any]) -> tuple[int, int]:
    """How many intervals contain the truth, and the number of intervals."""
    found = [interval is not None and interval[0] <= truth <= interval[1] for _, truth, interval in truths(summary)]
    return sum(found), len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--html", type=Path, help="file for the report")
    arguments = parser.parse_args()
    known = KnownClinic(datetime.now(UTC))
    known.draw(arguments.messages)
    with clinic() as site:
        known.write(site.sessions.kw["bind"], site.model)
        period = Period((known.now - timedelta(days=28)).replace(hour=0, minute=0, second=0, microsecond=0))
        earlier = Period(period.since - timedelta(days=28) if period.since else None, period.since)
        whole = report(site.sessions, Period(), answer_days=ANSWER_DAYS)
        shown = report(site.sessions, period, answer_days=ANSWER_DAYS, compared_to=earlier)
    for name, truth, interval in truths(whole):
        low, high = interval or (math.nan, math.nan)
        print(f"{name:32} {truth:.3f}  {low:.3f} to {high:.3f}  {'' if low <= truth <= high else 'outside'}")
    inside, n = contained(whole)
    print(f"{inside} of {n} intervals contain the truth")
    if arguments.html:
        arguments.html.write_text(render_html(shown), encoding="utf-8")
    if inside < 0.85 * n:  # far below .95
        raise SystemExit("too few intervals contain the truth")


if __name__ == "__main__":
    main()
