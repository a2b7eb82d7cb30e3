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


def describe_evaluations(card: Card) -> str:
    """The numbers of photos in the evaluations that count, in words; those on learned photos do not count."""
    numbers = sorted((_numbers(name, evaluation) for name, evaluation in card.metrics.items()), key=min, reverse=True)
    if not numbers or max(numbers[0]) == 0:
        return "none is recorded"
    return f"recorded: {', '.join(f'{n_good} good and {n_bad} bad' for n_good, n_bad in numbers if n_good or n_bad)}"


def _is_sufficient(name: str, evaluation: Any) -> bool:
    return min(_numbers(name, evaluation)) >= FEWEST_OF_A_CLASS


def _numbers(name: str, evaluation: Any) -> tuple[int, int]:
    """The numbers of good and bad photos that the model did not learn from; 0 where the evaluation is none."""
    if name in _LEARNED_FROM or not isinstance(evaluation, dict) or evaluation.get("trained_on"):
        return 0, 0
    n_good, n_bad = (evaluation.get(count) for count in ("n_good", "n_bad"))
    return (n_good, n_bad) if isinstance(n_good, int) and isinstance(n_bad, int) else (0, 0)
