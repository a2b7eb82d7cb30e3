"""`triage dataset suspects`: labels that are likely wrong."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from triage.dataset.manifest import read_manifest
from triage.model.starter import STARTER
from worker.cli.commands import command
from worker.cli.label_next import features_option, read_with
from worker.cli.output import account, count, json_option, print_document, print_unread
from worker.cli.tables import Column, print_line, print_table

if TYPE_CHECKING:
    from triage.labelling.suspects import Suspects


@command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option(
    "--model", default=STARTER, show_default=True, help="The model: name, NAME@VERSION, SHA-256, ./folder or `starter`."
)
@click.option("--good-votes", type=click.IntRange(1), default=2, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the division into folds.")
@features_option
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Also write them as a table.")
@json_option
def suspects(
    manifest: Path,
    model: str,
    good_votes: int,
    seed: int,
    features_file: Path | None,
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    """List labels of MANIFEST that are likely wrong, by confident learning.

    Each photo is judged by linear heads on the network's features that learned from other patients. Use a model that
    was not trained on these labels: one that was has learned the wrong ones, too.
    """
    from triage.labelling.suspects import check_labels, find_suspects, write_suspects  # deferred: imports torch

    found = read_manifest(manifest)
    check_labels(found.photos, good_votes=good_votes, n_reviewers=found.n_reviewers)
    features = read_with(model, found.photos, features_file)
    result = find_suspects(features, good_votes=good_votes, n_reviewers=found.n_reviewers, seed=seed)
    if output is not None:
        write_suspects(result, output)
    if as_json:
        from worker.documents.labelling import SuspectsDocument  # deferred: imports pydantic

        print_document(SuspectsDocument.of(result, features.card.label, n_unread=len(features.unread)))
        return
    _print(result)
    if output is not None:
        print_line(f"{output}: the same, as a table")
    print_unread(features.unread)
    print_line(account(len(found.photos), [photo.code for photo in features.unread], {}))


def _print(result: "Suspects") -> None:
    print_line(f"{count(len(result.photos), 'label')} of {result.n} are likely wrong, estimated {_expected(result)}")
    if not result.photos:
        return
    print_line()
    print_table(
        ("photo", Column("split", 1), "votes", "label", "likely", "P(good)", "margin"),
        (
            (
                each.photo.path,
                each.photo.split or "",
                f"{each.photo.votes} of {each.photo.n_votes}",
                "good" if each.is_good else "bad",
                "bad" if each.is_good else "good",
                f"{each.p_good:.3f}",
                f"{each.margin:.3f}",
            )
            for each in result.photos
        ),
    )


def _expected(result: "Suspects") -> str:
    return f"{result.bad_called_good:.0f} bad photos with the label good and {result.good_called_bad:.0f} the reverse"
