"""Commands about messages: `enqueue`, `wait`, `explain`, `override`."""

from mimetypes import guess_type
from pathlib import Path
from typing import Any

import click

from triage.domain.ids import new_id
from triage.domain.messages import Acceptance, IncomingAttachment, IncomingMessage
from triage.domain.replies import Reply
from triage.domain.states import Fitzpatrick, Outcome
from triage.domain.text import UNDETERMINED
from triage.errors import TriageError, UsageError
from triage.files.kinds import is_folder, refuse_device
from worker.cli.commands import command
from worker.cli.maps import LEGEND, map_option, write_stored_map
from worker.cli.options import FiniteRange, by_option
from worker.cli.output import count, findings_text, json_option, local_time, outcome_text, print_document, print_reply
from worker.cli.tables import Column, print_line, print_table
from worker.services import open_services


@command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--message-id", help="The sender's id of the message. [default: a new UUID]")
@click.option("--source", default="cli", show_default=True, help="The sending system.")
@click.option("--thread", help="The sender's id of the conversation. [default: the message id]")
@click.option("--role", default="patient", show_default=True, help="Who wrote the message.")
@click.option("--locale", default=UNDETERMINED, help="Language of the reply, such as es-MX. [default: by setting]")
@click.option("--group", help="Skin site of the photos. One acceptable photo per group is sufficient.")
@click.option("--opted-out", is_flag=True, help="Never request a retake from this sender.")
@click.option("--fitzpatrick", type=click.Choice(list(Fitzpatrick)), help="The patient's skin type, if known.")
@json_option
def enqueue(paths: tuple[str, ...], message_id: str | None, *, as_json: bool, group: str | None, **sender: Any) -> None:
    """Enqueue photos as one message. PATHS are files, or URIs below an allowed root."""
    attachments = [_attachment(path, group) for path in paths]
    message = IncomingMessage(
        external_id=str(new_id()) if message_id is None else message_id,
        attachments=attachments,
        source=sender["source"],
        thread=sender["thread"],
        role=sender["role"],
        locale=sender["locale"],
        opted_out=bool(sender["opted_out"]),
        fitzpatrick=Fitzpatrick(sender["fitzpatrick"]) if sender["fitzpatrick"] else None,
    )
    with open_services() as services:
        [acceptance] = services.intake.enqueue([message])
    if as_json:
        from worker.documents.messages import AcceptanceDocument  # deferred: imports pydantic

        print_document(AcceptanceDocument.of(acceptance))
        return
    print_line(f"message {acceptance.external_id}: {count(len(acceptance.attachments), 'photo')}, {_state(acceptance)}")


def _state(acceptance: Acceptance) -> str:
    """What was stored, and what was not because the ids are known."""
    conflicts = [each.external_id for each in acceptance.attachments if each.conflict]
    unchanged = dict.fromkeys([*acceptance.unchanged, *(name for a in acceptance.attachments for name in a.unchanged)])
    unchanged.pop("opted_out", None)  # said already; a new message is opted out if its thread is
    parts = ["accepted" if acceptance.created else "already known"]
    if acceptance.opted_out:
        parts.append("opted out of retake requests")
    if requeued := [each.external_id for each in acceptance.attachments if each.requeued]:
        parts.append(f"requeued: {', '.join(requeued)}")
    if parked := [f"{each.external_id} ({each.error_code})" for each in acceptance.attachments if each.error_code]:
        parts.append(f"not assessable: {', '.join(parked)}")
    if conflicts:
        parts.append(f"another photo is stored as {', '.join(conflicts)} and kept")
    if unchanged:
        parts.append(f"kept as submitted before: {', '.join(unchanged)}")
    if parts == ["already known"]:
        parts.append("nothing changed")
    return ", ".join(parts)


def _attachment(path: str, group: str | None) -> IncomingAttachment:
    if "://" in path:
        return IncomingAttachment(uri=path, group=group)
    try:
        return IncomingAttachment(
            data=refuse_device(Path(path)).read_bytes(), group=group, declared_type=guess_type(path)[0]
        )
    except (OSError, ValueError) as error:
        reason = "this is a folder: give files" if is_folder(Path(path)) else "the file cannot be read: check the path"
        raise UsageError(f"{path}: {reason}; nothing was enqueued") from error


@command()
@click.option("--message-id", help="Wait for one message only.")
@click.option("--source", help="Source of the message, if several sources use the same id.")
@click.option(
    "--timeout", type=FiniteRange(0, 604_800), default=600, show_default=True, help="Maximum wait in seconds."
)
def wait(message_id: str | None, source: str | None, timeout: float) -> None:
    """Wait until no photo is pending. Of one message, also says the outcome."""
    from triage.reports.waiting import find_message, outcome_of  # deferred: imports SQLAlchemy
    from worker.cli.waiting import wait_until_done  # deferred: imports SQLAlchemy

    with open_services() as services:
        message = None if message_id is None else find_message(services.sessions, message_id, source)
        remaining = wait_until_done(services, message, timeout)
        outcome = None if message is None else outcome_of(services.sessions, message)
    if remaining:
        raise TriageError(f"still pending: {count(remaining, 'photo')}: check the scoring worker with `triage doctor`")
    print_line(f"no photo is pending{f'; outcome: {outcome}' if outcome else ''}")


@command()
@click.argument("message_id")
@click.option("--source", help="Source of the message, if several sources use the same id.")
@by_option("Who reads the history")
@map_option
@click.option("--photo", help="The sender's id of the photo to map, if the message has several.")
@json_option
def explain(
    message_id: str, source: str | None, by: str, picture: Path | None, photo: str | None, *, as_json: bool
) -> None:
    """Show the whole history of a message. The audit trail records who read it."""
    from triage.reports.explain import explain as explain_message  # deferred: imports SQLAlchemy

    if photo is not None and picture is None:
        raise UsageError("--photo chooses the photo of --map: give both")
    with open_services() as services:
        if picture is not None:
            write_stored_map(picture, services, message_id, source, photo, by=by)
        story = explain_message(services.sessions, message_id, source, by=by)
    if as_json:
        from worker.documents.messages import MessageHistoryDocument  # deferred: imports pydantic

        print_document(MessageHistoryDocument.model_validate(story))
        return
    forgotten = f", forgotten {local_time(story['forgotten_at'])}" if story["forgotten_at"] else ""
    received = local_time(story["received_at"], "seconds")
    opted_out = ", opted out of retake requests" if story["opted_out"] else ""
    print_line(f"message {story['message_id']} from {story['source']}, received {received}{forgotten}{opted_out}")
    print_table(
        (
            "photo",
            "status",
            "score",
            Column("threshold", 1),
            Column("grade", 3),
            Column("findings", 2, wrap=True),
            Column("model", 4),
        ),
        (
            (
                attachment["attachment_id"],
                attachment["error_code"] or attachment["status"],
                f"{verdict['score']:.3f}" if verdict else "",
                f"{verdict['threshold']:.3f}" if verdict else "",
                verdict["grade"] if verdict else "",
                findings_text(verdict["findings"], acceptable=verdict["acceptable"]) if verdict else "",
                verdict["model"] if verdict else "",
            )
            for attachment in story["attachments"]
            for verdict in (attachment["verdicts"] or [None])
        ),
    )
    print_table(
        ("decided", "outcome", "reason", Column("by", 1), Column("note", 2, wrap=True)),
        (
            (
                local_time(decision["created_at"], "seconds"),
                outcome_text(decision["outcome"]),
                decision["reason"],
                decision["actor"] or decision["model"] or decision["decided_by"],
                decision["note"],
            )
            for decision in story["decisions"]
        ),
    )
    if story["audit"]:
        print_table(
            ("at", "audit event", "by"),
            ((local_time(event["at"], "seconds"), event["action"], event["actor"]) for event in story["audit"]),
        )
    for request in story["retake_requests"]:
        maybe = " (may have been sent)" if request["status"] != "sent" and request["may_have_been_sent"] else ""
        print_line(f"retake request {request['id']}: {request['status']}{maybe}")
        if request["reply"]:
            print_reply(Reply(**request["reply"]))
    if picture is not None:
        print_line(f"map: {picture}: {LEGEND}")


@command()
@click.argument("message_id")
@click.option("--source", help="Source of the message, if several sources use the same id.")
@click.option("--decision", type=click.Choice([Outcome.PASS.value, Outcome.RETAKE.value]), required=True)
@by_option("Who decides", required=True)
@click.option("--reason", required=True, help="Reason of the decision.")
@json_option
def override(message_id: str, source: str | None, decision: str, by: str, reason: str, *, as_json: bool) -> None:
    """Decide a message as a person. No model changes that decision later."""
    from triage.retakes.override import override as override_message  # deferred: imports SQLAlchemy

    with open_services() as services:
        made = override_message(
            services.sessions,
            message_id,
            Outcome(decision),
            source=source,
            by=by,
            reason=reason,
            policy=services.settings.retake_policy,
        )
    if as_json:
        from worker.documents.messages import OverrideDocument  # deferred: imports pydantic

        print_document(OverrideDocument.of(made))
    else:
        print_line(f"message {made.message_id}: {made.outcome.value}, decided by {made.actor}")
