"""Starting a rescoring run: the run's row, its total and its audit event."""

from dataclasses import asdict
from datetime import date

from pydantic import AwareDatetime
from sqlalchemy.orm import Session

from triage.domain.ids import ModelVersionId
from triage.domain.runs import RescoringParameters, Run
from triage.domain.states import RunKind
from triage.errors import NoLiveModelError
from triage.scoring.rescoring_progress import Progress
from triage.storage import audit, model_versions, runs, verdicts
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


@use_case
def start_rescoring(
    sessions: Sessions,
    *,
    model: str | None = None,
    since: AwareDatetime | None = None,
    limit: int | None = None,
    actor: str,
) -> Run:
    """Queues a rescoring run.

    Args:
        model: name, or start of the SHA-256, of the model that scores; the live model by default.
        since: rescore only messages received from this time on.
        limit: the highest number of attachments to rescore.
        actor: for the audit trail.

    Raises:
        UsageError: no model has this name.
        NoLiveModelError: no model was named and none is live.
    """
    with sessions.begin() as session:
        found = model_versions.find(session, model) if model else model_versions.live(session)
        if found is None:
            raise NoLiveModelError("no model is live: promote a model, or name the one that rescores")
        run, _ = create_run(
            session, RescoringParameters(model_version_id=found.id, since=since, limit=limit), actor=actor
        )
    return run


@use_case
def start_nightly_rescoring(sessions: Sessions, *, actor: str) -> tuple[Run, bool]:
    """Queues tonight's rescoring run of the live model; there is one for each night and model.

    Returns:
        The run, and whether it is new.

    Raises:
        NoLiveModelError: no model is live.
    """
    with sessions.begin() as session:
        live = model_versions.live(session)
        if live is None:
            raise NoLiveModelError("no model is live: promote a model")
        parameters = RescoringParameters(model_version_id=live.id)
        return create_run(session, parameters, actor=actor, night=runs.tonight(session))


def create_run(
    session: Session, parameters: RescoringParameters, *, actor: str, night: date | None = None
) -> tuple[Run, bool]:
    """Adds a rescoring run, or finds the run of the same night and model.

    The attachments are counted here rather than in the worker, since counting millions takes seconds.

    Returns:
        The run, and whether it is new.
    """
    model: ModelVersionId = parameters.model_version_id
    dedupe_key = f"rescoring:{night.isoformat()}:{model}" if night else None
    run, is_new = runs.start(session, RunKind.RESCORING, parameters.model_dump(mode="json"), dedupe_key=dedupe_key)
    if is_new:
        total = verdicts.count_without(session, model, since=parameters.since)
        progress = Progress(total=min(total, parameters.limit or total), found_any=False)
        run = runs.note(session, run.id, asdict(progress))
        audit.record(session, actor=actor, action="run.started", subject_kind="run", subject_id=run.id)
    return run, is_new
