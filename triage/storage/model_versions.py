"""Model versions as rows: cards and stages. A unique index allows at most one live model.

Functions that return a model raise `ModelError` if its card is malformed.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pydantic import ValidationError
from sqlalchemy import and_, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from triage.domain.card import Card, RegisteredModel, UnreadableModel, card_json
from triage.domain.ids import ModelVersionId, new_id
from triage.domain.states import Stage
from triage.domain.text import check_id
from triage.errors import ModelError, ModelNameTakenError, UnknownModelError, validation_problems
from triage.storage.tables import LIVE, ModelVersion

_VERSION: Final = re.compile(r"([^@]+)@([1-9]\d{0,8})", re.ASCII)
_SHOWN: Final = 5


def lock_name(session: Session, name: str) -> None:
    """Locks the name of a model until the transaction ends, registered or not."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"model name {name}", 0))))


def check_name_is_free(session: Session, name: str) -> None:
    """
    Raises:
        ModelNameTakenError: a model of this name is registered.
    """
    last = _last_version(session, name)
    if last:
        raise ModelNameTakenError(f"model {name}@{last} is registered: choose another name, or ask for a new version")


def add(session: Session, card: Card, *, new_version: bool = False) -> tuple[RegisteredModel, bool]:
    """Registers a model as a candidate. Has no effect if a model with the same weights is registered.

    Args:
        session: of the caller's transaction.
        card: with the hash of the weights.
        new_version: add the next version of the name if it is taken.

    Returns:
        The registered model, and whether it is new.

    Raises:
        ModelNameTakenError: another model of this name is registered, and no new version was asked for.
    """
    lock_name(session, card.name)
    if (known := _with_weights(session, card.weights_sha256)) is not None:
        return known, False
    if not new_version:
        check_name_is_free(session, card.name)
    created = session.scalar(
        insert(ModelVersion)
        .values(
            id=new_id(),
            name=card.name,
            version=_last_version(session, card.name) + 1,
            weights_sha256=card.weights_sha256,
            card=card_json(card),
            stage=Stage.CANDIDATE,
        )
        .on_conflict_do_nothing(index_elements=[ModelVersion.weights_sha256])
        .returning(ModelVersion.id)
    )
    row = session.scalars(select(ModelVersion).where(ModelVersion.weights_sha256 == card.weights_sha256)).one()
    return _registered(row), created is not None


def is_registered(session: Session, weights_sha256: str) -> bool:
    """Whether a model with these weights is registered."""
    return _with_weights(session, weights_sha256) is not None


def live(session: Session) -> RegisteredModel | None:
    """The live model, or None."""
    row = session.scalars(select(ModelVersion).where(LIVE)).one_or_none()
    return _registered(row) if row else None


def live_key(session: Session) -> tuple[ModelVersionId, str] | None:
    """The id of the live model and the SHA-256 of its weights, also if its card is malformed; None without one."""
    row = session.execute(select(ModelVersion.id, ModelVersion.weights_sha256).where(LIVE)).one_or_none()
    return (ModelVersionId(row.id), row.weights_sha256) if row else None


def live_since(session: Session) -> tuple[RegisteredModel | UnreadableModel, datetime] | None:
    """The live model and the time of its promotion, or None."""
    row = session.scalars(select(ModelVersion).where(LIVE)).one_or_none()
    return (_listed(row), row.promoted_at) if row and row.promoted_at else None


def get(session: Session, model_id: ModelVersionId) -> RegisteredModel:
    """Returns a model by its id.

    Raises:
        ModelError: no model has this id, or its card is malformed.
    """
    row = session.get(ModelVersion, model_id)
    if row is None:
        raise ModelError("the model is not registered: add it to the registry")
    return _registered(row)


def find(session: Session, name: str) -> RegisteredModel:
    """Finds a model by its name if that has one version, by `NAME@VERSION`, or by the start of its SHA-256.

    Args:
        session: of the caller's transaction.
        name: at least eight digits of a SHA-256.

    Raises:
        UnknownModelError: no model matches, or several do.
        UsageError: `name` is malformed.
    """
    check_id(name, "model name")
    condition = ModelVersion.name == name
    if version := _VERSION.fullmatch(name):
        condition |= and_(ModelVersion.name == version[1], ModelVersion.version == int(version[2]))
    if len(name) >= 8:
        condition |= ModelVersion.weights_sha256.startswith(name, autoescape=True)
    found = session.scalars(select(ModelVersion).where(condition).order_by(ModelVersion.id.desc())).all()
    if not found:
        others = _versions(session, version[1]) if version else []
        if version and others:
            raise UnknownModelError(f"model {version[1]!r} has no version {version[2]}, but {_few(others)}: choose one")
        raise UnknownModelError(f"no model has the name or SHA-256 {name!r}: list the registered models and choose one")
    if len(found) > 1:
        choices = _few([f"{row.name}@{row.version}" for row in found])
        raise UnknownModelError(f"several models have the name or SHA-256 {name!r}: choose one of {choices}")
    return _registered(found[0])


def list_models(session: Session) -> list[RegisteredModel | UnreadableModel]:
    """All models, newest first."""
    return [_listed(row) for row in session.scalars(select(ModelVersion).order_by(ModelVersion.id.desc()))]


def list_hashes(session: Session) -> set[str]:
    """The SHA-256 of the weights of all models."""
    return set(session.scalars(select(ModelVersion.weights_sha256)))


def shadows(session: Session) -> list[RegisteredModel]:
    """The shadow models, which score live traffic without deciding, oldest first; without those that are unreadable."""
    rows = session.scalars(select(ModelVersion).where(ModelVersion.stage == Stage.SHADOW).order_by(ModelVersion.id))
    return [model for row in rows if isinstance(model := _listed(row), RegisteredModel)]


def previously_live(session: Session) -> RegisteredModel | None:
    """The retired model that was promoted last, to which a rollback returns, or None."""
    row = session.scalars(
        select(ModelVersion)
        .where(ModelVersion.stage == Stage.RETIRED, ModelVersion.promoted_at.is_not(None))
        .order_by(ModelVersion.promoted_at.desc())
        .limit(1)
    ).one_or_none()
    return _registered(row) if row else None


def lock_stages(session: Session) -> None:
    """Locks the stages of all models until the transaction ends, so that promotions run one after another.

    The lock does not block inserting verdicts, which refer to a model.
    """
    session.execute(select(ModelVersion.id).order_by(ModelVersion.id).with_for_update(key_share=True)).all()


def set_stage(session: Session, model_id: ModelVersionId, stage: Stage) -> None:
    """Sets the stage of a model. The caller checks the rules."""
    values = {"stage": stage.value}
    promoted_at = {"promoted_at": func.clock_timestamp()} if stage is Stage.LIVE else {}
    session.execute(update(ModelVersion).where(ModelVersion.id == model_id).values(**values, **promoted_at))


def set_card(session: Session, model_id: ModelVersionId, card: Card) -> None:
    """Replaces the card of a model, whose weights and hash must be unchanged."""
    session.execute(update(ModelVersion).where(ModelVersion.id == model_id).values(card=card_json(card)))


def _listed(row: ModelVersion) -> RegisteredModel | UnreadableModel:
    try:
        return _registered(row)
    except ModelError as error:
        return UnreadableModel(
            ModelVersionId(row.id), f"{row.name}@{row.version}", row.weights_sha256, Stage(row.stage), str(error)
        )


def _with_weights(session: Session, weights_sha256: str) -> RegisteredModel | None:
    row = session.scalars(select(ModelVersion).where(ModelVersion.weights_sha256 == weights_sha256)).one_or_none()
    return _registered(row) if row else None


def _versions(session: Session, name: str) -> list[str]:
    """Newest first."""
    query = select(ModelVersion.version).where(ModelVersion.name == name).order_by(ModelVersion.version.desc())
    return [f"{name}@{version}" for version in session.scalars(query)]


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _last_version(session: Session, name: str) -> int:
    """0 if no model has the name."""
    return session.scalar(select(func.max(ModelVersion.version)).where(ModelVersion.name == name)) or 0


def _registered(row: ModelVersion) -> RegisteredModel:
    try:
        card = Card.model_validate(row.card)
    except ValidationError as error:
        raise ModelError(
            f"the stored card of model {row.name}@{row.version} is malformed or of another release "
            f"({validation_problems(error)}): use the release that stored it, or another model"
        ) from error
    return RegisteredModel(ModelVersionId(row.id), card, Stage(row.stage), row.version)
