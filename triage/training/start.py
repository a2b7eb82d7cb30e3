"""Starting a training run: validation, the run's row and its audit event. Needs no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from triage.dataset.manifest import read_manifest
from triage.domain.runs import Run, TrainingParameters
from triage.domain.states import RunKind
from triage.errors import UsageError, validation_problems
from triage.storage import audit, runs
from triage.storage.database import Sessions
from triage.storage.use_case import use_case
from triage.training.config import INITIALISATIONS, TrainingConfig, initial_path


@use_case
def start_training(
    sessions: Sessions,
    *,
    manifest: Path,
    name: str,
    init: str,
    settings: Mapping[str, Any],
    actor: str,
    dedupe_key: str | None = None,
) -> tuple[Run, bool]:
    """Queues a training run. Everything that can be checked is checked before: the manifest, the weights, the settings.

    Args:
        manifest: the labelled photos; its number of reviewers becomes the model's number of outputs.
        name: of the new model.
        init: the weights to start from, as in `triage.training.initial`.
        settings: fields of `TrainingConfig`, without `n_reviewers`.
        actor: for the audit trail.
        dedupe_key: a second call with the same key returns the first call's run.

    Returns:
        The run, and whether it is new.

    Raises:
        UsageError: the manifest, the name or a setting is invalid, or the initial weights do not exist.
    """
    n_reviewers = read_manifest(manifest).n_reviewers
    try:
        config = TrainingConfig(n_reviewers=n_reviewers, **settings)
        parameters = TrainingParameters(
            manifest=str(manifest.resolve()),
            name=name,
            init=init if init in INITIALISATIONS else str(initial_path(init)),
            config=config.model_dump(),
        )
    except ValidationError as error:
        raise UsageError(f"invalid training parameters: {validation_problems(error)}") from error
    with sessions.begin() as session:
        run, created = runs.start(session, RunKind.TRAINING, parameters.model_dump(), dedupe_key=dedupe_key)
        if created:
            audit.record(session, actor=actor, action="run.started", subject_kind="run", subject_id=run.id)
    return run, created
