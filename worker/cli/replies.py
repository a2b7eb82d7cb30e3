"""`triage replies`: the texts that patients read, for those who write and check them."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from triage.domain.states import FindingKind
from triage.domain.text import check_locale
from triage.errors import CatalogueError, UsageError
from worker.cli.commands import group
from worker.cli.output import count, json_option, print_document, print_reply
from worker.cli.tables import Column, Styled, print_line, print_table

if TYPE_CHECKING:
    from triage.replies.catalogue import LocaleTexts


@group()
def replies() -> None:
    """Check and preview what patients read."""


@replies.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """Show the languages, their versions, and who reviewed them."""
    from worker.settings import load_settings  # deferred: imports pydantic-settings

    catalogue = load_settings().catalogue
    if as_json:
        from worker.documents.replies import LocaleDocument  # deferred: imports pydantic

        default = catalogue.texts_for(catalogue.default)
        print_document([LocaleDocument.of(each, default=each is default) for each in catalogue.locales.values()])
        return
    print_table(
        ("locale", Column("language", 1), "version", "reviewed"),
        ((each.tag, each.language, each.version, _reviewed(each)) for each in catalogue.locales.values()),
    )


@replies.command()
@click.option("--locale", help="A language tag such as es-MX. [default: by setting]")
@click.option(
    "--reasons",
    metavar="REASON,...",
    default="",
    help=f"The reasons to name: {', '.join(FindingKind)}. Without one, how to take a good photo.",
)
@json_option
def preview(locale: str | None, reasons: str, *, as_json: bool) -> None:
    """Show a reply as a patient reads it."""
    from worker.settings import load_settings  # deferred: imports pydantic-settings

    catalogue = load_settings().catalogue
    kinds = [_kind(name.strip()) for name in reasons.split(",") if name.strip()]
    reply = catalogue.reply(kinds, check_locale(catalogue.default if locale is None else locale))
    if as_json:
        from worker.documents.replies import ReplyDocument  # deferred: imports pydantic

        print_document(ReplyDocument.of(reply))
        return
    print_line(f"{reply.locale}, version {reply.catalogue_version}")
    print_reply(reply)


@replies.command()
@click.argument("folder", type=click.Path(path_type=Path))
def check(folder: Path) -> None:
    """Check the files of a folder before it is put to use. Exits with 2 and lists every problem."""
    from triage.replies.catalogue import load_catalogue  # deferred: imports pydantic
    from worker.settings import load_settings  # deferred: imports pydantic-settings

    settings = load_settings().replies
    try:
        catalogue = load_catalogue(folder, default=settings.locale, clinic=settings.clinic, phone=settings.phone)
    except CatalogueError as error:
        for problem in error.problems:
            print_line(problem)
        raise UsageError(f"{count(len(error.problems), 'problem')} found: correct the files") from None
    drafts = sum(each.review is None for each in catalogue.locales.values())
    print_line(f"{count(len(catalogue.locales), 'language')}, {drafts} not reviewed: no problem found")


def _kind(name: str) -> FindingKind:
    try:
        return FindingKind(name)
    except ValueError:
        raise click.BadParameter(f"unknown reason: use {', '.join(FindingKind)}") from None


def _reviewed(texts: "LocaleTexts") -> Styled:
    if texts.review is None:
        return Styled("draft", "yellow")
    return Styled(f"{texts.review.on} by {texts.review.by}", "green")
