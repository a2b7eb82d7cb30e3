"""Starting a training run: validation, the run's row and its audit event. Only own initial weights need torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from triage.dataset.manifest import read_manifest
from triage.dataset.splits import write_splits
from triage.domain.runs import PretrainingParameters, Run, TrainingParameters
from triage.domain.states import RunKind
from triage.errors import ModelNameTakenError, UsageError, validation_problems
from triage.files.hashing import sha256_of
from triage.model.named import folder_of
from triage.registry import Registry
from triage.storage import audit, model_versions, runs
from triage.storage.database import Sessions
from triage.storage.use_case import use_case
from triage.training.config import INITIALISATIONS, TrainingConfig, initial_file


@use_case
def start_training(
    sessions: Sessions,
    registry: Registry,
    *,
    manifest: Path,
    name: str,
    init: str,
    settings: Mapping[str, Any],
    actor: str,
    new_version: bool = False,
    split_output: Path | None = None,
    dedupe_key: str | None = None,
) -> tuple[Run, bool]:
    """Queues a training run. Everything that can be checked is checked before: the manifest, the weights, the settings.

    While the run is open, its name is taken: no other run and no added model gets it, unless as a new version.

    Args:
        sessions: of the same database as the registry.
        registry: with the model that `init` may name.
        manifest: the labelled photos; its number of reviewers becomes the model's number of outputs. If it has no
            splits, they are written to a file, which the run reads and evaluations can read later.
        name: of the new model.
        init: the weights to start from, as in `triage.training.initial`.
        settings: fields of `TrainingConfig`, without `n_reviewers`.
        actor: for the audit trail.
        new_version: the model becomes the next version of its name, if that is taken.
        split_output: the file of the splits, as in `triage.dataset.splits.write_splits`.
        dedupe_key: a second call with the same key returns the first call's run.

    Returns:
        The run, and whether it is new.

    Raises:
        UsageError: the manifest, the name or a setting is invalid, or the initial weights do not exist.
        ModelError: the initial weights are damaged or belong to another network.
        ModelNameTakenError: a model has the name, or an open run will produce one, and no new version was asked for.
    """
    found = read_manifest(manifest)
    try:
        config = TrainingConfig(n_reviewers=found.n_reviewers, **settings)
        parameters = TrainingParameters(
            manifest=str(manifest.resolve()),
            name=name,
            init=init,
            config=config.model_dump(),
        )
    except ValidationError as error:
        raise UsageError(f"invalid training parameters: {validation_problems(error)}") from error
    with sessions() as session:
        exact_init = checked_init(session, init, config, registry)
    with_splits = write_splits(manifest, found, split_output, seed=config.seed).resolve()
    parameters = parameters.model_copy(
        update={
            "init": exact_init,
            "manifest": str(with_splits),
            "manifest_sha256": sha256_of(with_splits.read_bytes()),
        }
    )
    with sessions.begin() as session:
        return queue_run(session, parameters, actor=actor, new_version=new_version, dedupe_key=dedupe_key)


def queue_run(
    session: Session,
    parameters: TrainingParameters | PretrainingParameters,
    *,
    actor: str,
    new_version: bool,
    dedupe_key: str | None,
) -> tuple[Run, bool]:
    """Stores a run with checked parameters, as `start_training`."""
    name = parameters.name
    model_versions.lock_name(session, name)
    run, created = runs.start(session, RunKind.TRAINING, parameters.model_dump(), dedupe_key=dedupe_key)
    if created:
        if not new_version:
            _check_name_is_free(session, run, name)
        audit.record(session, actor=actor, action="run.started", subject_kind="run", subject_id=run.id)
    return run, created


def checked_init(session: Session, init: str, config: TrainingConfig, registry: Registry) -> str:
    """The initial weights as a worker will find them elsewhere and later, after a trial with the worker's own code."""
    if init in INITIALISATIONS:
        return init
    from triage.training.initial import initial_network  # deferred: imports torch

    initial_network(init, config, registry.load)
    path = initial_file(init) or folder_of(init)
    if path is not None:
        return str(path.resolve())
    return model_versions.find(session, init).reference


def _check_name_is_free(session: Session, run: Run, name: str) -> None:
    model_versions.check_name_is_free(session, name)
    if runs.is_training_named(session, name, except_for=run.id):
        raise ModelNameTakenError(
            f"an open training run will produce model {name!r}: choose another name, or ask for a new version"
        )
