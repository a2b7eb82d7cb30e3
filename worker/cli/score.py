"""`triage score`: scores photos without a queue or a database."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from triage.domain.photos import Finding, PhotoScore
from triage.errors import AttachmentError, ErrorCode, TransientError, UsageError
from triage.files.kinds import refuse_device
from triage.model.starter import STARTER
from triage.replies.tips import finding_json
from worker.cli.commands import command
from worker.cli.maps import LEGEND, map_option, write_map
from worker.cli.named_model import load_model
from worker.cli.output import account, findings_text, json_option, print_document
from worker.cli.tables import Column, print_line, print_table

if TYPE_CHECKING:
    from triage.domain.card import Card
    from worker.settings import Settings


@command()
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "--model", default=STARTER, show_default=True, help="The model: name, NAME@VERSION, SHA-256, ./folder or `starter`."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Also write a table of predictions."
)
@map_option
@json_option
def score(paths: tuple[str, ...], model: str, output: Path | None, picture: Path | None, *, as_json: bool) -> None:
    """Score photos without a queue. PATHS are files, or folders of files. Only a registered model needs a database."""
    from worker.settings import load_settings  # deferred: imports pydantic-settings

    settings = load_settings()
    files, skipped = files_of(paths)
    if picture is not None and len(files) != 1:
        raise UsageError(f"--map takes one photo, not {len(files)}: name one file")
    card, weights = load_model(model)
    rows = score_files(settings, files, card, weights)
    if picture is not None:
        _write_map(picture, settings, rows[0], card, weights)
    if output is not None:
        _write_table(output, rows, card)
    summary = account(len(rows), [row["error"]["code"] for row in rows if row["error"]], skipped)
    if as_json:
        from worker.documents.photos import PhotoScoreDocument  # deferred: imports pydantic

        print_document([PhotoScoreDocument.model_validate(row) for row in rows])
        if output is not None:
            print_line(f"{output}: the predictions", err=True)
        print_line(summary, err=True)
        return
    print_table(
        (
            "photo",
            Column("outcome", wrap=True),
            "score",
            Column("grade", 2),
            "acceptable",
            Column("findings", 1, wrap=True),
            Column("model", 3),
        ),
        (
            (
                row["path"],
                row["error"]["message"] if row["error"] else row["outcome"],
                "" if row["score"] is None else f"{row['score']:.3f}",
                row["grade"],
                {True: "yes", False: "no", None: ""}[row["acceptable"]],
                "" if row["error"] else findings_text(row["findings"], acceptable=row["acceptable"]),
                row["model"],
            )
            for row in rows
        ),
    )
    if output is not None:
        print_line(f"{output}: the predictions")
    print_line(summary)
    if picture is not None:
        print_line(f"map: {picture}: {LEGEND}")


def _write_map(picture: Path, settings: "Settings", row: dict[str, Any], card: "Card", weights: bytes) -> None:
    if row["error"]:
        raise UsageError(f"{row['path']}: no map, because the photo cannot be assessed: {row['error']['message']}")
    write_map(picture, read_photo(row["path"]), settings, card, weights)


def _write_table(output: Path, rows: Sequence[Mapping[str, Any]], card: "Card") -> None:
    from triage.evaluation.prediction_table import PredictedPhoto, write_predictions  # deferred: imports pydantic

    write_predictions(
        [
            PredictedPhoto(
                Path(row["path"]),
                PhotoScore(tuple(row["cumulative"]), tuple(row["patch_scores"]), row["score"], row["grade"]),
                [
                    Finding(each["kind"], each["level"], each["strength"], probability=each["probability"])
                    for each in row["findings"]
                ],
            )
            for row in rows
            if row["score"] is not None
        ],
        card,
        output,
    )


def files_of(paths: Sequence[str]) -> tuple[list[str], Counter[str]]:
    """The paths, with each folder replaced by the files in it, and the numbers of entries left out by reason.

    Raises:
        UsageError: a folder has no files.
    """
    files, skipped = list[str](), Counter[str]()
    for path in paths:
        try:
            inside, left_out = photos_in(Path(path))
        except (OSError, ValueError):  # no folder: a file, or a path that gets its own error
            files.append(path)
        else:
            if not inside:
                raise UsageError(f"{path}: the folder has no files: name a folder with photos")
            files += map(str, inside)
            skipped += left_out
    return files, skipped


def photos_in(folder: Path) -> tuple[list[Path], Counter[str]]:
    """The files of a folder by name, and the numbers of other entries by reason.

    Raises:
        OSError: the path is no folder, or not readable.
    """
    files, skipped = list[Path](), Counter[str]()
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            skipped["hidden"] += 1
        elif entry.is_file():
            files.append(entry)
        else:
            skipped["no file"] += 1
    return files, skipped


def score_files(settings: "Settings", paths: Sequence[str], card: "Card", weights: bytes) -> list[dict[str, Any]]:
    """Scores files one after another, so that memory does not grow with their number.

    Returns:
        For each path, in order: `{path, outcome, acceptable, score, cumulative, grade, patch_scores, findings, error,
        model, photo}`; a file that cannot be assessed has the outcome `not_assessable` and an error.

    Raises:
        ModelError: the model cannot be loaded.
    """
    from triage.imaging.decode import Decoder  # deferred: imports pillow and pydicom
    from triage.model.scorer import Scorer  # deferred: imports numpy
    from worker.inference import load_engine  # deferred: imports torch

    scorer = Scorer.of(card, load_engine(settings, card, weights))
    with Decoder(settings.image_limits) as decoder:
        return [_score_file(path, decoder, scorer, threshold=card.threshold, model=card.label) for path in paths]


def _score_file(path: str, decoder: Any, scorer: Any, *, threshold: float, model: str) -> dict[str, Any]:
    from triage.model.preparation import prepare_photo  # deferred: imports numpy

    row: dict[str, Any] = {
        "path": path,
        "outcome": "not_assessable",
        "acceptable": None,
        "score": None,
        "cumulative": None,
        "grade": None,
        "patch_scores": None,
        "findings": [],
        "error": None,
        "model": model,
        "photo": None,
    }
    try:
        prepared = prepare_photo(read_photo(path), decoder)
    except (AttachmentError, TransientError) as error:
        row["error"] = {"code": error.code.value, "message": str(error)}
        return row
    [result] = scorer.score([prepared.photo])
    acceptable = result.score >= threshold
    findings = scorer.findings(result, prepared.measured, acceptable=acceptable)
    facts = prepared.facts
    return row | {
        "outcome": "scored",
        "acceptable": acceptable,
        "score": result.score,
        "cumulative": list(result.cumulative),
        "grade": result.grade,
        "patch_scores": list(result.patch_scores),
        "findings": [finding_json(finding) for finding in findings],
        "photo": {
            "media_type": facts.media_type,
            "width": facts.width,
            "height": facts.height,
            "n_frames": facts.n_frames,
            "frame": facts.frame,
        },
    }


def read_photo(path: str) -> bytes:
    """
    Raises:
        AttachmentError: nothing readable is at the path.
    """
    try:
        return refuse_device(Path(path)).read_bytes()
    except FileNotFoundError as error:
        raise AttachmentError(ErrorCode.NOT_FOUND, "the file does not exist: check the path") from error
    except (OSError, ValueError) as error:
        raise AttachmentError(ErrorCode.FETCH_FAILED, "the file cannot be read: check its permissions") from error
