"""Predictions as a table that travels: one row for each photo, read by all commands that read predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from triage.dataset.manifest import LabelledPhoto
from triage.dataset.tables import write_table
from triage.domain.card import Card
from triage.domain.photos import Finding, PhotoScore


@dataclass(frozen=True, slots=True)
class PredictedPhoto:
    """A photo with what a model says about it.

    Attributes:
        findings: why it fails, the likeliest reason first.
        label: the votes and properties of the photo; None if they are not known.
    """

    path: Path
    score: PhotoScore
    findings: Sequence[Finding] = ()
    label: LabelledPhoto | None = None


def write_predictions(photos: Sequence[PredictedPhoto], card: Card, table: Path) -> None:
    """Writes `.parquet` by its suffix, otherwise CSV. Paths inside the table's folder become relative.

    Columns: `path`, `score`, `grade`, `cumulative_1` to `cumulative_K`, `patch_1` to `patch_5`, `findings` (such as
    `defocus:0.81 too_dark:0.30`), `model`, `weights_sha256`; of labelled photos also `votes`, `n_reviewers`, `patient`,
    `split`, `source`, `fitzpatrick`, the `rating` if all have one, and the manifest's further columns.

    Raises:
        UsageError: the file cannot be written.
    """
    folder = table.parent.resolve()
    is_rated = all(photo.label is not None and photo.label.rating is not None for photo in photos)
    properties = ("patient", "split", "source", "fitzpatrick", *(["rating"] if is_rated else []))
    write_table(table, [_row(photo, card, folder, properties) for photo in photos])


def _row(photo: PredictedPhoto, card: Card, folder: Path, properties: Sequence[str]) -> dict[str, str]:
    path = photo.path.resolve()
    score = photo.score
    return {
        "path": str(path.relative_to(folder) if path.is_relative_to(folder) else path),
        **(_of_label(photo.label, card.n_outputs, properties) if photo.label else {}),
        "score": repr(score.score),
        "grade": str(score.grade),
        **{f"cumulative_{cut}": repr(value) for cut, value in enumerate(score.cumulative, 1)},
        **{f"patch_{number}": repr(value) for number, value in enumerate(score.patch_scores, 1)},
        "findings": " ".join(f"{each.kind}:{_strength(each):.2f}" for each in photo.findings),
        "model": card.label,
        "weights_sha256": card.weights_sha256 or "",
    }


def _of_label(label: LabelledPhoto, n_reviewers: int, properties: Sequence[str]) -> Mapping[str, str]:
    known = {
        "votes": label.votes,
        "n_reviewers": label.n_votes or n_reviewers,
        **{name: getattr(label, name) for name in properties},
    }
    return {name: "" if value is None else str(value) for name, value in known.items()} | dict(label.others)


def _strength(finding: Finding) -> float:
    return finding.strength if finding.probability is None else finding.probability
