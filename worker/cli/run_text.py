"""A run as text: its state, and the epochs of a training as sparklines and a table."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from triage.domain.runs import Run, Wait, WaitReason
from triage.domain.states import RunKind
from worker.cli.output import local_time
from worker.cli.tables import Column, print_line, print_table

_BARS: Final = "▁▂▃▄▅▆▇█"
_WIDEST: Final = 48
"""Bars of a sparkline; of more epochs, each bar is the mean of several."""

_CURVES: Final = (("training loss", "train_loss"), ("validation loss", "validation_loss"), ("AUC", "validation_auc"))

_NUMBERS: Final = (
    ("train_loss", ".4f"),
    ("validation_loss", ".4f"),
    ("validation_auc", ".3f"),
    ("learning_rate", "g"),
    ("photos_per_second", ".3g"),
    ("seconds", ".1f"),
)


def print_run(run: Run, description: str) -> None:
    """Prints a run.

    Args:
        description: of its progress, in a line.
    """
    print_line(f"{run.kind.value} run {run.id}: {run.status.value}")
    name = dict[str, Any](run.parameters).get("name")
    times = {
        "created": run.created_at,
        "started": run.started_at,
        "heartbeat": run.heartbeat_at if run.is_open else None,
        "ended": run.finished_at,
    }
    facts = {"model": name, "progress": description} | {key: at and local_time(at) for key, at in times.items()}
    for key, fact in facts.items():
        if fact:
            print_line(f"{key:10}{fact}")
    if run.kind is RunKind.TRAINING:
        _print_epochs(run)


def describe_wait(wait: Wait) -> str:
    """Why a training run waits, and what to do."""
    match wait.reason:
        case WaitReason.BUSY:
            return f"waits: the training worker is busy with run {wait.run_id}"
        case WaitReason.EARLIER_RUN:
            return f"waits: run {wait.run_id} comes first"
        case WaitReason.NO_WORKER:
            return (
                "waits: no training worker runs, or it is paused; start one with `triage up --training` or "
                "`triage worker training`"
            )
        case WaitReason.STALLED_WORKER:
            return "waits: the training worker makes no progress; read its log and restart it"
        case WaitReason.STARTING:
            return "waits: a training worker runs and will start it soon"
        case WaitReason.UNKNOWN:
            return "waits: Redis does not say whether a training worker runs; see `triage doctor`"


def sparkline(values: Sequence[float | None]) -> str:
    """Bars from the lowest value to the highest; a blank where a value is not known."""
    means = [_mean(part) for part in _parts(values)]
    known = [mean for mean in means if mean is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    step = (high - low) / (len(_BARS) - 1) or 1.0
    return "".join(" " if mean is None else _BARS[round((mean - low) / step)] for mean in means)


def _print_epochs(run: Run) -> None:
    if not run.epochs:
        print_line("no epoch has ended yet")
        return
    print_line()
    for name, key in _CURVES:
        values = [epoch.get(key) for epoch in run.epochs]
        if any(value is not None for value in values):
            print_line(f"{name:16}{_text(values[0], '.4f')} {sparkline(values)} {_text(values[-1], '.4f')}")
    print_line()
    print_table(
        (
            "epoch",
            "loss",
            "validation",
            "AUC",
            Column("learning rate", 3),
            Column("photos/s", 2),
            Column("seconds", 1),
            "best so far",
        ),
        (
            (
                epoch["number"],
                *(_text(epoch.get(name), style) for name, style in _NUMBERS),
                "*" if epoch.get("is_best") else "",
            )
            for epoch in run.epochs
        ),
    )


def _text(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _parts(values: Sequence[float | None]) -> list[Sequence[float | None]]:
    """At most `_WIDEST` parts of about the same length."""
    n_parts = max(1, min(_WIDEST, len(values)))
    ends = [len(values) * part // n_parts for part in range(n_parts + 1)]
    return [values[start:end] for start, end in pairwise(ends)]
