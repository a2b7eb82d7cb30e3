"""Commands about runs: `rescore`, `train`, `runs`."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import click

from triage.dataset.manifest import read_manifest
from triage.domain.ids import RunId
from triage.domain.runs import MOST_UNLABELLED, Run, Wait
from triage.domain.states import RunKind, RunStatus
from triage.errors import TriageError, UsageError
from triage.training.config import PretrainingConfig, TrainingConfig
from worker.cli.commands import command, group
from worker.cli.dataset import print_small_parts
from worker.cli.named_model import registered_name
from worker.cli.options import POSITIVE, ROWS, SHARE, Moment, by_option
from worker.cli.output import json_option, local_time, print_document, write_text
from worker.cli.progress import ProgressLine
from worker.cli.run_text import describe_wait, print_run
from worker.cli.tables import Column, print_line, print_table
from worker.services import Services, open_services

_DEFAULTS = TrainingConfig()
_BY_DEFAULT: Final = click.core.ParameterSource.DEFAULT


@command()
@click.option("--model", "name", help="The model: name, NAME@VERSION, SHA-256 or ./folder. [default: the live model]")
@click.option(
    "--since", type=Moment("%Y-%m-%d", written="YYYY-MM-DD"), help="Messages received on or after this day (UTC)."
)
@click.option("--limit", type=ROWS, help="At most this many photos.")
@click.option("--wait", is_flag=True, help="Wait until the run ends.")
@by_option("Who starts the run")
@json_option
def rescore(name: str | None, since: datetime | None, limit: int | None, by: str, *, wait: bool, as_json: bool) -> None:
    """Score photos that a model has not scored yet. No decision changes; the inbox has priority."""
    from triage.scoring.start import start_rescoring  # deferred: imports SQLAlchemy

    with open_services() as services:
        start = since.replace(tzinfo=UTC) if since else None
        run = start_rescoring(
            services.sessions, model=name and registered_name(name), since=start, limit=limit, actor=by
        )
        services.wake_ups.inbox()
        _show(services, run, wait=wait, as_json=as_json)


@command()
@click.option("--manifest", type=click.Path(path_type=Path), help="Labelled photos, CSV or Parquet.")
@click.option("--pretrain", type=click.Choice(["contrastive"]), help="Learn from photos without labels instead.")
@click.option("--photos", type=click.Path(path_type=Path), help="With --pretrain: photos of this folder and below.")
@click.option(
    "--photos-of-messages",
    type=click.IntRange(2, MOST_UNLABELLED),
    help="With --pretrain: this number of photos of messages, the newest ones.",
)
@click.option("--name", default="trained", show_default=True, help="Name of the new model.")
@click.option("--new-version", is_flag=True, help="Make the next version of the name, if a model has it.")
@click.option(
    "--init",
    default="auto",
    show_default=True,
    help="Initial weights: imagenet, starter, random, a file of torchvision's VGG16 weights, or a model (name, "
    "NAME@VERSION, SHA-256 or ./folder). `auto` is imagenet, or starter if ImageNet's weights cannot be downloaded.",
)
@click.option("--epochs", type=click.IntRange(1), default=_DEFAULTS.epochs, show_default=True)
@click.option("--patience", type=click.IntRange(1), default=_DEFAULTS.patience, show_default=True)
@click.option("--batch-photos", type=click.IntRange(1), default=_DEFAULTS.batch_photos, show_default=True)
@click.option("--learning-rate", type=POSITIVE, default=_DEFAULTS.learning_rate, show_default=True)
@click.option(
    "--frozen-convolutions", type=click.IntRange(0, 13), default=_DEFAULTS.frozen_convolutions, show_default=True
)
@click.option("--good-votes", type=click.IntRange(1), default=_DEFAULTS.good_votes, show_default=True)
@click.option("--head", type=click.Choice(["coral", "independent"]), default=_DEFAULTS.head, show_default=True)
@click.option("--pooling", type=click.Choice(["mean", "min"]), default=_DEFAULTS.pooling, show_default=True)
@click.option("--region-of-interest", is_flag=True, help="Crop photos to the bounding boxes of the manifest.")
@click.option(
    "--threshold-from", type=click.Choice(["validation", "train"]), default=_DEFAULTS.threshold_from, show_default=True
)
@click.option(
    "--target-ppv",
    type=SHARE,
    help="Choose the threshold for this PPV instead of Youden's index.",
)
@click.option("--recalibrate/--no-recalibrate", default=_DEFAULTS.recalibrate, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=_DEFAULTS.seed, show_default=True)
@click.option(
    "-o",
    "--split-output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the splits of a manifest without. [default: NAME.split.csv beside NAME.csv]",
)
@click.option("--wait", is_flag=True, help="Wait until the run ends.")
@by_option("Who starts it")
@json_option
def train(
    manifest: Path | None,
    pretrain: str | None,
    photos: Path | None,
    photos_of_messages: int | None,
    split_output: Path | None,
    by: str,
    *,
    wait: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a model on reviewers' votes and register it as a candidate.

    A manifest without splits is split into 75 % training, 10 % validation and 15 % test photos, and the splits are
    written to a file, with which the model is evaluated later.

    With --pretrain contrastive, the result is no candidate but initial weights for a training (--init). By default that
    takes 20 epochs in batches of 32 photos, with the learning rate 0.01 and no frozen convolutions.
    """
    from triage.training.start import start_training  # deferred: imports SQLAlchemy
    from triage.training.start_pretraining import start_pretraining  # deferred: imports SQLAlchemy

    named = {name: settings.pop(name) for name in ("name", "init", "new_version")} | {"actor": by}
    with open_services() as services:
        stores = services.sessions, services.registry
        if pretrain is None:
            if manifest is None or photos is not None or photos_of_messages is not None:
                raise UsageError("give --manifest, or --pretrain contrastive with --photos or --photos-of-messages")
            run, _ = start_training(*stores, manifest=manifest, settings=settings, split_output=split_output, **named)
            written = str(run.parameters["manifest"])
            if written != str(manifest.resolve()):
                print_line(f"splits: {written}", err=as_json)
                found = read_manifest(Path(written))
                print_small_parts(found, good_votes=settings["good_votes"], err=as_json)
        else:
            if manifest is not None or split_output is not None or (photos is None) == (photos_of_messages is None):
                raise UsageError("give --pretrain with either --photos or --photos-of-messages, without --manifest")
            run, _ = start_pretraining(
                *stores, photos=photos, photos_of_messages=photos_of_messages, settings=_given(settings), **named
            )
        services.wake_ups.training()
        _show(services, run, wait=wait, as_json=as_json)


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a pretraining that were given: its defaults are others than those of a training.

    Raises:
        UsageError: a setting does not apply to a pretraining.
    """
    ctx = click.get_current_context()
    given = {name: value for name, value in settings.items() if ctx.get_parameter_source(name) is not _BY_DEFAULT}
    if unused := sorted(given.keys() - PretrainingConfig.model_fields.keys()):
        raise UsageError(f"--{unused[0].replace('_', '-')} has no effect with --pretrain: leave it out")
    return given


@group(lists=True)
def runs() -> None:
    """Show, follow and cancel training and rescoring runs. Without a command: `list`."""


@runs.command("list")
@click.option("--kind", type=click.Choice([kind.value for kind in RunKind]))
@click.option("--limit", type=ROWS, default=20, show_default=True)
@click.option("--follow", "run_to_follow", type=click.UUID, help="Show the progress of this run until it ends.")
@click.option("--cancel", "run_to_cancel", type=click.UUID, help="Cancel this run.")
@click.option("--flips", "run_to_compare", type=click.UUID, help="Show the flips of a rescoring run by day and source.")
@by_option("Who cancels")
@json_option
def list_(
    kind: str | None,
    limit: int,
    run_to_follow: UUID | None,
    run_to_cancel: UUID | None,
    run_to_compare: UUID | None,
    by: str,
    *,
    as_json: bool,
) -> None:
    """Show runs, newest first; or follow or cancel one."""
    from triage.runs import cancel_run, find_run, list_runs  # deferred: imports SQLAlchemy
    from worker.run_waits import find_waits  # deferred: imports SQLAlchemy

    with open_services() as services:
        if run_to_compare is not None:
            _show_flips(services, run_to_compare, as_json=as_json)
            return
        if run_to_follow is not None:
            _show(services, find_run(services.sessions, RunId(run_to_follow)), wait=True, as_json=as_json)
            return
        if run_to_cancel is not None:
            run = cancel_run(services.sessions, RunId(run_to_cancel), by=by)
            print_line(f"run {run.id}: cancelled")
            return
        found = list_runs(services.sessions, kind=RunKind(kind) if kind else None, limit=limit)
        waits = find_waits(services, found)
        if as_json:
            from worker.documents.operations import RunDocument  # deferred: imports pydantic

            print_document([RunDocument.of(run, waits.get(run.id)) for run in found])
            return
        print_table(
            ("run", "kind", "status", Column("created", 1), Column("progress", wrap=True)),
            ((r.id, r.kind, r.status, local_time(r.created_at), _describe(r, waits.get(r.id))) for r in found),
        )


@runs.command()
@click.argument("run_id", metavar="RUN", type=click.UUID)
@click.option("--html", type=click.Path(path_type=Path), help="Write the learning curve as a page to this file.")
@json_option
def show(run_id: UUID, html: Path | None, *, as_json: bool) -> None:
    """Show a run, and the epochs of a training."""
    from triage.runs import find_run  # deferred: imports SQLAlchemy
    from worker.run_waits import find_waits  # deferred: imports SQLAlchemy

    with open_services() as services:
        run = find_run(services.sessions, RunId(run_id))
        wait = find_waits(services, [run]).get(run.id)
    if html is not None:
        if run.kind is not RunKind.TRAINING:
            raise UsageError("--html needs a training run: a rescoring has no learning curve")
        from triage.reports.learning import render_run_html  # deferred: imports jinja2

        write_text(html, render_run_html(run))
    if as_json:
        from worker.documents.operations import RunDocument  # deferred: imports pydantic

        print_document(RunDocument.of(run, wait))
    else:
        print_run(run, _describe(run, wait))
    if html is not None:
        print_line(f"{html}: the learning curve", err=as_json)


def _show_flips(services: Services, run_id: UUID, *, as_json: bool) -> None:
    from triage.reports.flips import flips_of  # deferred: imports SQLAlchemy

    flips = flips_of(services.sessions, RunId(run_id))
    if as_json:
        from worker.documents.flips import FlipsDocument  # deferred: imports pydantic

        print_document([FlipsDocument.model_validate(flip) for flip in flips])
        return
    print_table(
        ("received", "source", "photos", "good to bad", "bad to good"),
        ((f["day"], f["source"], f["photos"], f["good_to_bad"], f["bad_to_good"]) for f in flips),
    )


def _show(services: Services, run: Run, *, wait: bool, as_json: bool) -> None:
    from worker.run_waits import find_waits  # deferred: imports SQLAlchemy

    if wait:
        run = _follow(services, run)
    why = find_waits(services, [run]).get(run.id)
    if as_json:
        from worker.documents.operations import RunDocument  # deferred: imports pydantic

        print_document(RunDocument.of(run, why))
    else:
        description = _describe(run, why)
        print_line(f"{run.kind.value} run {run.id}: {run.status.value}{f', {description}' if description else ''}")
    if run.status is RunStatus.FAILED:
        raise TriageError(run.error or "the run failed")
    if wait and run.status is RunStatus.CANCELLED:
        raise TriageError("the run was cancelled")


def _follow(services: Services, run: Run) -> Run:
    from triage.runs import find_run  # deferred: imports SQLAlchemy
    from worker.run_waits import find_waits  # deferred: imports SQLAlchemy

    with ProgressLine() as line:
        while True:
            run = find_run(services.sessions, run.id)
            wait = find_waits(services, [run]).get(run.id)
            line.show(f"{run.kind.value} {_describe(run, wait)}", run.share_done)
            if not run.is_open:
                return run
            time.sleep(0.5)


def _describe(run: Run, wait: Wait | None = None) -> str:
    progress: dict[str, Any] = dict(run.progress)
    if run.error:
        return run.error
    if wait is not None:
        return f"{'' if run.status is RunStatus.PENDING else 'its worker was lost; '}{describe_wait(wait)}"
    if not progress:
        return ""
    if run.kind is RunKind.RESCORING:
        flips = f"good to bad {progress['good_to_bad']}, bad to good {progress['bad_to_good']}"
        text = f"{progress['scored']} of {progress['total']} photos, {progress['failed']} failed, {flips}"
        left = progress.get("seconds_left") if run.status is RunStatus.RUNNING else None
        return text if left is None else f"{text}, about {timedelta(seconds=round(left))} left"
    return _describe_training(progress)


def _describe_training(progress: dict[str, Any]) -> str:
    stage, epochs = progress.get("stage"), progress["epochs"]
    rate = progress.get("photos_per_second")
    speed = [f"{rate:.3g} photos/s"] if rate and stage in {"reading photos", "training"} else []
    done = f"{progress.get('photos', 0)} of {progress.get('of_photos', '?')}"
    if stage == "reading photos" and not epochs:
        return ", ".join([f"reading photo {done}", *speed])
    parts = [_describe_epoch(epochs[-1]) if epochs else f"epoch {progress.get('epoch', 0)}"]
    if "model" in progress:
        return f"{parts[0]}, model {progress['model']} {progress.get('weights_sha256', '')[:12]}"
    if stage == "training" and "photos" in progress and not epochs:
        parts.append(f"photo {done}")
    parts += speed
    if (left := progress.get("seconds_left")) is not None:
        parts.append(f"at most {timedelta(seconds=round(left))} left")
    return ", ".join(parts)


def _describe_epoch(epoch: dict[str, Any]) -> str:
    loss = epoch["train_loss"]
    parts = [f"epoch {epoch['number']}: loss {'unknown' if loss is None else f'{loss:.4f}'}"]
    if epoch["validation_loss"] is not None:
        parts.append(f"validation {epoch['validation_loss']:.4f}")
    if epoch["validation_auc"] is not None:
        parts.append(f"AUC {epoch['validation_auc']:.3f}")
    return ", ".join(parts)
