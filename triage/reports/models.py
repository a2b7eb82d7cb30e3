"""Look-ups of registered models. They only read the tables; `triage.registry` also needs the model store."""

from triage.domain.card import RegisteredModel, UnreadableModel
from triage.storage import audit, model_versions
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


@use_case
def list_models(sessions: Sessions) -> list[RegisteredModel | UnreadableModel]:
    """Returns all models, newest first."""
    with sessions() as session:
        return model_versions.list_models(session)


@use_case
def find_forced_promotion(sessions: Sessions) -> str | None:
    """The reason for which a person forced the promotion of the live model; None if it was not forced, or none is live.

    A rollback to a model counts as the promotion that it returns to.
    """
    with sessions() as session:
        live = model_versions.live_key(session)
        events = audit.events_of(session, live[0]) if live else []
        promotions = [event for event in events if event.action == "model.promoted"]
        return promotions[-1].details.get("reason") if promotions else None


@use_case
def find_model(sessions: Sessions, name: str) -> RegisteredModel:
    """Returns a model by its name, or by the start of the SHA-256 of its weights.

    Raises:
        UsageError: no model or several models match.
        ModelError: its card is malformed.
    """
    with sessions() as session:
        return model_versions.find(session, name)


@use_case
def find_previous(sessions: Sessions) -> RegisteredModel | None:
    """Returns the model to which a rollback returns, or None.

    Raises:
        ModelError: its card is malformed.
    """
    with sessions() as session:
        return model_versions.previously_live(session)
