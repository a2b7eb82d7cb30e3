"""A model's card as text for people; the JSON has everything, such as the weights of the reasons."""

from typing import TYPE_CHECKING, Any

from worker.cli.output import local_time, percent
from worker.cli.tables import Column, print_line, print_table

if TYPE_CHECKING:
    from triage.domain.card import Card


def print_card(card: "Card") -> None:
    """Prints what the model is, what it learned from, how good it is, and its settings.

    Raises:
        ModelError: the card has an evaluation that is none.
    """
    from triage.evaluation.model_card import facts_of, readable_evaluations  # deferred: imports Jinja

    with readable_evaluations(card):
        facts = facts_of(card)
        _print_model(card)
        _print_splits(facts["splits"])
        _print_evaluations(facts["evaluations"])
    print_line()
    print_table(("setting", Column("value", wrap=True)), [*facts["data"], *facts["settings"]])
    print_line()
    for limit in facts["limits"]:
        print_line(limit)
    if card.licence_notes:
        print_line(card.licence_notes)
    print_line()
    print_line("everything, such as the learning curve and the weights of the reasons: --json; as a page: --html FILE")


def _print_model(card: "Card") -> None:
    print_line(f"model {card.name}{'' if card.trained else ', never trained: its scores are meaningless'}")
    recalibration = "applied to all scores" if card.recalibration else card.recalibration_withheld or "none"
    facts = {
        "SHA-256": card.weights_sha256,
        "created": local_time(card.created_at),
        "score": f"P(at least {card.good_votes} of {card.n_outputs} reviewers find the photo good)",
        "threshold": f"{card.threshold:.4f}, {card.threshold_chosen_by}",
        **{f"{n} photos": f"{threshold:.4f}" for n, threshold in card.thresholds_by_photo_count.items()},
        "network": f"{card.architecture}, head {card.head}, patches pooled by their {card.pooling}",
        "recalibration": recalibration,
        "reasons": ", ".join(card.reasons.reasons) if card.reasons else "measured, not learned",
    }
    print_table(("", Column("", wrap=True)), facts.items())


def _print_splits(splits: dict[str, Any]) -> None:
    if splits:
        print_line()
        print_table(
            ("split", "photos", "good", "patients"),
            ((name, s["n"], _known(s["n_good"]), _known(s["patients"])) for name, s in splits.items()),
        )


def _print_evaluations(evaluations: dict[str, Any]) -> None:
    if not evaluations:
        print_line("no evaluation is recorded")
        return
    print_line()
    print_table(
        ("evaluated on", "photos", "good", "AUC", Column("95 % interval", 1), "sensitivity", "specificity", "PPV"),
        (
            (
                name,
                e["n"],
                e["n_good"],
                "-" if e["auc"] is None else f"{e['auc']:.3f}",
                _interval(e),
                *(percent(e[rate]) for rate in ("sensitivity", "specificity", "ppv")),
            )
            for name, e in evaluations.items()
        ),
    )


def _interval(e: dict[str, Any]) -> str:
    from triage.evaluation.model_card import auc_interval  # deferred: imports Jinja

    return auc_interval(e)


def _known(value: int | None) -> object:
    return "-" if value is None else value
