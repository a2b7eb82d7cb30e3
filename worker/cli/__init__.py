"""The command line, `triage`. Results go to stdout, logs and errors to stderr.

Exit codes: 0 done, 1 the work failed, 2 wrong usage, 3 a service is not reachable.
"""

import importlib
import os
import sys
from typing import Final

import click

from triage.errors import ServiceUnavailableError, TriageError, UsageError, where

_COMMANDS: Final = {
    "demo": "worker.cli.demo:demo",
    "up": "worker.cli.services:up",
    "down": "worker.cli.services:down",
    "status": "worker.cli.services:status",
    "worker": "worker.cli.services:worker",
    "beat": "worker.cli.services:beat",
    "health": "worker.cli.services:health",
    "metrics": "worker.cli.services:metrics",
    "score": "worker.cli.score:score",
    "enqueue": "worker.cli.messages:enqueue",
    "wait": "worker.cli.messages:wait",
    "explain": "worker.cli.messages:explain",
    "override": "worker.cli.messages:override",
    "retakes": "worker.cli.retakes:retakes",
    "report": "worker.cli.report:report",
    "rescore": "worker.cli.runs:rescore",
    "dataset": "worker.cli.dataset:dataset",
    "train": "worker.cli.runs:train",
    "evaluate": "worker.cli.evaluate:evaluate",
    "runs": "worker.cli.runs:runs",
    "models": "worker.cli.models:models",
    "purge": "worker.cli.retention:purge",
    "forget": "worker.cli.retention:forget",
    "archive": "worker.cli.archive:archive",
    "audit": "worker.cli.audit:audit",
    "db": "worker.cli.db:db",
    "doctor": "worker.cli.doctor:doctor",
}


class _LazyGroup(click.Group):
    """Imports a command's module only when it is used, so that `triage --help` does not wait for torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="skin-photo-triage")
def cli() -> None:
    """Scores the photos of patients' messages and flags the messages that need a retake."""


def main() -> None:
    """Runs a command; whatever goes wrong ends in one line on stderr and an exit code."""
    from triage.storage.database import database_errors
    from worker.cli.output import configure_from_settings, fail

    try:
        configure_from_settings()
        with database_errors():
            result = cli.main(standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except click.Abort:
        fail("interrupted", 1)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.ClickException as error:
        hint = (
            f"{error.ctx.get_help()}\n"
            if isinstance(error, click.UsageError) and error.ctx and not sys.argv[1:]
            else ""
        )
        fail(f"{hint}{error.format_message()}", error.exit_code)
    except UsageError as error:
        fail(str(error), 2)
    except ServiceUnavailableError as error:
        fail(str(error), 3)
    except TriageError as error:
        fail(str(error), 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has had enough
        sys.exit(0)
    except KeyboardInterrupt:
        fail("interrupted", 1)
    except Exception as error:  # a defect of ours: where, but never the text, which may hold a patient's data
        fail(f"internal error: {type(error).__name__} at {' < '.join(reversed(where(error.__traceback__)))}", 1)
