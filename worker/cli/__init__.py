"""The command line, `triage`. Results go to stdout, logs and errors to stderr.

Exit codes:
    0: done.
    1: the work failed, or its answer is no: a run failed, a part is stalled, a lease is lost, a lock is held.
    2: the request is wrong: an argument, a setting, or what they name (a file, a folder, a model, a message). A service
        that refuses this process, for example because of a wrong password, counts as a wrong setting.
    3: a service is not reachable, or cannot do its work now: retry.
"""

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Final, NamedTuple, NoReturn

import click

from triage.errors import DefectError, TriageError, UsageError, causes_of
from worker.cli.tables import print_line, print_text
from worker.codes import EXIT_CODES, code_of
from worker.hints import with_hint

_COLLECT_AFTER: Final = 50_000
"""Allocations between collections. Imports allocate objects that live until exit; looking for garbage among them every
700 allocations, Python's default, takes a tenth of the start of a command."""


class _Entry(NamedTuple):
    """Where a command is declared, and its line in `triage --help`."""

    path: str
    help: str


_COMMANDS: Final = {
    "demo": _Entry("worker.cli.demo:demo", "Run the whole product on this machine with sample photos."),
    "up": _Entry("worker.cli.services:up", "Run Postgres, Redis and workers on this machine."),
    "down": _Entry("worker.cli.services:down", "Stop what `triage up` started."),
    "status": _Entry("worker.cli.services:status", "Show which parts run on this machine."),
    "worker": _Entry("worker.cli.services:worker", "Run one worker in the foreground."),
    "beat": _Entry("worker.cli.services:beat", "Run beat in the foreground."),
    "health": _Entry("worker.cli.services:health", "Exit 1 if a part is stalled."),
    "metrics": _Entry("worker.cli.services:metrics", "Serve metrics of the database to Prometheus."),
    "score": _Entry("worker.cli.score:score", "Score photos without a queue or a database."),
    "enqueue": _Entry("worker.cli.messages:enqueue", "Enqueue photos as one message."),
    "wait": _Entry("worker.cli.messages:wait", "Wait until no photo is pending."),
    "explain": _Entry("worker.cli.messages:explain", "Show the whole history of a message."),
    "retry": _Entry("worker.cli.retry:retry", "Try parked photos again."),
    "override": _Entry("worker.cli.messages:override", "Decide a message as a person."),
    "appeal": _Entry("worker.cli.reviews:appeal", "Say that a retake request was needless."),
    "review": _Entry("worker.cli.reviews:review", "Record a review of a retake request."),
    "photo-reviews": _Entry("worker.cli.photo_reviews:photo_reviews", "Create and follow blind reviews of photos."),
    "sample": _Entry("worker.cli.reviews:sample", "Draw requests to review at random."),
    "retakes": _Entry("worker.cli.retakes:retakes", "Collect retake requests: list, claim, acknowledge, withdraw."),
    "replies": _Entry("worker.cli.replies:replies", "Check and preview what patients read."),
    "opt-out": _Entry("worker.cli.opt_out:opt_out", "Never request a retake in a thread."),
    "decisions": _Entry("worker.cli.decisions:decisions", "Read the decisions after a cursor."),
    "fhir": _Entry("worker.cli.fhir:fhir", "Check the EHR's FHIR server before going live."),
    "arrivals": _Entry("worker.cli.arrivals:arrivals", "Show, retry and drop messages that are read on the EHR."),
    "deliveries": _Entry("worker.cli.deliveries:deliveries", "Show, retry and drop events for other systems."),
    "report": _Entry("worker.cli.report:report", "Report outcomes, reasons, times and what requests achieve."),
    "drift": _Entry("worker.cli.drift:drift", "Compare recent photos with those at the promotion."),
    "simulate": _Entry("worker.cli.simulate:simulate", "Replay a period with other thresholds or limits."),
    "proposals": _Entry("worker.cli.simulate:proposals", "List, show and apply saved simulations."),
    "rescore": _Entry("worker.cli.runs:rescore", "Score photos again with another model."),
    "dataset": _Entry("worker.cli.dataset:dataset", "Check, split, describe and import labelled photos."),
    "label-next": _Entry("worker.cli.label_next:label_next", "Choose the photos whose labels teach a model most."),
    "train": _Entry("worker.cli.runs:train", "Train a model on reviewers' votes."),
    "predict": _Entry("worker.cli.predict:predict", "Write a model's predictions for labelled photos as a table."),
    "compare": _Entry("worker.cli.compare:compare", "Compare two models on the same photos."),
    "evaluate": _Entry("worker.cli.evaluate:evaluate", "Evaluate predictions, or a model on labelled photos."),
    "runs": _Entry("worker.cli.runs:runs", "Show, follow and cancel training and rescoring runs."),
    "models": _Entry("worker.cli.models:models", "Add, promote, roll back and retire models."),
    "serve": _Entry("worker.cli.serve:serve", "Serve the HTTP interface."),
    "console": _Entry("worker.cli.console:console", "Open the staff console on drawn photos (--demo)."),
    "clients": _Entry("worker.cli.clients:clients", "Add, list, rotate and revoke clients of the HTTP interface."),
    "staff": _Entry("worker.cli.staff:staff", "Add, list, change and disable accounts of the staff console."),
    "purge": _Entry("worker.cli.retention:purge", "Remove the bytes of old photos."),
    "blobs": _Entry("worker.cli.blobs:blobs", "Adopt a store of photos, such as a restored copy."),
    "forget": _Entry("worker.cli.retention:forget", "Forget a message: its sender's ids, texts, URIs and photos."),
    "archive": _Entry("worker.cli.archive:archive", "Move old threads from the database into files."),
    "audit": _Entry("worker.cli.audit:audit", "Verify the audit trail."),
    "db": _Entry("worker.cli.db:db", "Create the database's roles and tables, and check them."),
    "settings": _Entry("worker.cli.settings:settings", "Show every setting in force and its source."),
    "doctor": _Entry("worker.cli.doctor:doctor", "Check every part of the deployment."),
}


class _LazyGroup(click.Group):
    """Imports a command's module only when the command is used; `triage --help` imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name].path.split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="skin-photo-triage")
def cli() -> None:
    """Scores the photos of patients' messages and flags the messages that need a retake."""


def main() -> None:
    """Runs a command. Every failure ends in one line on stderr and an exit code."""
    gc.set_threshold(_COLLECT_AFTER)
    for stream in (sys.stdout, sys.stderr):  # a name that the stream cannot encode is printed escaped
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        _check_encoding(sys.argv[1:])
        result = cli.main(standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except click.Abort:
        _fail("interrupted", 1)
    except click.exceptions.NoArgsIsHelpError as error:
        print_text(f"{error.format_message()}\n")
        sys.exit(2)
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and error.ctx and not sys.argv[1:]:
            print_text(f"{error.ctx.get_help()}\n", err=True)
        _fail(" ".join(error.format_message().split()), error.exit_code)  # click lists choices on lines of their own
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader closed the pipe
        sys.exit(0)
    except (Exception, KeyboardInterrupt) as error:
        # a driver that Ctrl-C interrupts may raise an error of its own while it cleans up
        if any(isinstance(cause, KeyboardInterrupt) for cause in causes_of(error)):
            _fail("interrupted", 1)
        if isinstance(error, TriageError):
            _fail(with_hint(error), EXIT_CODES[code_of(error)])
        # a defect: print where, but never the text, which may contain patient data
        _fail(str(DefectError(type(error).__name__, error.__traceback__)), 1)


def _check_encoding(arguments: Sequence[str]) -> None:
    """Refuses bytes that are not UTF-8: ids and paths are stored and printed as text."""
    for number, argument in enumerate(arguments, start=1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(f"argument {number} is not valid UTF-8: correct it, or rename the file") from None


def _fail(message: str, code: int) -> NoReturn:
    print_line(f"triage: {message}", err=True)
    sys.exit(code)
