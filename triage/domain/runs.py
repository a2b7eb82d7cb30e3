"""Training and rescoring runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_serializer, model_validator

from triage.domain.card import ModelName
from triage.domain.ids import ModelVersionId, RunId
from triage.domain.states import RunKind, RunStatus

MOST_UNLABELLED: Final = 100_000
"""Photos of messages in a pretraining: decoded, they take 60 GB of disk."""


@dataclass(frozen=True, slots=True)
class Run:
    """A training or rescoring run: a row with a lease and a heartbeat, so that any worker can resume it.

    Attributes:
        parameters, progress: as stored, without what is malformed (`triage.domain.stored_runs`).
    """

    id: RunId
    kind: RunKind
    status: RunStatus
    parameters: Mapping[str, object]
    progress: Mapping[str, object]
    attempts: int
    error: str | None
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None

    @property
    def is_open(self) -> bool:
        """Whether the run waits or runs."""
        return self.status in {RunStatus.PENDING, RunStatus.RUNNING}

    @property
    def epochs(self) -> Sequence[Mapping[str, Any]]:
        """The finished epochs of a training, oldest first, with the fields of `triage.training.checkpoint.Epoch`."""
        epochs: Sequence[Mapping[str, Any]] = dict[str, Any](self.progress).get("epochs", ())
        return epochs

    @property
    def share_done(self) -> float:
        """How much of the work is done, 0 to 1."""
        progress: dict[str, Any] = dict(self.progress)
        if self.kind is RunKind.RESCORING:
            return min(1.0, float(progress.get("scored", 0) / max(1, progress.get("total", 0))))
        if self.status is RunStatus.DONE:
            return 1.0
        config = dict[str, Any](self.parameters).get("config")
        if config is None:
            return 0.0  # malformed: see `triage.domain.stored_runs`
        return min(1.0, float((max(0, progress.get("epoch", 0) - 1) + progress.get("done", 0)) / config["epochs"]))


@dataclass(frozen=True, slots=True)
class TrainingQueue:
    """The open training runs, oldest first: those that a worker holds, and those that wait for one."""

    trained: tuple[RunId, ...]
    waiting: tuple[RunId, ...]


class WaitReason(StrEnum):
    """Why a training run waits."""

    BUSY = "busy"  # another run is trained
    EARLIER_RUN = "earlier_run"  # another run waits and is older
    NO_WORKER = "no_worker"  # no training worker runs, or it is paused
    STALLED_WORKER = "stalled_worker"  # the training worker makes no progress
    STARTING = "starting"  # a training worker runs and is to claim it
    UNKNOWN = "unknown"  # Redis does not say whether a worker runs


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a training run waits, and for which other run, if for one."""

    reason: WaitReason
    run_id: RunId | None = None


class TrainingParameters(BaseModel):
    """The parameters of a training run, as stored.

    Attributes:
        manifest: absolute path of the labelled photos, with splits.
        manifest_sha256: of this file when the run was queued.
        name: of the new model.
        init: the weights to start from: a name of `triage.training.config.INITIALISATIONS` or an absolute path.
        config: the fields of `triage.training.config.TrainingConfig`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: str
    manifest_sha256: str = ""
    name: ModelName
    init: str
    config: Mapping[str, Any]


class PretrainingParameters(BaseModel):
    """The parameters of a training run that pretrains on photos without labels, as stored.

    Attributes:
        pretraining: the objective.
        photos: absolute path of a folder of photos, or
        photos_of_messages: the number of photos of messages, the newest first.
        name: of the new model.
        init: as of `TrainingParameters`.
        config: the fields of `triage.training.config.PretrainingConfig`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pretraining: Literal["contrastive"] = "contrastive"
    photos: str | None = None
    photos_of_messages: int | None = Field(default=None, ge=2, le=MOST_UNLABELLED)
    name: ModelName
    init: str
    config: Mapping[str, Any]

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.photos is None) == (self.photos_of_messages is None):
            raise ValueError("give a folder of photos, or a number of photos of messages")
        return self


class RescoringParameters(BaseModel):
    """The parameters of a rescoring run, as stored.

    Attributes:
        model_version_id: the model that scores.
        since: rescore only messages received from this time on.
        limit: the highest number of attachments to rescore.
    """

    model_config = ConfigDict(frozen=True)

    model_version_id: ModelVersionId
    since: datetime | None = None
    limit: int | None = None

    @field_serializer("since")
    def _serialize_since(self, since: datetime | None) -> str | None:
        return None if since is None else since.isoformat()
