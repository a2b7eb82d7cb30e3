"""`triage score`: photos to scores, with no queue and no database."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from triage.errors import AttachmentError, ErrorCode
from triage.quality.starter import STARTER, model_folder
from worker.cli.output import json_option, print_json, print_table
from worker.settings import Settings, load_settings


@click.command()
@click.argument("paths", nargs=-1, required=True)
@click.option("--model", default=STARTER, show_default=True, help="Folder of a model, or starter.")
@json_option
def score(paths: tuple[str, ...], model: str, *, as_json: bool) -> None:
    """Score photos, without a queue or a database."""
    rows = score_files(load_settings(), paths, model_folder(model))
    if as_json:
        print_json(rows)
        return
    print_table(
        ("photo", "outcome", "score", "grade", "acceptable", "model"),
        (
            (
                row["path"],
                row["error"]["message"] if row["error"] else row["outcome"],
                "" if row["score"] is None else f"{row['score']:.3f}",
                row["grade"],
                {True: "yes", False: "no", None: ""}[row["acceptable"]],
                row["model"],
            )
            for row in rows
        ),
    )


def score_files(settings: Settings, paths: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    """Scores files one after another, so that any number of them needs the memory of one.

    Returns:
        For each path, in order: `{path, outcome, acceptable, score, cumulative, grade, patch_scores, findings, error,
        model}`; a file that cannot be assessed has the outcome `not_assessable` and an error.

    Raises:
        ModelError: the model cannot be loaded.
    """
    from triage.quality.artifact import read_artifact
    from triage.quality.scorer import Scorer
    from worker.engine import load_engine

    card, weights = read_artifact(folder)
    scorer = Scorer.of(card, load_engine(settings.scorer, card, weights))
    return [_score_file(path, scorer, settings, threshold=card.threshold, model=card.label) for path in paths]


def _score_file(path: str, scorer: Any, settings: Settings, *, threshold: float, model: str) -> dict[str, Any]:
    from triage.imaging.decode import decode_photo
    from triage.quality.patches import resize_photo

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
    }
    try:
        photo = resize_photo(decode_photo(read_photo(path), settings.image_limits).image)
    except AttachmentError as error:
        row["error"] = {"code": error.code.value, "message": str(error)}
        return row
    [result] = scorer.score([photo])
    return row | {
        "outcome": "scored",
        "acceptable": result.score >= threshold,
        "score": result.score,
        "cumulative": list(result.cumulative),
        "grade": result.grade,
        "patch_scores": list(result.patch_scores),
    }


def read_photo(path: str) -> bytes:
    """
    Raises:
        AttachmentError: nothing readable is at the path.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise AttachmentError(ErrorCode.NOT_FOUND, "no file is at this path: check it") from error
    except (OSError, ValueError) as error:
        raise AttachmentError(ErrorCode.FETCH_FAILED, "the path is not a readable file: check it") from error
