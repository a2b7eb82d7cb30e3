"""A model on disk: a folder with `weights.safetensors` and `card.json`, which states their hash. Needs no torch."""

from pathlib import Path
from typing import Final

from triage.domain.card import Card, read_card
from triage.errors import ModelError
from triage.files.atomic import write_durably
from triage.files.hashing import sha256_of
from triage.files.kinds import read_regular

WEIGHTS_FILE: Final = "weights.safetensors"
CARD_FILE: Final = "card.json"


def bind_card(card: Card, weights: bytes) -> Card:
    """The card with the hash of these weights."""
    return card.model_copy(update={"weights_sha256": sha256_of(weights)})


def write_artifact(folder: Path, card: Card, weights: bytes) -> Card:
    """Writes a model and returns its card, with the hash of the weights.

    Args:
        folder: created if missing; a model in it is replaced.
        card: its `weights_sha256` is ignored.
        weights: a safetensors file, from `triage.model.weights.weights_of`.
    """
    bound = bind_card(card, weights)
    write_durably(folder / WEIGHTS_FILE, weights, follow_umask=True)
    write_durably(folder / CARD_FILE, card_bytes(bound), follow_umask=True)
    return bound


def card_bytes(card: Card) -> bytes:
    """The content of `card.json`."""
    return f"{card.model_dump_json(indent=2)}\n".encode()


def read_artifact(folder: Path) -> tuple[Card, bytes]:
    """Reads a model's card and the bytes of its weights, and checks their hash.

    Raises:
        ModelError: a file is missing, the card is invalid, or the weights do not have the hash of the card.
    """
    try:
        card = read_card(read_regular(folder / CARD_FILE))
        weights = read_regular(folder / WEIGHTS_FILE)
    except OSError as error:
        raise ModelError(f"no model at {folder}: give a folder with {WEIGHTS_FILE} and {CARD_FILE}") from error
    check_model(card, weights)
    return card, weights


def check_model(card: Card, weights: bytes) -> None:
    """
    Raises:
        ModelError: the weights do not have the hash that the card states, or its reasons need unknown measures.
    """
    if sha256_of(weights) != card.weights_sha256:
        raise ModelError(
            f"the weights of model {card.name!r} do not have the SHA-256 that its card states: "
            "the file is damaged or was changed: copy the model again"
        )
    if card.reasons is not None:
        from triage.findings.reasons import unknown_measures  # deferred: imports numpy

        if unknown := unknown_measures(card.reasons):
            raise ModelError(
                f"the reasons of model {card.name!r} need {unknown[0]!r:.100}, which this release does not measure: "
                "use the release that the model was trained with, or train it again"
            )
