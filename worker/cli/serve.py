"""`triage serve`: the HTTP interface and the staff console."""

import click

from triage.errors import UsageError
from worker.cli.commands import command
from worker.services import open_services


@command()
@click.option(
    "--behind-proxy",
    is_flag=True,
    help="A proxy terminates TLS: allow a listen address that other hosts can reach.",
)
def serve(*, behind_proxy: bool) -> None:
    """Serve the HTTP interface and the staff console until stopped.

    Address, limits and TLS are settings (TRIAGE_API__...), also of the console (TRIAGE_CONSOLE__...).
    """
    try:
        from worker.api.server import serve as serve_api  # deferred: imports SQLAlchemy, Starlette and uvicorn
        from worker.console.app import PATH, create_console  # deferred: imports Jinja and argon2
    except ModuleNotFoundError as error:
        raise UsageError("the HTTP interface is not installed: install the extra `web` of this product") from error
    with open_services() as services:
        _ = services.settings.catalogue  # malformed texts are reported here, in one line
        serve_api(services, behind_proxy=behind_proxy, parts={PATH: create_console})
