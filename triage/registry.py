"""The registry of models: candidate -> shadow -> live -> retired, and rollback to the model that was live before."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from triage.blobs.store import BlobStore
from triage.domain.card import Card, RegisteredModel, card_json
from triage.domain.promotion import FEWEST_OF_A_CLASS, describe_evaluations, is_evaluated
from triage.domain.proposals import Proposal
from triage.domain.states import Stage
from triage.domain.text import check_note
from triage.errors import (
    BlobStoreUnavailableError,
    ModelNameTakenError,
    ModelNotEvaluatedError,
    ModelStoreUnavailableError,
    TrainingPhotosError,
    UntrainedModelError,
    UsageError,
    validation_problems,
)
from triage.model.artifact import check_model, read_artifact
from triage.storage import audit, proposals, runs
from triage.storage import model_versions as models
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


class Registry:
    """Models with their stages, and their weights in a store that every worker reads. A method is one transaction."""

    def __init__(self, sessions: Sessions, store: BlobStore) -> None:
        self._sessions = sessions
        self._store = store

    @use_case
    def add(self, card: Card, weights: bytes, *, actor: str, new_version: bool = False) -> RegisteredModel:
        """Registers a model as a candidate and copies its weights into the store. Idempotent.

        Args:
            card: with the hash of the weights.
            weights: a safetensors file.
            actor: for the audit trail.
            new_version: make it the next version of its name, if that is taken.

        Raises:
            ModelError: the weights are not those of the card.
            UsageError: the same weights are registered under another name.
            ModelNameTakenError: another model has the name, or a training run will produce one, and no new version was
                asked for.
            ModelStoreUnavailableError: the store cannot be written, or is not mounted.
        """
        check_model(card, weights)
        with self._sessions.begin() as session:  # before the weights, which a refused model must not leave behind
            _check_name(session, card, new_version=new_version)
        self._put(card, weights)
        with self._sessions.begin() as session:
            _check_name(session, card, new_version=new_version)
            model, created = models.add(session, card, new_version=new_version)
            if created:
                audit.record(session, actor=actor, action="model.added", subject_kind="model", subject_id=model.id)
            elif model.card.name != card.name:
                raise UsageError(f"the same weights are registered already, as model {model.card.name!r}")
        return model

    @use_case
    def add_folder(self, folder: Path, *, actor: str, new_version: bool = False) -> RegisteredModel:
        """Registers the model in a folder, as `add`.

        Raises:
            ModelError: the folder holds no model, or its weights are not those of its card.
            UsageError: as `add`.
        """
        return self.add(*read_artifact(folder), actor=actor, new_version=new_version)

    @use_case
    def load(self, name: str) -> tuple[Card, bytes]:
        """The card and the weights of a model, by its name, `NAME@VERSION` or the start of its SHA-256.

        Raises:
            UsageError: no such model.
            ModelStoreUnavailableError: the store cannot be read, or does not have its weights.
        """
        with self._sessions() as session:
            card = models.find(session, name).card
        return card, self.weights(card)

    @use_case
    def shadow(self, name: str, *, actor: str) -> RegisteredModel:
        """Lets a model score every photo that the live model scores, without effect on decisions.

        Workers notice between two batches.

        Raises:
            UsageError: no such model, it is live, or it is a start for trainings.
        """
        return self._move(
            name, Stage.SHADOW, actor=actor, action="model.shadowed", if_live="choose a model that is not live"
        )

    @use_case
    def promote(
        self,
        name: str,
        *,
        actor: str,
        allow_untrained: bool = False,
        force_reason: str | None = None,
        instead_of: str | None = None,
    ) -> RegisteredModel:
        """Makes a model live and retires the one that was live. Workers notice between two batches.

        Has no effect if the model is live already.

        Args:
            name: of the model.
            actor: for the audit trail.
            allow_untrained: promote a model that was never trained.
            force_reason: promote a model that is not sufficiently evaluated, for this reason, which the audit trail
                keeps.
            instead_of: SHA-256 of the model that is expected to be live until then, as a person has confirmed it; empty
                if none is.

        Raises:
            UsageError: no such model, or another model is live than expected, or the reason is blank, too long or has
                control characters.
            UntrainedModelError: the model was never trained, and that was not allowed, or it is a start for trainings.
            ModelNotEvaluatedError: its card has no evaluation of enough photos of both classes that it did not learn
                from (`triage.domain.promotion`), and no reason was given.
        """
        reason = None if force_reason is None else check_note(force_reason, "reason")
        with self._sessions.begin() as session:
            models.lock_stages(session)
            model, live = models.find(session, name), models.live_key(session)
            if live and live[0] == model.id:
                return model
            if instead_of is not None and instead_of != (live[1] if live else ""):
                raise UsageError("another model was made live since: look at the models again")
            _refuse_pretrained(model.card)
            if not model.card.trained and not allow_untrained:
                raise UntrainedModelError(
                    f"model {model.card.name!r} was never trained, so its scores are meaningless: promote a trained one"
                )
            if model.card.trained and not is_evaluated(model.card) and reason is None:
                raise ModelNotEvaluatedError(
                    f"model {model.card.name!r} has no evaluation on its card of at least {FEWEST_OF_A_CLASS} good and "
                    f"{FEWEST_OF_A_CLASS} bad photos that it did not learn from ({describe_evaluations(model.card)}): "
                    "evaluate it and record the result"
                )
            self._make_live(session, model, actor=actor, action="model.promoted", reason=reason)
            return models.find(session, model.card.weights_sha256)

    @use_case
    def rollback(self, *, actor: str, to: str | None = None) -> RegisteredModel:
        """Makes the previously live model live again.

        Args:
            actor: for the audit trail.
            to: SHA-256 of the model that is expected to be live then, as a person has confirmed it. Has no effect if it
                is live already.

        Raises:
            UsageError: no model was live before, or it is another one than expected.
        """
        with self._sessions.begin() as session:
            models.lock_stages(session)
            live = models.live_key(session)
            if live and live[1] == to:
                return models.get(session, live[0])
            model = models.previously_live(session)
            if model is None:
                raise UsageError("no model was live before: promote one by its name")
            if to is not None and model.card.weights_sha256 != to:
                raise UsageError("another model was promoted since: look at the models again")
            self._make_live(session, model, actor=actor, action="model.rolled_back")
            return models.find(session, model.card.weights_sha256)

    @use_case
    def retire(self, name: str, *, actor: str) -> RegisteredModel:
        """Retires a model that is not live.

        Raises:
            UsageError: no such model, or it is live.
        """
        return self._move(
            name, Stage.RETIRED, actor=actor, action="model.retired", if_live="promote another model instead"
        )

    @use_case
    def record_evaluation(self, name: str, data: str, evaluation: Mapping[str, Any], *, actor: str) -> RegisteredModel:
        """Stores an evaluation on a model's card.

        Args:
            name: of the model.
            data: what it was evaluated on, such as `test`; an earlier evaluation of that name is replaced.
            evaluation: from `triage.evaluation.evaluate.evaluate`.
            actor: for the audit trail.

        Raises:
            UsageError: no such model.
            TrainingPhotosError: the model learned from some of the photos.
        """
        if evaluation.get("trained_on"):
            raise TrainingPhotosError("the model was trained or validated on some of these photos: choose other photos")
        return self._amend(
            name, lambda card: {"metrics": {**card.metrics, data: evaluation}}, actor=actor, action="model.evaluated"
        )

    @use_case
    def set_photo_count_thresholds(self, name: str, thresholds: Mapping[int, float], *, actor: str) -> RegisteredModel:
        """Replaces the thresholds for messages of several photos on a model's card.

        Raises:
            UsageError: no such model.
        """
        return self._amend(
            name, lambda _: {"thresholds_by_photo_count": thresholds}, actor=actor, action="model.thresholds_set"
        )

    @use_case
    def apply(self, proposal: str, *, actor: str) -> Proposal:
        """Applies the thresholds of a proposal to the live model's card, and records who approved the proposal.

        Its limits of requests are settings of the workers, which this cannot change. Has no effect if it was applied
        and the card still has its thresholds.

        Returns:
            The proposal as it was before.

        Raises:
            NotFoundError: no proposal has this name.
            UsageError: the proposal is to use another model, or its thresholds were simulated for a model that is no
                longer live.
        """
        with self._sessions.begin() as session:
            models.lock_stages(session)
            found, live = proposals.find(session, proposal), models.live(session)
            before = live.card if live else None
            after = _with_proposal(before, found)
            if found.applied_at is not None and after == before:
                return found
            if live is not None and after is not None and after != before:
                models.set_card(session, live.id, after)
                audit.record(
                    session,
                    actor=actor,
                    action="model.thresholds_set",
                    subject_kind="model",
                    subject_id=live.id,
                    proposal=str(found.id),
                )
            proposals.record_applied(session, found, actor=actor)
            return found

    def weights(self, card: Card) -> bytes:
        """
        Raises:
            ModelStoreUnavailableError: the store cannot be read, or does not have the weights of the card.
        """
        try:
            return self._store.get(card.weights_sha256)
        except Exception as error:  # any driver's
            raise ModelStoreUnavailableError(
                f"the weights of model {card.name!r} cannot be read from the model store: "
                "check the store's URL, or add the model again"
            ) from error

    def _put(self, card: Card, weights: bytes) -> None:
        """An unmounted volume leaves an empty folder behind, which must not receive the weights of a new model."""
        with self._sessions() as session:
            registered = models.list_hashes(session)
        try:
            if registered and card.weights_sha256 not in registered and not any(map(self._store.size, registered)):
                raise ModelStoreUnavailableError(
                    "the model store has the weights of no registered model: mount its volume, "
                    "or add a registered model again"
                )
            self._store.put(weights)
        except BlobStoreUnavailableError as error:
            raise ModelStoreUnavailableError(
                "the model store cannot be read or written: check its free space, its permissions and its URL"
            ) from error

    def _move(self, name: str, stage: Stage, *, actor: str, action: str, if_live: str) -> RegisteredModel:
        with self._sessions.begin() as session:
            models.lock_stages(session)
            model = models.find(session, name)
            if model.stage is Stage.LIVE:
                raise UsageError(f"model {model.card.name!r} is live: {if_live}")
            if stage is Stage.SHADOW:
                _refuse_pretrained(model.card)
            models.set_stage(session, model.id, stage)
            audit.record(session, actor=actor, action=action, subject_kind="model", subject_id=model.id)
            return models.find(session, model.card.weights_sha256)

    def _amend(
        self, name: str, changes: Callable[[Card], Mapping[str, Any]], *, actor: str, action: str
    ) -> RegisteredModel:
        with self._sessions.begin() as session:
            models.lock_stages(session)
            model = models.find(session, name)
            card = _amended(model.card, changes(model.card))
            models.set_card(session, model.id, card)
            audit.record(session, actor=actor, action=action, subject_kind="model", subject_id=model.id)
            return models.find(session, card.weights_sha256)

    @staticmethod
    def _make_live(
        session: Session, model: RegisteredModel, *, actor: str, action: str, reason: str | None = None
    ) -> None:
        live = models.live_key(session)
        if live is not None:
            if live[0] == model.id:
                return  # a new time of promotion would restart the reference period of drift
            models.set_stage(session, live[0], Stage.RETIRED)
        models.set_stage(session, model.id, Stage.LIVE)
        details = {} if reason is None else {"reason": reason}
        audit.record(session, actor=actor, action=action, subject_kind="model", subject_id=model.id, **details)


def _check_name(session: Session, card: Card, *, new_version: bool) -> None:
    models.lock_name(session, card.name)
    if new_version or models.is_registered(session, card.weights_sha256):
        return
    models.check_name_is_free(session, card.name)
    if runs.is_training_named(session, card.name):
        raise ModelNameTakenError(
            f"a training run will produce model {card.name!r}: choose another name, or ask for a new version"
        )


def _refuse_pretrained(card: Card) -> None:
    if card.is_pretrained:
        raise UntrainedModelError(
            f"model {card.name!r} is pretrained and has not learned to score: train a model that starts from it"
        )


def _amended(card: Card, changes: Mapping[str, Any]) -> Card:
    try:
        return Card.model_validate(card_json(card) | dict(changes))
    except ValidationError as error:
        raise UsageError(f"invalid change of the card: {validation_problems(error)}") from None


def _with_proposal(live: Card | None, proposal: Proposal) -> Card | None:
    """The card of the live model with the thresholds of a proposal, or as it is if the proposal has none."""
    changes = proposal.simulation["changes"]
    if "model" in changes:
        raise UsageError(f"the proposal is to use model {changes['model']!r}: promote that model instead")
    thresholds = _thresholds_of(changes)
    if not thresholds:
        return live
    if live is None or live.weights_sha256 != proposal.simulation["weights_sha256"]:
        raise UsageError("another model is live than at the simulation: simulate it with this one")
    return _amended(live, {**thresholds, "threshold_chosen_by": f"proposal {proposal.name}"})


def _thresholds_of(changes: Mapping[str, Any]) -> dict[str, Any]:
    """What a proposal changes of a card. As in the simulation, one threshold replaces those by number of photos."""
    by_count = changes.get("thresholds_by_photo_count", {})
    single = {"threshold": changes["threshold"]} if "threshold" in changes else {}
    return {**single, "thresholds_by_photo_count": by_count} if single or by_count else {}
