"""Labels of a photo review: the manifest, what it leaves out, and a training on votes of the console."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.command_line import Result
from tests.support.console import Browser
from tests.support.scored_photos import send_scored
from triage.blobs.store import BlobStore
from triage.dataset.manifest import Manifest, read_manifest
from triage.domain.card import RegisteredModel
from triage.domain.ids import MessageId, PhotoReviewId
from triage.domain.photo_reviews import SamplingRule
from triage.domain.queue import Ground, note_of
from triage.domain.states import FindingKind, Outcome
from triage.errors import UsageError
from triage.files.hashing import sha256_of
from triage.imaging.limits import ImageLimits
from triage.photo_reviews import sets, voting
from triage.photo_reviews.labels import ExportedLabels, export_labels
from triage.retakes.override import override
from triage.retakes.policy import RetakePolicy
from triage.storage import audit
from triage.storage.database import Sessions
from triage.training.run import Trainer, TrainerOptions
from triage.training.start import start_training
from worker.tasks.base import WorkerServices

LEASE = timedelta(minutes=5)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

Send = Callable[[int], None]


@pytest.fixture
def send(services: WorkerServices, sessions: Sessions, live_model: RegisteredModel, jpeg: Callable[..., bytes]) -> Send:
    """Sends this many scored photos, each in a message of its own."""

    def of_number(number: int) -> None:
        send_scored(services, sessions, live_model, [jpeg(n) for n in range(number)])

    return of_number


def create(sessions: Sessions, **rule: Any) -> PhotoReviewId:
    defaults: dict[str, Any] = {"size": 100, "second_share": 0, "near": 0}
    return sets.create(sessions, "r-1", SamplingRule(**defaults | rule), by="m-1").id


def vote(sessions: Sessions, review: PhotoReviewId, by: str, good: bool, *reasons: FindingKind) -> None:
    photo = voting.claim_next(sessions, review, by=by, lease=LEASE)
    assert photo is not None
    voting.vote(sessions, review, photo, good=good, reasons=reasons, by=by)


def export(
    services: WorkerServices, review: PhotoReviewId, output: Path, **options: Any
) -> tuple[ExportedLabels, Manifest]:
    made = export_labels(services.sessions, services.source, services.blobs, review, output, by="d-1", **options)
    return made, read_manifest(output)


def test_manifest_has_a_vote_for_each_reviewer_and_names_files_of_the_store(
    services: WorkerServices, sessions: Sessions, send: Send, tmp_path: Path
) -> None:
    send(3)
    review = create(sessions, second_share=1)
    vote(sessions, review, "staff:dr-1", False, FindingKind.MOTION, FindingKind.TOO_DARK)
    vote(sessions, review, "staff:dr-1", True)
    vote(sessions, review, "staff:dr-2", False, FindingKind.MOTION)

    made, manifest = export(services, review, tmp_path / "labels.csv")

    assert (manifest.reviewers, manifest.n_reviewers) == (("dr-1", "dr-2"), 2)
    assert (made.unrated, made.deleted, made.unreadable, made.from_decisions) == (1, 0, 0, 0)
    both, one = manifest.photos
    assert (both.reviews, one.reviews) == ((0, 0), (1, None))
    assert (both.reasons[FindingKind.MOTION], both.reasons[FindingKind.TOO_DARK]) == (1.0, 0.5)
    assert both.source == "ehr"
    assert both.path.name == sha256_of(both.path.read_bytes())
    text_of_file = (tmp_path / "labels.csv").read_text(encoding="utf-8")
    assert "SECRET" not in text_of_file
    assert "m-1" not in text_of_file
    with sessions() as session:
        event = audit.events_of(session, review)[-1]
    assert (event.actor, event.action) == ("d-1", "photo_review.exported")
    assert (event.details["photos"], event.details["copied"]) == (2, False)


def test_photos_of_a_thread_have_one_opaque_patient(
    services: WorkerServices, sessions: Sessions, send: Send, tmp_path: Path
) -> None:
    send(3)
    with sessions.begin() as session:
        session.execute(
            text(
                "UPDATE message SET thread_id = (SELECT thread_id FROM message WHERE external_id = 'm-1') "
                "WHERE external_id = 'm-2'"
            )
        )
    review = create(sessions)
    for good in (True, True, False):
        vote(sessions, review, "dr-1", good)

    _, manifest = export(services, review, tmp_path / "labels.csv")

    patients = [photo.patient for photo in manifest.photos]
    assert len(set(patients)) == 2
    assert all(patient is not None and len(patient) == 32 for patient in patients)


def test_photos_are_copied_under_opaque_names_when_a_folder_is_named(
    services: WorkerServices, sessions: Sessions, send: Send, tmp_path: Path, jpeg: Callable[..., bytes]
) -> None:
    send(2)
    review = create(sessions)
    for good in (True, False):
        vote(sessions, review, "dr-1", good)
    folder = tmp_path / "photos"

    _, manifest = export(services, review, tmp_path / "labels.csv", photos=folder)

    assert folder.stat().st_mode & 0o777 == 0o700
    assert {photo.path.read_bytes() for photo in manifest.photos} == {jpeg(0), jpeg(1)}
    assert sorted(folder.iterdir()) == sorted(photo.path for photo in manifest.photos)
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert sha256_of(path.read_bytes()) != path.stem
    folder.chmod(0o755)
    with pytest.raises(UsageError, match="others can use"):
        export(services, review, tmp_path / "labels.csv", photos=folder)


def test_photo_is_left_out_when_it_is_deleted_or_its_file_is_missing(
    services: WorkerServices, sessions: Sessions, send: Send, tmp_path: Path
) -> None:
    send(3)
    review = create(sessions)
    for _ in range(3):
        vote(sessions, review, "dr-1", True)
    with sessions.begin() as session:
        hashes = session.scalars(text("SELECT sha256 FROM attachment ORDER BY id")).all()
        session.execute(text("UPDATE blob SET purge_after = now() WHERE sha256 = :one"), {"one": hashes[0]})
    services.blobs.remove(hashes[1])

    for photos in (None, tmp_path / "photos"):
        made, manifest = export(services, review, tmp_path / "labels.csv", photos=photos)
        assert (len(manifest.photos), made.deleted, made.unreadable) == (1, 1, 1)


def test_export_is_refused_when_nothing_is_labelled(
    services: WorkerServices, sessions: Sessions, send: Send, tmp_path: Path
) -> None:
    send(1)
    with pytest.raises(UsageError, match="has a vote"):
        export(services, create(sessions), tmp_path / "labels.csv")
    assert not (tmp_path / "labels.csv").exists()


def test_decisions_and_judged_requests_label_photos_when_they_are_asked_for(
    services: WorkerServices, sessions: Sessions, send: Send, tmp_path: Path
) -> None:
    send(6)
    policy = RetakePolicy()
    with sessions.begin() as session:
        rows = session.execute(text("SELECT id, external_id FROM message")).all()
        session.execute(
            text(
                "UPDATE attachment SET status = 'scored', finished_at = now();"
                "INSERT INTO decision (id, message_id, outcome, reason, decided_by) SELECT gen_random_uuid(), id, "
                "'uncertain', 'near_threshold', 'model' FROM message;"
                "UPDATE message SET current_decision_id = (SELECT id FROM decision WHERE message_id = message.id)"
            )
        )
    ids = {row.external_id: MessageId(row.id) for row in rows}

    def decide(name: str, outcome: Outcome, reason: str) -> None:
        override(sessions, str(ids[name]), outcome, by="staff:dr-9", reason=reason, policy=policy)

    decide("m-1", Outcome.PASS, note_of(Ground.SHARP_ENOUGH, "looks fine"))
    decide("m-2", Outcome.RETAKE, note_of(Ground.BLURRED))
    decide("m-3", Outcome.PASS, note_of(Ground.URGENT))  # says nothing about the photo
    decide("m-4", Outcome.RETAKE, "written outside of the console")
    decide("m-5", Outcome.RETAKE, note_of(Ground.UNREADABLE))
    review = create(sessions, size=1)
    vote(sessions, review, "dr-1", True)

    made, manifest = export(services, review, tmp_path / "labels.csv", decisions_since=LONG_AGO)
    _, votes_only = export(services, review, tmp_path / "votes.csv")

    by_person = [dict(zip(manifest.reviewers, photo.reviews, strict=True)) for photo in manifest.photos]
    assert {each["dr-9"] for each in by_person} - {None} == {0, 1}
    assert len(votes_only.photos) == 1
    assert made.from_decisions == len(manifest.photos) - 1
    late, _ = export(services, review, tmp_path / "late.csv", decisions_since=datetime.now(UTC) + timedelta(days=2))
    assert late.from_decisions == 0


def test_votes_of_the_console_train_a_model(
    services: WorkerServices,
    sessions: Sessions,
    send: Send,
    live_model: RegisteredModel,
    logged_in: Callable[..., Browser],
    triage: Callable[..., Result],
    model_folder: Path,
    tmp_path: Path,
) -> None:
    send(24)
    BlobStore(services.settings.models_url).put_as(live_model.card.weights_sha256, b"weights")
    for name in ("dr-1", "dr-2"):
        browser = logged_in(name=name)
        if name == "dr-1":
            browser.get("/reviews")
            rule = {"size": "24", "days": "30", "order": "random", "votes": "1", "second": "100"}
            rule |= {"near": "0", "seed": "0"}
            review = browser.post("/reviews", name="r-1", **rule).headers["location"].removeprefix("/console")
        browser.get(review)
        path = browser.post(f"{review}/next").headers["location"].removeprefix("/console")
        for number in range(24):
            choice = {"vote": "good"} if number % 2 else {"vote": "bad", "reason_motion": "1"}
            path = browser.post(f"{path}/vote", **choice).headers["location"].removeprefix("/console")
        assert path == f"{review}?nothing=1"

    done = triage("dataset", "from-reviews", "r-1", "-o", tmp_path / "labels.csv", "--photos", tmp_path / "photos")
    assert "24 photos, 2 reviewers, 2 votes each" in done.out
    assert triage("dataset", "split", tmp_path / "labels.csv", "-o", tmp_path / "split.csv").code == 0
    start_training(
        sessions,
        services.registry,
        manifest=tmp_path / "split.csv",
        name="of-the-console",
        init=str(model_folder),
        settings={"epochs": 1, "batch_photos": 4},
        actor="d-1",
    )
    options = TrainerOptions(
        tmp_path / "runs", timedelta(seconds=60), 1, ImageLimits(), "cpu", threads=1, decode_threads=1
    )
    assert Trainer(services.engine, sessions, services.registry, options, source=services.source).train_next()

    with sessions() as session:
        [run] = session.execute(text("SELECT status, error FROM run")).all()
        [card] = session.scalars(text("SELECT card FROM model_version WHERE name = 'of-the-console'"))
    assert (run.status, run.error) == ("done", None)
    assert card["n_outputs"] == 2
