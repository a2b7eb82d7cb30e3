"""The registry's rules: candidate -> shadow -> live -> retired, and a rollback to the model that was live before."""

from pathlib import Path

from sqlalchemy.orm import Session

from triage.domain import Stage
from triage.errors import ModelError, UsageError
from triage.quality.artifact import read_artifact
from triage.quality.card import Card
from triage.storage import audit, models
from triage.storage.blobs import BlobStore
from triage.storage.engine import Sessions
from triage.storage.models import RegisteredModel


class Registry:
    """Models by name, their weights in a store that every worker reads. Each method is one transaction."""

    def __init__(self, sessions: Sessions, store: BlobStore) -> None:
        self._sessions = sessions
        self._store = store

    def add(self, folder: Path, *, actor: str) -> RegisteredModel:
        """Registers the model in a folder as a candidate and copies its weights into the store.

        Raises:
            ModelError: the folder holds no model, or its weights are not those of its card.
        """
        card, weights = read_artifact(folder)
        self._store.put(weights)
        with self._sessions.begin() as session:
            model = models.add(session, card)
            audit.record(session, actor=actor, action="model.added", subject_kind="model", subject_id=model.id)
        return model

    def promote(self, name: str, *, actor: str, allow_untrained: bool = False) -> RegisteredModel:
        """Makes a model live and retires the one that was; workers notice between two batches.

        Raises:
            UsageError: no such model, or it was never trained and that was not allowed.
        """
        with self._sessions.begin() as session:
            models.lock_stages(session)
            model = models.find(session, name)
            if not model.card.trained and not allow_untrained:
                raise UsageError(
                    f"model {model.card.name!r} was never trained, its scores mean nothing: "
                    "promote a trained one (--allow-untrained is for demonstrations)"
                )
            self._make_live(session, model, actor=actor, action="model.promoted")
            return models.find(session, model.card.weights_sha256)

    def rollback(self, *, actor: str) -> RegisteredModel:
        """Makes the model live that was live before.

        Raises:
            UsageError: there is none.
        """
        with self._sessions.begin() as session:
            models.lock_stages(session)
            model = models.previously_live(session)
            if model is None:
                raise UsageError("no model was live before: `triage models list` shows what there is")
            self._make_live(session, model, actor=actor, action="model.rolled_back")
            return models.find(session, model.card.weights_sha256)

    def retire(self, name: str, *, actor: str) -> RegisteredModel:
        """Retires a model that is not live.

        Raises:
            UsageError: no such model, or it is live.
        """
        with self._sessions.begin() as session:
            models.lock_stages(session)
            model = models.find(session, name)
            if model.stage is Stage.LIVE:
                raise UsageError("the live model cannot be retired: promote another one instead")
            models.set_stage(session, model.id, Stage.RETIRED)
            audit.record(session, actor=actor, action="model.retired", subject_kind="model", subject_id=model.id)
            return models.find(session, model.card.weights_sha256)

    def weights(self, card: Card) -> bytes:
        """
        Raises:
            ModelError: the store does not have the weights of the card.
        """
        try:
            return self._store.get(card.weights_sha256)
        except Exception as error:
            raise ModelError(
                f"the weights of model {card.name!r} cannot be read from the model store: check TRIAGE_MODELS__URL "
                "or add the model again"
            ) from error

    @staticmethod
    def _make_live(session: Session, model: RegisteredModel, *, actor: str, action: str) -> None:
        live = models.live(session)
        if live is not None and live.id != model.id:
            models.set_stage(session, live.id, Stage.RETIRED)
        models.set_stage(session, model.id, Stage.LIVE)
        audit.record(session, actor=actor, action=action, subject_kind="model", subject_id=model.id)
