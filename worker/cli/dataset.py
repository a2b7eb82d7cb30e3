"""`triage dataset`: checks, splits, describes, imports and exports labelled photos."""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from triage.dataset.manifest import Manifest, read_manifest, write_manifest
from triage.dataset.redcap import Export
from triage.dataset.redcap import import_redcap as read_export
from triage.errors import AttachmentError, TransientError, UsageError
from triage.imaging.limits import ImageLimits
from worker.cli.commands import group
from worker.cli.options import TIMES, by_option
from worker.cli.output import count, json_option, percent, print_document
from worker.cli.suspects import suspects
from worker.cli.tables import print_line, print_table
from worker.services import open_services

_output = click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True)


class _Shares(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    name = "train,validation,test"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        parts = [part.strip() for part in str(value).split(",")]
        are_short = all(part.isdecimal() and len(part) <= len("100") for part in parts)  # int() refuses long ones
        if len(parts) != 3 or not are_short or sum(map(int, parts)) != 100:
            self.fail(f"{value!r} is not three whole numbers whose sum is 100, such as 60,20,20.", param, ctx)
        return tuple(int(part) / 100 for part in parts)


@group()
def dataset() -> None:
    """Check, split, describe and import labelled photos."""


dataset.add_command(suspects)


@dataset.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--photos", "read_photos", is_flag=True, help="Also decode all photos, and find doubles.")
def check(manifest: Path, *, read_photos: bool) -> None:
    """List all defects of MANIFEST. Exits with 1 if --photos finds any."""
    from worker.settings import load_settings  # deferred: imports pydantic-settings

    found = read_manifest(manifest)
    defects = list(_defects_of_photos(found, manifest.parent, load_settings().image_limits)) if read_photos else []
    number = count(len(defects), "defect") if defects else "no defects"
    print_line(f"{count(len(found.photos), 'photo')}, {_votes_per_photo(found)}: {number}")
    if n := sum(photo.patient is None for photo in found.photos):
        all_photos = "no photo has a patient" if n == len(found.photos) else f"{count(n, 'photo')} without a patient"
        print_line(f"{all_photos}: photos of one patient may get into several splits")
    for defect in defects:
        print_line(defect)
    if defects:
        sys.exit(1)


@dataset.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@_output
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--shares",
    type=_Shares(),
    default="75,10,15",
    show_default=True,
    help="Per cent of the training, validation and test photos.",
)
@click.option("--resplit", is_flag=True, help="Assign photos that have splits to others.")
def split(manifest: Path, output: Path, seed: int, shares: Sequence[float], *, resplit: bool) -> None:
    """Assign photos to training, validation and test sets.

    Writes MANIFEST with the splits. All photos of a patient are in one set, and each set has its share of each number
    of votes.
    """
    from triage.dataset.splits import split_photos, without_splits  # deferred: imports numpy
    from triage.evaluation.description import describe as describe_manifest  # deferred: imports scipy

    found = read_manifest(manifest)
    if any(photo.split for photo in found.photos):
        if not resplit:
            raise UsageError(f"{manifest}: the photos have splits: give --resplit to assign them to others")
        found = without_splits(found)
    made = split_photos(found, seed=seed, shares=shares)
    write_manifest(made, output)
    sizes = describe_manifest(made)["by_split"]
    print_line(f"{output}: " + ", ".join(f"{name} {table['n']}" for name, table in sizes.items()))
    print_small_parts(made)


@dataset.command(short_help="Count photos and show the reviewers' agreement.")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--good-votes", type=click.IntRange(1), default=2, show_default=True)
@json_option
def describe(manifest: Path, good_votes: int, *, as_json: bool) -> None:
    """Count photos by votes, skin type and source, and show the reviewers' agreement."""
    from triage.evaluation.description import describe as describe_manifest  # deferred: imports scipy

    document = describe_manifest(read_manifest(manifest), good_votes=good_votes)
    if as_json:
        from worker.documents.evaluation import DatasetDocument  # deferred: imports pydantic

        print_document(DatasetDocument.model_validate(document))
    else:
        _print(document)


@dataset.command("import-redcap", short_help="Convert a REDCap export to a manifest.")
@click.argument("export", type=click.Path(path_type=Path))
@click.option("--photos", type=click.Path(path_type=Path), required=True, help="Folder of the photos.")
@_output
@click.option("--record", "record_column", default="record_id", show_default=True, help="Column of the record.")
@click.option("--reviewer", "reviewer_column", default="reviewer", show_default=True, help="Column of the reviewer.")
@click.option("--vote", "vote_column", default="quality", show_default=True, help="Column of the vote.")
@click.option("--photo", "photo_column", help="Column of the file name. [default: files are named by record]")
@click.option(
    "--reason", "reason_column", default="reason", show_default=True, help="Checkbox field of the reasons, if any."
)
@click.option("--missing", metavar="CODES", help="Codes for missing data, separated by commas, such as NI,-99.")
def import_redcap(export: Path, photos: Path, output: Path, missing: str | None, **columns: Any) -> None:
    """Convert a REDCap EXPORT to a manifest.

    EXPORT is in long format, with one row for each reviewer and record, or each reviewer and photo of a record with
    --photo. An empty vote means not rated yet; a photo without any vote is left out. The last line accounts for all
    rows and photos.
    """
    codes = {code.strip() for code in (missing or "").split(",")} - {""}
    made = read_export(export, photos=photos, missing=codes, **columns)
    write_manifest(made.manifest, output)
    reviewers = count(len(made.manifest.reviewers), "reviewer")
    print_line(f"{output}: {count(len(made.manifest.photos), 'photo')}, {reviewers}, {_votes_per_photo(made.manifest)}")
    print_line(f"columns used: {', '.join(made.columns)}; others not used: {made.n_other_columns}")
    if made.unknown_reasons:
        print_line(
            f"not read, because their codes are not reasons (docs/findings.md): {', '.join(made.unknown_reasons)}"
        )
    for name, number in made.ambiguous.items():
        print_line(f"{name}: {count(number, 'photo')} with several values, the first is used")
    print_line(_account(made))


@dataset.command("from-reviews", short_help="Write the votes of a photo review as a manifest.")
@click.argument("name")
@_output
@click.option(
    "--photos",
    type=click.Path(path_type=Path, file_okay=False),
    help="Copy the photos into this folder. [default: the manifest names the files of the blob store]",
)
@click.option(
    "--decisions-since",
    type=TIMES,
    help="Also decisions, appeals and reviews of requests since this time (UTC) about the only photo of a message.",
)
@by_option("Who exports")
def from_reviews(name: str, output: Path, photos: Path | None, decisions_since: datetime | None, by: str) -> None:
    """Write the votes of the photo review NAME as a manifest, with a column for each reviewer.

    The last line accounts for all photos.
    """
    from triage.photo_reviews import sets  # deferred: imports SQLAlchemy
    from triage.photo_reviews.labels import export_labels  # deferred: imports SQLAlchemy and fsspec

    with open_services() as services:
        made = export_labels(
            services.sessions,
            services.source,
            services.blobs,
            sets.find_by_name(services.sessions, name).id,
            output,
            photos=photos,
            decisions_since=decisions_since and decisions_since.replace(tzinfo=UTC),
            by=by,
        )
    reviewers = count(len(made.manifest.reviewers), "reviewer")
    print_line(f"{output}: {count(len(made.manifest.photos), 'photo')}, {reviewers}, {_votes_per_photo(made.manifest)}")
    print_line(
        f"{made.from_decisions} by decisions alone; not used: {made.unrated} without a vote, {made.deleted} deleted, "
        f"{made.unreadable} unreadable"
    )


def print_small_parts(manifest: Manifest, *, good_votes: int = 2, err: bool = False) -> None:
    """Prints a caution if the validation or the test photos are too few."""
    from triage.dataset.splits import small_parts  # deferred: imports numpy
    from triage.domain.promotion import FEWEST_OF_A_CLASS  # deferred: imports pydantic

    found = small_parts(manifest, good_votes=min(good_votes, manifest.n_reviewers))
    if found:
        parts = ", ".join(f"{name} {n_good} good and {n_bad} bad" for name, (n_good, n_bad) in found.items())
        print_line(
            f"caution: {parts} photos: with fewer than {FEWEST_OF_A_CLASS} of a class a threshold or a rate is chance: "
            "label more photos, or give these parts more of them with `triage dataset split --shares 50,25,25`",
            err=err,
        )


def _votes_per_photo(manifest: Manifest) -> str:
    """`4 votes each`, or `4 votes on 88 photos, 3 on 2`."""
    first, *others = manifest.votes_per_photo().items()
    if not others:
        return f"{count(first[0], 'vote')} each"
    return ", ".join([f"{count(first[0], 'vote')} on {count(first[1], 'photo')}", *(f"{n} on {k}" for n, k in others)])


def _account(made: Export) -> str:
    """One line that accounts for all rows and photos of an import."""
    n_unused = sum(made.unused_rows.values())
    rows = f"{count(made.n_rows, 'row')} read: {count(made.n_rows - n_unused, 'vote')} used, {n_unused} not"
    if n_unused:
        rows += f" ({', '.join(f'{number} {reason}' for reason, number in made.unused_rows.items())})"
    used = f"{count(len(made.manifest.photos), 'photo')} used"
    return f"{rows}; {used}, {made.n_unrated} not rated yet; files not in the export: {made.n_other_files}"


def _defects_of_photos(manifest: Manifest, folder: Path, limits: ImageLimits) -> Iterator[str]:
    """Photos that cannot be decoded, then those that are in the manifest twice.

    They are named as in the manifest, whose folder is given. This is the user's own file.
    """
    from triage.dataset.duplicates import Fingerprint, find_duplicates, fingerprint  # deferred: imports scipy
    from triage.imaging.decode import Decoder  # deferred: imports pillow and pydicom

    names = [
        str(photo.path.relative_to(folder) if photo.path.is_relative_to(folder) else photo.path)
        for photo in manifest.photos
    ]
    prints: list[Fingerprint | None] = []
    with Decoder(limits) as decoder:
        for name, photo in zip(names, manifest.photos, strict=True):
            error = "the file cannot be opened"
            try:
                data = photo.path.read_bytes()
                prints.append(fingerprint(data, decoder.decode(data).to_image()))
                continue
            except (AttachmentError, TransientError) as failure:
                error = str(failure)
            except OSError:
                pass
            prints.append(None)
            yield f"{name} cannot be decoded and would be skipped: {error}"
    for each in find_duplicates(manifest.photos, prints):
        first, second = (
            f"{names[number - 1]}{f' ({split})' if (split := manifest.photos[number - 1].split) else ''}"
            for number in (each.first, each.second)
        )
        yield f"{first} and {second} {'are the same file' if each.same_bytes else 'look alike'}"


def _print(document: dict[str, Any]) -> None:
    of = f"{document['good_votes']} or more of {count(document['n_reviewers'], 'vote')}"
    print_line(f"{count(document['n'], 'photo')}, {document['n_good']} good ({of}, or that share)")
    if len(document["votes_per_photo"]) > 1:
        print_line(", ".join(f"{count(n, 'photo')} with {votes}" for votes, n in document["votes_per_photo"].items()))
    print_line()
    splits = document["by_split"]
    rows: list[tuple[object, ...]] = [
        (f"votes {number}", *(table["votes"][number] for table in splits.values()))
        for number in range(document["n_reviewers"] + 1)
    ]
    if len(document["votes_per_photo"]) > 1:  # the rows above are of photos with all votes
        others = (table["n"] - sum(table["votes"]) for table in splits.values())
        rows.append((f"not rated by {document['n_reviewers']}", *others))
    rows += [
        (f"Fitzpatrick {name}", *(table["fitzpatrick"][name] for table in splits.values()))
        for name in ("I-III", "IV-VI", "not given")
    ]
    sources = sorted({source for table in splits.values() for source in table["sources"]})
    rows += [(f"source {name}", *(table["sources"].get(name, 0) for table in splits.values())) for name in sources]
    print_table(("", *splits), rows)
    if document["reviewers"]:
        print_line()
        print_table(
            ("reviewer", "photos", "good", "share", "with the others' majority"),
            (
                (r["reviewer"], r["n"], r["good"], percent(r["good_share"]), percent(r["with_majority"]))
                for r in document["reviewers"]
            ),
        )
        agreement = document["agreement"]
        print_line()
        alpha = _with_interval(agreement["krippendorff_alpha"], agreement["krippendorff_alpha_ci"])
        print_line(f"{count(agreement['n'], 'photo')} with two votes or more")
        print_line(f"Krippendorff's alpha {alpha}")
        print_line(f"unanimous {percent(agreement['unanimous_share'])}")
        print_line()
        _print_kappas([reviewer["reviewer"] for reviewer in document["reviewers"]], agreement["kappa"])


def _print_kappas(reviewers: Sequence[str], kappas: Sequence[dict[str, Any]]) -> None:
    """Cohen's kappas as a matrix, each with its number of photos. The intervals are in the JSON."""
    cells = {frozenset(pair["reviewers"]): _kappa(pair) for pair in kappas}
    columns = reviewers[1:]
    print_table(
        ("kappa (n)", *columns),
        (
            (row, *("" if place > index else cells[frozenset((row, name))] for index, name in enumerate(columns)))
            for place, row in enumerate(reviewers[:-1])
        ),
    )


def _kappa(pair: dict[str, Any]) -> str:
    return "-" if pair["kappa"] is None else f"{pair['kappa']:.2f} ({pair['n']})"


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    return _number(value) if interval is None else f"{_number(value)} ({interval[0]:.2f} to {interval[1]:.2f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
