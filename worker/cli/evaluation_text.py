"""An evaluation as text for people."""

from collections.abc import Sequence
from typing import Any, Final

from worker.cli.output import count, percent
from worker.cli.tables import Column, print_line, print_table

_BEFORE: Final = (Column("before: slope", 1), Column("before: intercept", 1), Column("before: Brier", 1))
_RATES: Final = {
    "sensitivity": "good photos that pass",
    "specificity": "bad photos that fail",
    "ppv": "passing photos that are good",
    "npv": "failing photos that are bad",
    "needless_retake_share": "failing photos that are good",
}


def print_evaluation(document: dict[str, Any]) -> None:
    """Prints an evaluation, as `triage.evaluation.evaluate.evaluate` gives it, for people."""
    print_line(f"{count(document['n'], 'photo')}, {document['n_good']} good, {document['n_bad']} bad")
    if trained_on := document.get("trained_on"):
        print_line(f"caution: the model was trained or validated on {trained_on} of them: the measures are too good")
    if document["auc"] is not None:
        print_line(f"AUC {document['auc']:.3f} ({_auc_intervals(document)})")
    print_line(f"threshold {document['threshold']:.4f}, {document['threshold_chosen_by']}")
    print_line()
    print_table(
        ("", "value", "95 % interval", Column("of", wrap=True)),
        (
            (name.replace("_", " "), percent(document[name]), _span(document["intervals"][name]), meaning)
            for name, meaning in _RATES.items()
        ),
    )
    if by_patient := document["by_patient"]:
        print_line()
        print_line(f"photos of {by_patient['n_patients']} patients: read these intervals, which resample patients")
        print_line(f"AUC {_plain_interval(by_patient['auc_ci'])}")
        print_table(
            ("", "95 % interval by patient"),
            (
                (name.replace("_", " "), _span(interval) or "not estimated")
                for name, interval in by_patient["intervals"].items()
            ),
        )
    _print_calibration(document["calibration"], document["calibration_before"])
    if adjusted := document["prevalence_adjusted"]:
        bayes = adjusted["bayes"]
        print_line(
            f"if {percent(adjusted['good_share'])} of the photos were good (--good-share; 73 % in the paper): "
            f"PPV {percent(bayes['ppv'])}, NPV {percent(bayes['npv'])}"
        )
    if correlation := document["correlation"]:
        print_line(f"SRCC {correlation['srcc']:.3f}, PLCC {correlation['plcc']:.3f}")
    if document["grade_kappa"] is not None:
        print_line(f"quadratic weighted kappa of grade and votes {document['grade_kappa']:.3f}")
    if document.get("sweep"):
        print_line()
        _print_sweep(document["sweep"])
    if comparison := document.get("comparison"):
        print_line(
            f"the other model: AUC {comparison['other_auc']:.3f}, difference {comparison['difference']:+.3f} "
            f"{_paired_test(comparison)}"
        )
    if reasons := document.get("reasons"):
        print_line()
        print_table(
            ("reason", "photos", "with it", Column("named", 3), "F1", "average precision", Column("kappa", 2)),
            (
                (
                    kind.replace("_", " "),
                    found["n"],
                    found["n_with"],
                    found["n_named"],
                    *(_decimal(found[name]) for name in ("f1", "average_precision", "kappa")),
                )
                for kind, found in reasons["by_reason"].items()
            ),
        )
    for column, groups in document["groups"].items():
        print_line()
        print_table(
            (
                column,
                "photos",
                Column("good", 2),
                "AUC",
                Column("95 % interval", 4),
                "sensitivity",
                "specificity",
                Column("PPV", 1),
                Column("needless", 3),
            ),
            (
                (
                    value or "not given",
                    group["n"],
                    group["n_good"],
                    "-" if group["auc"] is None else f"{group['auc']:.3f}",
                    _group_interval(group),
                    *(percent(group[rate]) for rate in ("sensitivity", "specificity", "ppv", "needless_retake_share")),
                )
                for value, group in groups.items()
            ),
        )


def _print_calibration(calibration: dict[str, Any], before: dict[str, Any] | None) -> None:
    print_line()
    if calibration["slope"] is not None:
        print_line(
            f"calibration slope {calibration['slope']:.2f}, intercept {calibration['intercept']:.2f}, "
            f"Brier score {calibration['brier']:.3f}"
        )
    if not calibration["by_cut"]:
        return
    earlier = (before or {}).get("by_cut") or [None] * len(calibration["by_cut"])
    columns = ("votes", "photos", "with them", "slope", "intercept", "Brier", *(_BEFORE if before else ()))
    print_table(
        columns,
        (
            (f"at least {cut['votes']}", cut["n"], cut["n_yes"], *_measures(cut), *(_measures(then) if then else ()))
            for cut, then in zip(calibration["by_cut"], earlier, strict=True)
        ),
    )


def _measures(cut: dict[str, Any]) -> tuple[str, ...]:
    return _decimal(cut["slope"]), _decimal(cut["intercept"]), "-" if cut["brier"] is None else f"{cut['brier']:.3f}"


def _print_sweep(rows: Sequence[dict[str, Any]]) -> None:
    """Every twentieth of the scores, and the threshold in use."""
    print_table(
        ("threshold", "sensitivity", "specificity", Column("PPV", 1), "needless", "requests per 1,000", ""),
        (
            (
                f"{row['threshold']:.3f}",
                *(percent(row[name]) for name in ("sensitivity", "specificity", "ppv", "needless_retake_share")),
                f"{row['requests_per_1000']:.0f}",
                "in use" if row["in_use"] else "",
            )
            for row in rows
            if row["in_use"] or round(row["threshold"] * 100) % 5 == 0
        ),
    )


def _auc_intervals(document: dict[str, Any]) -> str:
    if not document["auc_ci_withheld"]:
        return ", ".join(
            f"{name.replace('_', '-')} {low:.3f} to {high:.3f}" for name, (low, high) in document["auc_ci"].items()
        )
    withheld = f"other intervals withheld: {document['auc_ci_withheld']}"
    if document["auc_exact_ci"] is None:
        return withheld.removeprefix("other ")
    low, high = document["auc_exact_ci"]
    return f"exact one-sided {low:.3f} to {high:.3f}; {withheld}"


def _group_interval(group: dict[str, Any]) -> str:
    if interval := group["auc_ci"]["delong"]:
        return f"{interval[0]:.3f} to {interval[1]:.3f}"
    if interval := group["auc_exact_ci"]:
        return f"{interval[0]:.3f} to {interval[1]:.3f}, exact one-sided"
    return "withheld" if group["auc_ci_withheld"] else ""


def _plain_interval(interval: list[float] | None) -> str:
    return "not estimated" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _paired_test(comparison: dict[str, Any]) -> str:
    if comparison["withheld"]:
        return f"(paired test withheld: {comparison['withheld']})"
    low, high = comparison["interval"]
    return f"({low:+.3f} to {high:+.3f}), p = {comparison['p_value']:.2g}"


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _span(interval: list[float] | None) -> str:
    return "" if interval is None else f"{percent(interval[0])} to {percent(interval[1])}"
