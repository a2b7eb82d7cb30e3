"""The votes of a photo review as labelled photos for training."""

import mimetypes
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from triage.blobs.source import PhotoSource
from triage.blobs.store import BlobStore
from triage.dataset.manifest import REASON_KINDS, LabelledPhoto, Manifest, write_manifest
from triage.dataset.votes import count_votes, usual_number
from triage.domain.actors import check_actor
from triage.domain.ids import PhotoReviewId
from triage.domain.messages import ClaimedAttachment
from triage.domain.states import FindingKind
from triage.errors import AttachmentError, NotFoundError, TransientError, UsageError
from triage.files.atomic import write_durably
from triage.files.hashing import sha256_of
from triage.files.modes import is_shared, make_folder
from triage.storage import audit, photo_labels, photo_reviews
from triage.storage.database import Sessions
from triage.storage.photo_labels import Label
from triage.storage.use_case import use_case

_STAFF: Final = "staff:"
_OTHERS: Final = 0o077
_NAME_LENGTH: Final = 32


@dataclass(frozen=True, slots=True)
class ExportedLabels:
    """What was written, and what was left out.

    Attributes:
        manifest: what was written.
        from_decisions: photos that are labelled by decisions and judged requests alone.
        unrated: photos of the review without a vote.
        deleted: labelled photos whose bytes are deleted.
        unreadable: labelled photos whose bytes cannot be read now, or have changed.
    """

    manifest: Manifest
    from_decisions: int
    unrated: int
    deleted: int
    unreadable: int


@dataclass(slots=True)
class _Labelled:
    """A photo with what each person said about it first; a vote comes before a decision."""

    first: Label
    said: dict[str, Label] = field(default_factory=dict)


@use_case
def export_labels(
    sessions: Sessions,
    source: PhotoSource,
    blobs: BlobStore,
    review_id: PhotoReviewId,
    output: Path,
    *,
    photos: Path | None = None,
    decisions_since: datetime | None = None,
    by: str,
) -> ExportedLabels:
    """Writes the votes of a review as a manifest, which training reads, with a column for each reviewer.

    A copy of a photo in another message is the same photo. `patient` is a hash of the thread's own id, so that a split
    keeps the photos of a thread together. The audit trail records the export.

    Args:
        sessions: of the worker role.
        source: the bytes of the photos.
        blobs: the store that the manifest refers to if the photos are not copied.
        review_id: the review.
        output: the manifest, `.csv` or `.parquet`.
        photos: copy the photos into this folder, which only this user may read; by default the manifest names the
            files of the store.
        decisions_since: also decisions of people, appeals and reviews of requests since this time, about the only photo
            of a message. These people have seen the score, and the photos are no random sample.
        by: actor id of the person.

    Raises:
        NotFoundError: no review has this id.
        UsageError: nothing is labelled, a file cannot be written, the store is no folder and
            the photos are not copied, others can read the folder, or an argument is malformed.
    """
    check_actor(by)
    if decisions_since is not None and decisions_since.tzinfo is None:
        raise UsageError("invalid time: give it with a zone")
    if photos is None and blobs.folder is None:
        raise UsageError("the photos are in an object store: name a folder to copy them to")
    with sessions() as session:
        if photo_reviews.find(session, review_id) is None:
            raise NotFoundError("no photo review has this id: list the reviews")
        voted = photo_labels.votes(session, review_id)
        further: list[Label] = []
        if decisions_since is not None:
            further = photo_labels.judged_requests(session, decisions_since)
            further += photo_labels.decisions(session, decisions_since)
    unrated = len({label.attachment_id for label in voted if label.actor is None})
    of_review = {_key(label) for label in voted}
    labelled = _by_photo([*voted, *further])
    reviewers = sorted({name for each in labelled.values() for name in each.said})
    if not labelled:
        raise UsageError("no photo of the review has a vote")
    if photos is not None:
        _make_private(photos)
    with sessions.begin() as session:  # before the bytes leave the store
        audit.record(
            session,
            actor=by,
            action="photo_review.exported",
            subject_kind="photo_review",
            subject_id=review_id,
            photos=len(labelled),
            copied=photos is not None,
        )
    written: list[LabelledPhoto] = []
    missing: Counter[str] = Counter()
    from_decisions = 0
    for key, each in labelled.items():
        if not each.first.is_there:
            missing["deleted"] += 1
            continue
        path = _stored(blobs, each.first) if photos is None else _copied(source, each.first, photos)
        if path is None:
            missing["unreadable"] += 1
            continue
        written.append(_row(each, path, reviewers))
        from_decisions += key not in of_review
    if not written:
        raise UsageError("no labelled photo can be read: its bytes are deleted or the store does not respond")
    k = usual_number([photo.n_votes or 1 for photo in written])
    manifest = Manifest(tuple(written), k, tuple(reviewers))
    write_manifest(manifest, output)
    return ExportedLabels(manifest, from_decisions, unrated, missing["deleted"], missing["unreadable"])


def _by_photo(labels: Iterable[Label]) -> Mapping[str, _Labelled]:
    found: dict[str, _Labelled] = {}
    for label in labels:
        if label.actor is None:
            continue
        each = found.setdefault(_key(label), _Labelled(label))
        if label.is_there and not each.first.is_there:
            each.first = label
        each.said.setdefault(label.actor.removeprefix(_STAFF), label)
    return found


def _key(label: Label) -> str:
    return label.sha256 or str(label.attachment_id)


def _row(each: _Labelled, path: Path, reviewers: Sequence[str]) -> LabelledPhoto:
    first = each.first
    reviews = tuple(int(each.said[name].good) if name in each.said else None for name in reviewers)
    votes, n_votes = count_votes(reviews)
    return LabelledPhoto(
        path=path,
        votes=votes,
        n_votes=n_votes,
        reviews=reviews,
        source=first.source,
        fitzpatrick=first.fitzpatrick,
        patient=_opaque(str(first.thread_id)),
        reasons=_reasons(list(each.said.values())),
    )


def _reasons(labels: Sequence[Label]) -> dict[FindingKind, float]:
    """The share of the people who gave each reason, of those who were asked."""
    asked = [label.reasons for label in labels if label.reasons is not None]
    return {kind: sum(kind in reasons for reasons in asked) / len(asked) for kind in REASON_KINDS} if asked else {}


def _stored(blobs: BlobStore, label: Label) -> Path | None:
    """The photo's file in the store."""
    if blobs.folder is None or label.sha256 is None or label.uri is not None:
        return None
    path = blobs.folder.resolve() / label.sha256[:2] / label.sha256
    return path if path.is_file() else None


def _copied(source: PhotoSource, label: Label, folder: Path) -> Path | None:
    """A copy of the photo, whose name tells nothing."""
    try:
        data = source.fetch(ClaimedAttachment(label.attachment_id, label.sha256, label.uri))
    except (AttachmentError, TransientError):
        return None
    if label.sha256 is not None and sha256_of(data) != label.sha256:
        return None
    suffix = mimetypes.guess_extension(label.media_type or "") or ""
    path = folder / f"{_opaque(_key(label))}{suffix}"
    try:
        write_durably(path, data)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: check its free space and permissions") from error
    return path


def _make_private(folder: Path) -> None:
    try:
        make_folder(folder)
        status = folder.stat()
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made: check the path and its permissions") from error
    if status.st_mode & _OTHERS and not is_shared(status):
        raise UsageError(f"{folder}: others can use this folder: name a new one, or set its mode to 0700")


def _opaque(text: str) -> str:
    return sha256_of(text.encode())[:_NAME_LENGTH]
