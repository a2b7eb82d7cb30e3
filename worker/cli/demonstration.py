"""What `triage demo` does: the whole product on this machine, from photos to flagged retakes."""

import os
import shutil
import signal
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from triage.domain.ids import MessageId
from triage.domain.messages import IncomingAttachment, IncomingMessage, RetakeRequest
from triage.domain.replies import Reply
from triage.domain.reporting import Period
from triage.domain.states import Outcome, RetakeStatus
from triage.errors import TriageError
from triage.files.hashing import sha256_of
from triage.model.starter import STARTER_FOLDER
from triage.reports.explain import history
from triage.reports.html import render_html
from triage.reports.summary import report
from triage.retakes.requests import list_requests
from worker.cli.demo_photos import Photo
from worker.cli.output import account, findings_text, outcome_text, percent, print_reply
from worker.cli.tables import Column, Styled, print_line, print_table
from worker.cli.waiting import wait_until_done
from worker.embedded.stack import EmbeddedStack
from worker.services import Services, open_services
from worker.settings import BlobSettings, DatabaseSettings, ModelSettings, RedisSettings, Settings
from worker.state_folder import default_state_folder

_MESSAGES_SHOWN = 40


def run_demo(messages: dict[str, list[Photo]], skipped: Mapping[str, int]) -> None:
    """Starts the embedded services and workers, sends the messages, prints their outcomes and stops everything.

    Args:
        skipped: numbers of files that are not in the messages, by reason.
    """
    settings = demo_settings("demo")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stops the services in order, as Ctrl-C does
    with EmbeddedStack(settings.embedded, worker_environment()) as stack:
        stack.start_services()
        stack.recreate_database()
        stack.migrate()
        shutil.rmtree(settings.embedded.blobs, ignore_errors=True)
        settings.embedded.prepare()
        _print_up("Postgres, Redis, tables")
        with open_services(settings) as services:
            _print_up(f"model: {live_model(services)}")
            stack.start_workers(["scoring", "intake"])
            _print_up("scoring worker, intake worker with beat")
            _run(services, messages, skipped)
    print_line()
    print_line("everything stopped")


def _run(services: Services, messages: dict[str, list[Photo]], skipped: Mapping[str, int]) -> None:
    accepted = services.intake.enqueue([_incoming(name, photos) for name, photos in messages.items()])
    n_photos = sum(map(len, messages.values()))
    print_line()
    print_line(f"{len(accepted)} messages with {n_photos} photos enqueued; waiting for the worker")
    print_line()
    if remaining := wait_until_done(services, None, timeout=60 + 30 * n_photos):
        raise TriageError(f"{remaining} photos are still pending: see the logs in {services.settings.embedded.logs}")
    with services.sessions() as session:
        stories = [history(session, MessageId(acceptance.id)) for acceptance in accepted]
    requests = list_requests(services.sessions, status=RetakeStatus.FLAGGED, limit=len(accepted))
    summary = report(services.sessions, Period())
    _show_messages(stories[:_MESSAGES_SHOWN], messages)
    if len(stories) > _MESSAGES_SHOWN:
        print_line(f"... and {len(stories) - _MESSAGES_SHOWN} more")
    counts = summary["messages"]
    by_outcome = ", ".join(f"{outcome.replace('_', ' ')} {counts[outcome]}" for outcome in Outcome)
    print_line()
    print_line(f"{counts['total']} messages: {by_outcome}; retake rate {percent(counts['retake_rate'])}")
    asked = {request.message for request in requests}
    names = ", ".join([name for name in messages if name in asked][:_MESSAGES_SHOWN])
    flagged = f"{len(requests)} retake request{'' if len(requests) == 1 else 's'} flagged"
    print_line(flagged + (f": {names}" if requests else ""))
    _show_replies(requests)
    codes = [each["error_code"] for story in stories for each in story["attachments"] if each["error_code"]]
    print_line(account(n_photos, codes, skipped))
    print_line("the starter model is for trying the product, not for patient care")
    page = services.settings.embedded.root / "report.html"
    page.write_text(render_html(summary), encoding="utf-8")
    print_line(f"report: {page}")


def _print_up(part: str) -> None:
    print_line(Styled("up", "green"), part)


def _show_messages(stories: Sequence[dict[str, Any]], messages: dict[str, list[Photo]]) -> None:
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


def _show_replies(requests: Sequence[RetakeRequest]) -> None:
    """Prints what the patients of the flagged messages would be sent, each text once."""
    messages = defaultdict[Reply, list[str]](list)
    for request in reversed(requests):
        if request.reply is not None:
            messages[request.reply].append(request.message)
    for reply, names in messages.items():
        print_line()
        print_line(f"reply to {', '.join(names)}:")
        print_reply(reply)
    print_line()


def _incoming(name: str, photos: Sequence[Photo]) -> IncomingMessage:
    return IncomingMessage("demo", name, [IncomingAttachment(data=photo.data) for photo in photos])


def live_model(services: Services) -> str:
    """Makes the starter model live, and returns its label."""
    model = services.registry.add_folder(STARTER_FOLDER, actor="demo")
    services.registry.promote(model.card.weights_sha256, actor="demo")
    return model.card.label


def demo_settings(folder: str, **groups: Any) -> Settings:
    """Settings of the embedded services in a folder for a demo; other services in the environment are ignored."""
    root = Path(os.environ.get("TRIAGE_HOME", default_state_folder())) / folder
    services = {"database": DatabaseSettings(), "redis": RedisSettings(), "blobs": BlobSettings()}
    return Settings(home=root, models=ModelSettings(), **services | groups)


def worker_environment() -> dict[str, str]:
    """The variables of this process for the workers of a demo."""
    kept = ("TRIAGE_SCORER__", "TRIAGE_LOG__")
    return {
        name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_") or name.startswith(kept)
    }
