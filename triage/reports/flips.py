"""Flips: photos whose verdict differs between a rescoring run and the inbox, by day and source."""

from typing import Any

from triage.domain.ids import RunId
from triage.domain.states import RunKind
from triage.errors import UsageError
from triage.storage import report_scores, runs
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


@use_case
def flips_of(sessions: Sessions, run_id: RunId) -> list[dict[str, Any]]:
    """Compares the verdicts of a rescoring run with those of the inbox, by day and source, oldest first.

    Returns:
        `{day, source, photos, good_to_bad, bad_to_good}` for each day on which messages were received (UTC).

    Raises:
        UsageError: no run has this id, or it is a training run.
    """
    with sessions() as session:
        run = runs.find(session, run_id)
        if run.kind is not RunKind.RESCORING:
            raise UsageError("a training run has no flips: name a rescoring run")
        rows = report_scores.count_flips(session, run.id)
    return [row | {"day": row["day"].isoformat()} for row in rows]
