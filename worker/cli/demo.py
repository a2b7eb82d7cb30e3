"""`triage demo`: the whole product on this machine, from photos to flagged retakes, then everything stops."""

import io
import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import click

from triage.domain.ids import MessageId
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.domain.states import Outcome, RetakeStatus
from triage.errors import TriageError, UsageError
from triage.files.hashing import sha256_of
from triage.model.starter import STARTER_FOLDER
from triage.reports.explain import history
from triage.reports.html import render_html
from triage.reports.summary import Period, report
from triage.retakes.requests import list_requests
from triage.storage.database import database_errors
from worker.cli.messages import wait_until_done
from worker.cli.output import findings_text, outcome_text, percent
from worker.cli.tables import Column, Screen, Styled, print_table
from worker.embedded.stack import EmbeddedStack
from worker.services import Services
from worker.settings import BlobSettings, DatabaseSettings, ModelSettings, RedisSettings, Settings
from worker.state_folder import default_state_root

_SAMPLE_PHOTOS = 24
_MESSAGES_SHOWN = 40


@dataclass(frozen=True, slots=True)
class _Photo:
    name: str
    data: bytes


@click.command()
@click.argument("photos", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--all", "take_all", is_flag=True, help=f"Take all photos of the folder, not {_SAMPLE_PHOTOS} of them.")
def demo(photos: Path | None, *, take_all: bool) -> None:
    """Run the main job on this machine: embedded services, a real worker, photos in, verdicts and retakes out.

    PHOTOS is a folder with your own photos; without it the project draws a handful.
    """
    messages = _own_messages(photos, take_all=take_all) if photos else _drawn_messages()
    settings = _demo_settings()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped from outside as by Ctrl-C: in order
    with EmbeddedStack(settings.embedded, _worker_environment()) as stack:
        stack.start_services()
        stack.recreate_database()
        stack.migrate()
        shutil.rmtree(settings.embedded.blobs, ignore_errors=True)
        settings.embedded.prepare()
        _print_up("Postgres, Redis, tables")
        with Services(settings) as services:
            _print_up(f"model: {_live_model(services)}")
            stack.start_workers(["scoring", "intake"])
            _print_up("scoring worker, intake worker with beat")
            with database_errors():
                _run(services, messages)
    click.echo("\neverything stopped")


def _run(services: Services, messages: dict[str, list[_Photo]]) -> None:
    accepted = services.intake.enqueue([_incoming(name, photos) for name, photos in messages.items()])
    n_photos = sum(map(len, messages.values()))
    click.echo(f"\n{len(accepted)} messages with {n_photos} photos enqueued; waiting for the worker\n")
    if remaining := wait_until_done(services, None, timeout=60 + 30 * n_photos):
        raise TriageError(f"{remaining} photos are still pending: see the logs in {services.settings.embedded.logs}")
    with services.sessions() as session:
        stories = [history(session, MessageId(acceptance.id)) for acceptance in accepted]
    requests = list_requests(services.sessions, status=RetakeStatus.FLAGGED, limit=len(accepted))
    summary = report(services.sessions, Period())
    _show_messages(stories[:_MESSAGES_SHOWN], messages)
    if len(stories) > _MESSAGES_SHOWN:
        click.echo(f"... and {len(stories) - _MESSAGES_SHOWN} more")
    counts = summary["messages"]
    by_outcome = ", ".join(f"{outcome.replace('_', ' ')} {counts[outcome]}" for outcome in Outcome)
    click.echo(f"\n{counts['total']} messages: {by_outcome}; retake rate {percent(counts['retake_rate'])}")
    asked = {request.message for request in requests}
    names = ", ".join([name for name in messages if name in asked][:_MESSAGES_SHOWN])
    flagged = f"{len(requests)} retake request{'' if len(requests) == 1 else 's'} flagged"
    click.echo(flagged + (f": {names}" if requests else ""))
    click.echo("the starter model is for trying the product, not for care")
    page = services.settings.embedded.root / "report.html"
    page.write_text(render_html(summary), encoding="utf-8")
    click.echo(f"report: {page}")


def _print_up(part: str) -> None:
    click.echo(f"{Screen.of_stdout().paint(Styled('up', 'green'))}  {part}")


def _show_messages(stories: Sequence[dict[str, Any]], messages: dict[str, list[_Photo]]) -> None:
    rows: list[Sequence[object]] = []
    for story in stories:
        names = {sha256_of(photo.data): photo.name for photo in messages[story["message_id"]]}
        for index, attachment in enumerate(story["attachments"]):
            verdict = next(iter(attachment["verdicts"]), None)
            score = Styled(f"{verdict['score']:.3f}", "green" if verdict["acceptable"] else "red") if verdict else None
            rows.append(
                (
                    story["message_id"] if index == 0 else None,
                    outcome_text(story["outcome"]) if index == 0 else None,
                    names[attachment["sha256"]],
                    score or Styled(attachment["error_code"] or attachment["status"], "magenta"),
                    verdict["grade"] if verdict else None,
                    findings_text(verdict["findings"], acceptable=verdict["acceptable"]) if verdict else None,
                    verdict["model"] if verdict else None,
                )
            )
    columns = (
        "message",
        "outcome",
        "photo",
        "score",
        Column("grade", 2),
        Column("findings", 1, wrap=True),
        Column("model", 3),
    )
    print_table(columns, rows)


def _incoming(name: str, photos: Sequence[_Photo]) -> IncomingMessage:
    return IncomingMessage("demo", name, [IncomingAttachment(data=photo.data) for photo in photos])


def _live_model(services: Services) -> str:
    model = services.registry.add_folder(STARTER_FOLDER, actor="demo")
    services.registry.promote(model.card.weights_sha256, actor="demo")
    return model.card.label


def _own_messages(folder: Path, *, take_all: bool) -> dict[str, list[_Photo]]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not files:
        raise UsageError(f"{folder}: no files are there; name a folder with photos")
    if not take_all and len(files) > _SAMPLE_PHOTOS:
        files = files[:: len(files) // _SAMPLE_PHOTOS][:_SAMPLE_PHOTOS]
    photos = [_Photo(path.name, _read(path)) for path in files]
    messages: dict[str, list[_Photo]] = {}
    for number, size in enumerate(cycle((1, 2, 3)), start=1):  # messages of one, two and three photos in turn
        if not photos:
            break
        messages[f"message-{number}"], photos = photos[:size], photos[size:]
    return messages


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read") from error


def _drawn_messages() -> dict[str, list[_Photo]]:
    from triage.samples.drawing import draw_sample_messages

    return {
        message.message_id: [_Photo(photo.name, _jpeg(photo.image)) for photo in message.photos]
        for message in draw_sample_messages()
    }


def _jpeg(image: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92)
    return file.getvalue()


def _demo_settings() -> Settings:
    """Settings that reach no service of anybody else's, whatever the environment says."""
    root = Path(os.environ.get("TRIAGE_HOME", default_state_root())) / "demo"
    return Settings(
        home=root, database=DatabaseSettings(), redis=RedisSettings(), blobs=BlobSettings(), models=ModelSettings()
    )


def _worker_environment() -> dict[str, str]:
    kept = ("TRIAGE_SCORER__", "TRIAGE_LOG__")
    return {
        name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_") or name.startswith(kept)
    }
