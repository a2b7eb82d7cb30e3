"""Starting a contrastive pretraining: validation, the run's row and its audit event."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from triage.domain.runs import PretrainingParameters, Run
from triage.errors import UsageError, validation_problems
from triage.registry import Registry
from triage.storage import unlabelled_photos
from triage.storage.database import Sessions
from triage.storage.use_case import use_case
from triage.training.config import PretrainingConfig, TrainingConfig
from triage.training.start import checked_init, queue_run
from triage.training.unlabelled import has_photos, photos_in_folder

_FEWEST: Final = 2
"""Photos, as each is compared with others."""


@use_case
def start_pretraining(
    sessions: Sessions,
    registry: Registry,
    *,
    photos: Path | None = None,
    photos_of_messages: int | None = None,
    name: str,
    init: str,
    settings: Mapping[str, Any],
    actor: str,
    new_version: bool = False,
    dedupe_key: str | None = None,
) -> tuple[Run, bool]:
    """Queues a pretraining. Everything that can be checked is checked before: the photos, the weights, the settings.

    Args:
        sessions: of the same database as the registry.
        registry: with the model that `init` may name.
        photos: a folder with photos; those below it count, too.
        photos_of_messages: instead of a folder, the number of photos of messages, the newest whose bytes are there.
        name: of the new model.
        init: the weights to start from, as in `triage.training.initial`.
        settings: fields of `PretrainingConfig`.
        actor: for the audit trail.
        new_version: the model becomes the next version of its name, if that is taken.
        dedupe_key: a second call with the same key returns the first call's run.

    Returns:
        The run, and whether it is new.

    Raises:
        UsageError: the folder has, or the messages have, fewer than two photos; the name or a setting is invalid; or
            the initial weights do not exist.
        ModelError: the initial weights are damaged or belong to another network.
        ModelNameTakenError: a model has the name, or an open run will produce one, and no new version was asked for.
    """
    if photos is not None and not has_photos(photos_in_folder(photos), _FEWEST):
        raise UsageError("photos: the folder and those below it have fewer than two photos: name a folder with photos")
    try:
        config = PretrainingConfig(**settings)
        parameters = PretrainingParameters(
            photos=None if photos is None else str(photos.resolve()),
            photos_of_messages=photos_of_messages,
            name=name,
            init=init,
            config=config.model_dump(),
        )
    except ValidationError as error:
        raise UsageError(f"invalid pretraining parameters: {validation_problems(error)}") from error
    with sessions() as session:
        if photos is None and len(unlabelled_photos.newest(session, _FEWEST)) < _FEWEST:
            raise UsageError("the messages have fewer than two photos whose bytes are there: give a folder of photos")
        checked = checked_init(session, init, TrainingConfig(seed=config.seed), registry)
    parameters = parameters.model_copy(update={"init": checked})
    with sessions.begin() as session:
        return queue_run(session, parameters, actor=actor, new_version=new_version, dedupe_key=dedupe_key)
