"""`triage simulate` and `triage proposals`: what other thresholds, limits or another model would have meant."""

from datetime import UTC, datetime
from typing import Any

import click

from triage.domain.proposals import Proposal
from triage.domain.reporting import period_of_report
from triage.errors import UsageError
from worker.cli.commands import command, group
from worker.cli.named_model import registered_name
from worker.cli.options import TIMES, FiniteRange, by_option
from worker.cli.output import json_option, local_time, percent, print_document
from worker.cli.tables import Column, print_line, print_table
from worker.hints import LIMIT_VARIABLES
from worker.services import open_services

_SHARE = FiniteRange(0, 1)


@command()
@click.option("--since", type=TIMES, help="Messages received at or after this time (UTC). [default: 30 days ago]")
@click.option("--until", type=TIMES, help="Messages received before this time (UTC).")
@click.option("--threshold", type=_SHARE, help="A photo passes from this score on.")
@click.option(
    "--photo-count", "counts", multiple=True, metavar="N=SCORE", help="Threshold for groups of N photos; repeatable."
)
@click.option(
    "--model",
    help="Use the scores that this model (name, NAME@VERSION, SHA-256 or ./folder) stored as a shadow or by rescoring.",
)
@click.option("--max-requests", type=click.IntRange(0, 10_000), help="Retake requests in a thread.")
@click.option("--cooldown-hours", type=FiniteRange(0, 876_000), help="Minimum time between two requests of a thread.")
@click.option("--margin", type=_SHARE, help="A best score this far below the threshold goes to staff.")
@click.option("--save", metavar="NAME", help="Save the result as a proposal that a manager can apply.")
@by_option("Who proposes")
@json_option
def simulate(
    since: datetime | None,
    until: datetime | None,
    counts: tuple[str, ...],
    max_requests: int | None,
    margin: float | None,
    model: str | None,
    save: str | None,
    by: str,
    *,
    as_json: bool,
    **changes: Any,
) -> None:
    """Replay the stored scores of a period with other thresholds or limits, or with another model."""
    from triage.retakes.proposals import propose  # deferred: imports numpy and SQLAlchemy
    from triage.retakes.scenario import Scenario  # deferred: imports pydantic
    from triage.retakes.simulate import simulate as simulate_period  # deferred: imports numpy and SQLAlchemy

    period = period_of_report(since and since.replace(tzinfo=UTC), until and until.replace(tzinfo=UTC))
    scenario = Scenario(
        thresholds_by_photo_count=dict(map(_count_and_threshold, counts)),
        max_requests_per_thread=max_requests,
        uncertain_margin=margin,
        model=model and registered_name(model),
        **changes,
    )
    with open_services() as services:
        policy = services.settings.retake_policy
        if save is None:
            found = simulate_period(services.sessions, period, scenario, policy=policy)
        else:
            found = propose(services.sessions, save, period, scenario, policy=policy, by=by)
    if as_json:
        from worker.documents.simulation import SimulationDocument  # deferred: imports pydantic

        print_document(SimulationDocument.model_validate(found))
        return
    _show(found)
    if save is not None:
        print_line(f"saved as proposal {save}")


@group()
def proposals() -> None:
    """List, show and apply saved simulations."""


@proposals.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the proposals, the newest first."""
    from triage.retakes.proposals import list_proposals  # deferred: imports numpy and SQLAlchemy

    with open_services() as services:
        found = list_proposals(services.sessions)
    if as_json:
        from worker.documents.simulation import ProposalDocument  # deferred: imports pydantic

        print_document([ProposalDocument.of(each) for each in found])
        return
    print_table(
        ("proposal", "saved", "by", Column("changes", wrap=True), "applied"),
        (
            (
                each.name,
                local_time(each.saved_at),
                each.saved_by,
                _changes_text(each.simulation),
                local_time(each.applied_at) if each.applied_at else "",
            )
            for each in found
        ),
    )


@proposals.command()
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """Show the simulation of a proposal."""
    from triage.retakes.proposals import find_proposal  # deferred: imports numpy and SQLAlchemy

    with open_services() as services:
        found = find_proposal(services.sessions, name)
    if as_json:
        from worker.documents.simulation import ProposalDocument  # deferred: imports pydantic

        print_document(ProposalDocument.of(found))
        return
    print_line(
        f"proposal {found.name}, saved by {found.saved_by}, {local_time(found.saved_at)}; {_applied_text(found)}"
    )
    _show(found.simulation)


@proposals.command()
@click.argument("name")
@by_option("Who applies it", required=True)
@json_option
def apply(name: str, by: str, *, as_json: bool) -> None:
    """Apply the thresholds of a proposal to the live model, and name the settings that a person must change."""
    from triage.retakes.proposals import find_proposal  # deferred: imports numpy and SQLAlchemy

    with open_services() as services:
        was = services.registry.apply(name, actor=by)
        found = find_proposal(services.sessions, name)
    if as_json:
        from worker.documents.simulation import ProposalDocument  # deferred: imports pydantic

        print_document(ProposalDocument.of(found))
        return
    changes = found.simulation["changes"]
    if was.applied_at is not None and found.applied_at == was.applied_at:
        print_line(f"applied already by {found.applied_by}, {local_time(was.applied_at)}: nothing changed")
    elif "threshold" in changes or "thresholds_by_photo_count" in changes:
        print_line("the live model has the thresholds of the proposal; workers use them from the next batch on")
    for limit, variable in LIMIT_VARIABLES.items():
        if limit in changes:
            print_line(f"set {variable}={changes[limit]} for all parts, and restart them")


def _applied_text(proposal: Proposal) -> str:
    if proposal.applied_at is None:
        return "not applied"
    return f"applied by {proposal.applied_by}, {local_time(proposal.applied_at)}"


def _count_and_threshold(text: str) -> tuple[int, float]:
    count, _, threshold = text.partition("=")
    try:
        return int(count), float(threshold)
    except ValueError:
        raise UsageError(f"--photo-count {text}: give a number of photos and a score, such as 3=0.6") from None


def _changes_text(found: dict[str, Any]) -> str:
    """What a scenario changes, such as `threshold 0.45 -> 0.4`."""
    return ", ".join(
        f"{name.replace('_', ' ')} {_value_text(_before(found, name))} -> {_value_text(value)}"
        for name, value in found["changes"].items()
    )


def _before(found: dict[str, Any], name: str) -> Any:
    return found["model"] if name == "model" else found["settings"][name]


def _value_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{n} photos {threshold:g}" for n, threshold in value.items()) or "none"
    return "none" if value is None else value if isinstance(value, str) else f"{value:g}"


def _show(found: dict[str, Any]) -> None:
    print_line(f"{found['messages']} messages of {found['days']:.0f} days")
    print_line(f"today: threshold {_value_text(found['settings']['threshold'])}")
    print_line(f"change: {_changes_text(found) or 'nothing'}")
    sides = (found["today"], found["scenario"])
    print_table(
        ("", "today", "then"),
        [
            *((name.replace("_", " "), *(side["outcomes"][name] for side in sides)) for name in sides[0]["outcomes"]),
            ("requests a day", *(f"{side['requests_per_day']:.1f}" for side in sides)),
            ("staff look at, a day", *(f"{side['staff_per_day']:.1f}" for side in sides)),
            ("bad photos caught", *(_share_text(side["bad_caught"]) for side in sides)),
            ("needless requests", *(_share_text(side["needless"]) for side in sides)),
            ("needless, at least", *(percent(side["needless_at_least"]) for side in sides)),
        ],
    )
    reproduced = found["reproduced"]
    print_line(
        f"today's settings give {percent(reproduced['value'])} of the stored decisions; "
        f"{found['labelled']} of these messages are reviewed or decided by a person, {found['appealed']} only appealed"
    )
    if found["left_out"]:
        print_line(f"left out: {found['left_out']} messages with photos that this model has not scored")


def _share_text(share: dict[str, Any]) -> str:
    if share["value"] is None:
        return "unknown"
    low, high = share["interval"]
    return f"{100 * share['value']:.0f} % ({100 * low:.0f} to {100 * high:.0f}), n = {share['n']}"
