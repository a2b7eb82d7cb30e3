"""`triage fhir`: the EHR's FHIR server."""

import sys
from pathlib import Path

import click

from triage.domain.abilities import Ability, Support
from triage.errors import UsageError
from worker.cli.commands import group
from worker.cli.output import json_option, print_document, print_json
from worker.cli.tables import Column, Styled, print_line, print_table
from worker.services import open_services


@group()
def fhir() -> None:
    """Register at the EHR's FHIR server, check it before going live, and subscribe to its messages."""


@fhir.command()
@click.argument("url", required=False)
@json_option
def check(url: str | None, *, as_json: bool) -> None:
    """Show what a FHIR server supports, and which settings fit it; by default, the configured one.

    Nothing is changed on the server. Another server than the configured one gets no token. Exits with 1 if the server
    lacks what the settings need.
    """
    from worker.fhir.check.survey import survey  # deferred: imports httpx2 and joserfc

    with open_services() as services:
        settings = services.settings.fhir
        found = survey(settings, services.inbound if settings.is_on else None, _base(url))
    if as_json:
        from worker.documents.fhir_check import FhirCheckDocument  # deferred: imports pydantic

        print_document(FhirCheckDocument.of(found))
    else:

        def support(ability: Ability) -> Styled:
            if ability.support is Support.YES:
                return Styled("yes", "green")
            return Styled(ability.support.value, *(("red", True) if ability.is_lacking else ("yellow", False)))

        print_table(
            ("ability", "supported", "needed", Column("detail", wrap=True), Column("what to do", wrap=True)),
            (
                (each.name, support(each), "yes" if each.is_needed else "", each.detail, each.remedy)
                for each in found.abilities
            ),
        )
        print_line()
        print_line("settings that fit this server:")
        for name, value in found.fitting.items():
            print_line(f"{name}={_quoted(value)}")
    if not found.is_sufficient:
        sys.exit(1)


@fhir.command()
@json_option
def subscribe(*, as_json: bool) -> None:
    """Write this product's subscription on the configured server, as the settings are now.

    Workers create and renew it too; this command shows the reason if they cannot, and applies changed settings.
    """
    from worker.fhir.reading.subscription import subscribe as write  # deferred: imports httpx2

    with open_services() as services:
        settings = services.settings.fhir
        if settings.hook_url is None:
            raise UsageError("no address for hooks is configured: set the address and the key for hooks")
        subscribed = write(services.fhir, settings, rewrites=True)
    if as_json:
        from worker.documents.fhir_check import SubscriptionDocument  # deferred: imports pydantic

        print_document(SubscriptionDocument(change=subscribed.change.value, status_before=subscribed.status))
        return
    print_line(f"subscription: {subscribed.change}")


@fhir.command()
@click.argument("files", metavar="[KEY_FILE]...", nargs=-1, type=click.Path(path_type=Path))
def keys(files: tuple[Path, ...]) -> None:
    """Print the public keys to register at the EHR's server, as a JSON Web Key Set.

    They are those of the configured private key and of the private keys in further files, such as the next one during
    a rotation.
    """
    from worker.fhir.server.smart import public_keys, read_key  # deferred: imports httpx2 and joserfc
    from worker.settings import load_settings  # deferred: imports pydantic-settings

    configured = load_settings().fhir.key_file
    private = [read_key(file) for file in ([configured] if configured else []) + list(files)]
    if not private:
        raise UsageError("no key for the FHIR server is configured: name the file of a private key")
    print_json(public_keys(*private))


def _base(url: str | None) -> str | None:
    from worker.setting_types import with_base_address  # deferred: imports pydantic

    try:
        return with_base_address(url)
    except ValueError as error:
        raise click.UsageError(f"invalid URL: {error}") from None


def _quoted(value: str) -> str:
    return f"'{value}'" if set(value) & set(" &?;|") else value
