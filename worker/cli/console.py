"""`triage console --demo`: the staff console on this machine, with drawn photos."""

import click

from triage.errors import UsageError
from worker.cli.commands import command


@command()
@click.option("--demo", is_flag=True, help="Start everything that the console needs, with drawn photos.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the console; 0 selects a free one.")
def console(*, demo: bool, port: int) -> None:
    """Open the staff console on drawn photos, with embedded services and an account for this run.

    Ctrl-C ends everything. The console of a deployment is served by `triage serve`.
    """
    if not demo:
        raise UsageError("nothing to open: say --demo; `triage serve` serves the console of a deployment")
    try:
        from worker.cli.console_demo import run_console  # deferred: imports SQLAlchemy, Celery, redis and Starlette
    except ModuleNotFoundError as error:
        raise UsageError("the staff console is not installed: install the extra `web` of this product") from error
    run_console(port)
