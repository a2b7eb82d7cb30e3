"""What a model's card must show before the model decides about patients' photos."""

from typing import Any, Final

from triage.domain.card import Card

FEWEST_OF_A_CLASS: Final = 20
"""Photos of each class in an evaluation. Even if none of 20 bad photos passes, up to 14 % of all bad photos may: the
exact one-sided 95 % bound, 1 - 0.05 ** (1 / 20). With 10, it is 26 %."""

_LEARNED_FROM: Final = frozenset({"train", "validation"})


def is_evaluated(card: Card) -> bool:
    """Whether the card holds an evaluation of enough photos of both classes that the model did not learn from."""
    return any(_is_sufficient(name, evaluation) for name, evaluation in card.metrics.items())


def _is_sufficient(name: str, evaluation: Any) -> bool:
    if name in _LEARNED_FROM or not isinstance(evaluation, dict) or evaluation.get("trained_on"):
        return False
    numbers = [evaluation.get(count) for count in ("n_good", "n_bad")]
    return all(isinstance(number, int) and number >= FEWEST_OF_A_CLASS for number in numbers)
