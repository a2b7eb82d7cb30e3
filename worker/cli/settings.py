"""`triage settings`: the settings in force, and an example of a file with all of them."""

import json

import click

from triage.errors import UsageError
from worker.cli.commands import command
from worker.cli.output import json_option, print_document
from worker.cli.tables import Column, Styled, print_table, print_text


@command()
@click.option("--env-example", "as_example", is_flag=True, help="Print a file with every variable and its default.")
@json_option
def settings(*, as_example: bool, as_json: bool) -> None:
    """Show every setting in force and where it comes from.

    The source is the environment, the default, or the embedded services, which take the place of unset URLs and
    folders. Passwords are masked.
    """
    if as_example and as_json:
        raise UsageError("--env-example and --json exclude each other: choose one")
    if as_example:
        from worker.documents.settings_pages import env_example  # deferred: imports pydantic-settings

        print_text(env_example())
        return
    from worker.documents.settings import Source, settings_in_force  # deferred: imports pydantic-settings
    from worker.settings import load_settings  # deferred: imports pydantic-settings

    found = settings_in_force(load_settings())
    if as_json:
        print_document(found)
        return
    print_table(
        ("variable", Column("value", wrap=True), "source"),
        (
            (
                each.variable,
                "" if each.value is None else each.value if isinstance(each.value, str) else json.dumps(each.value),
                Styled(each.source, bold=True) if each.source is Source.ENVIRONMENT else Styled(each.source, dim=True),
            )
            for each in found
        ),
    )
