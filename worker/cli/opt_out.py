"""`triage opt-out`: stop retake requests for a thread."""

import click

from worker.cli.commands import command
from worker.cli.options import by_option
from worker.cli.output import count, json_option, print_document
from worker.cli.tables import print_line
from worker.services import open_services


@command()
@click.option("--source", required=True, help="The sending system.")
@click.option("--thread", required=True, help="The sender's id of the thread; without one, the message id.")
@by_option("Who opts out, or takes it back", required=True)
@click.option("--undo", is_flag=True, help="Allow requests for messages that arrive from now on.")
@json_option
def opt_out(source: str, thread: str, by: str, *, undo: bool, as_json: bool) -> None:
    """Never request a retake in a thread, even one that is not known yet. Withdraws its open requests."""
    from triage.retakes import opt_out as use_cases  # deferred: imports SQLAlchemy

    with open_services() as services:
        if undo:
            done = use_cases.undo_opt_out(services.sessions, source=source, thread=thread, by=by)
        else:
            policy = services.settings.retake_policy
            done = use_cases.opt_out(services.sessions, source=source, thread=thread, by=by, policy=policy)
    if as_json:
        from worker.documents.opt_out import ThreadOptOutDocument  # deferred: imports pydantic

        print_document(ThreadOptOutDocument.of(done))
        return
    state = "opted out" if done.opted_out else "not opted out: retake requests are allowed for later messages"
    print_line(f"thread {done.thread} of {done.source}: {'' if done.changed else 'already '}{state}")
    if done.requests_withdrawn:
        print_line(f"withdrawn: {count(len(done.requests_withdrawn), 'retake request')}")
