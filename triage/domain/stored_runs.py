"""What runs stored as JSON, which another release may have written or damage may have changed.

What is malformed is left out, so that one such run fails no list, page or metric. A worker checks the parameters again
before it begins, and refuses what is missing.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from triage.domain.states import RunKind

_MOST: Final = 1e12
"""Of photos, epochs or seconds. Python cannot show 1e15 seconds as a duration, nor divide by a number beyond 1e308."""

_Number: TypeAlias = Annotated[float, Field(ge=-_MOST, le=_MOST)]


class _Stored(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class _Epoch(_Stored):
    """The numbers of `triage.training.checkpoint.Epoch`; earlier releases stored fewer."""

    number: _Number
    train_loss: _Number | None
    validation_loss: _Number | None
    validation_auc: _Number | None
    learning_rate: _Number | None = None
    photos_per_second: _Number | None = None
    seconds: _Number | None = None


class _Training(_Stored):
    """What a worker stores of a training: see `triage.training.lease`."""

    epochs: list[_Epoch]
    epoch: _Number = 0
    done: _Number = 0
    stage: str = ""
    photos: _Number = 0
    of_photos: _Number = 0
    photos_per_second: _Number = 0
    seconds_left: _Number | None = None
    model: str = ""
    weights_sha256: str = ""


class _Rescoring(_Stored):
    """What is shown of `triage.scoring.rescoring_progress`."""

    total: _Number
    scored: _Number
    failed: _Number
    good_to_bad: _Number
    bad_to_good: _Number
    seconds_left: _Number | None = None


class _Config(_Stored):
    epochs: Annotated[int, Field(ge=1, le=_MOST)]


_PROGRESS: Final[Mapping[RunKind, type[_Stored]]] = {RunKind.TRAINING: _Training, RunKind.RESCORING: _Rescoring}


def readable_parameters(stored: object) -> dict[str, Any]:
    """The parameters of a run, without a `config` that has no number of epochs."""
    parameters = dict(stored) if isinstance(stored, Mapping) else {}
    if not _is(_Config, parameters.get("config")):
        parameters.pop("config", None)
    return parameters


def readable_progress(kind: RunKind, stored: object) -> dict[str, Any]:
    """The progress of a run: empty before it begins, and where it is malformed."""
    return dict(stored) if isinstance(stored, Mapping) and _is(_PROGRESS[kind], stored) else {}


def is_epoch(stored: object) -> bool:
    """Whether this is a finished epoch of a training."""
    return _is(_Epoch, stored)


def readable_number(stored: object) -> float | None:
    """A number that is neither negative nor too large, or None."""
    is_number = isinstance(stored, int | float) and not isinstance(stored, bool) and 0 <= stored <= _MOST
    return float(stored) if is_number else None  # type: ignore[arg-type]  # it is a number


def _is(model: type[_Stored], stored: object) -> bool:
    try:
        model.model_validate(stored)
    except ValidationError:
        return False
    return True
