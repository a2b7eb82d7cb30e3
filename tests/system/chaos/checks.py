"""Invariants after any fault: nothing is lost and nothing is doubled."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import text

from tests.system.chaos.sender import Collector, Sent
from triage.errors import ErrorCode
from worker.services import Services


@dataclass(frozen=True)
class Checked:
    """
    Attributes:
        attachments: how many were sent.
        lost: attachments without a result, messages without a decision, verdicts that are not the photo's.
        doubled: second verdicts of one model, second current decisions, requests beyond a thread's limit,
            requests delivered after their ack.
        parked: readable photos that were given to staff because their workers died too often.
    """

    attachments: int
    lost: int
    doubled: int
    parked: int


LOST: Final = {
    "open attachments": "SELECT count(*) FROM attachment WHERE status IN ('pending', 'in_progress')",
    "scored without verdict": (
        "SELECT count(*) FROM attachment a WHERE status = 'scored' AND NOT EXISTS "
        "(SELECT 1 FROM verdict v WHERE v.attachment_id = a.id AND v.origin = 'inbox')"
    ),
    "messages without decision": "SELECT count(*) FROM message WHERE current_decision_id IS NULL",
    "open runs": "SELECT count(*) FROM run WHERE status NOT IN ('done', 'cancelled')",
}
DOUBLED: Final = {
    "verdicts": (
        "SELECT count(*) FROM (SELECT FROM verdict GROUP BY attachment_id, model_version_id HAVING count(*) > 1) v"
    ),
    "current decisions": (
        "SELECT count(*) FROM (SELECT FROM decision d WHERE NOT EXISTS "
        "(SELECT FROM decision n WHERE n.supersedes_id = d.id) GROUP BY message_id HAVING count(*) > 1) d"
    ),
    "decisions that are not the last": (
        "SELECT count(*) FROM message m JOIN decision n ON n.supersedes_id = m.current_decision_id"
    ),
    "requests within a cooldown": (  # no scenario lasts a day, so a thread may have one request
        "SELECT count(*) FROM (SELECT FROM retake_request WHERE status <> 'withdrawn' "
        "GROUP BY thread_id HAVING count(*) > 1) r"
    ),
}
_RESULTS: Final = """
    SELECT a.id, a.error_code, v.acceptable FROM attachment a
    LEFT JOIN verdict v ON v.attachment_id = a.id AND v.origin = 'inbox'
"""


def check(services: Services, sent: Sent, collector: Collector) -> Checked:
    """Counts violations of each invariant."""
    with services.sessions() as session:
        counts = {name: session.scalar(text(sql)) or 0 for name, sql in (LOST | DOUBLED).items()}
        results = {row.id: row for row in session.execute(text(_RESULTS))}
    vanished = len(sent.photos.keys() - results.keys())
    parked = wrong = 0
    for id_, photo in sent.photos.items():
        row = results.get(id_)
        if row is None or photo.is_good is None:
            wrong += row is not None and row.error_code is None
        elif row.error_code == ErrorCode.ATTEMPTS_EXHAUSTED:
            parked += 1
        else:
            wrong += row.acceptable is not photo.is_good
    return Checked(
        attachments=len(sent.photos),
        lost=vanished + wrong + sum(counts[name] for name in LOST),
        doubled=sum(counts[name] for name in DOUBLED) + collector.delivered_after_ack.total(),
        parked=parked,
    )
