"""A contrastive pretraining as a run: from photos of a folder or of messages to weights that nobody can promote."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.command_line import Result
from tests.support.scored_photos import send_scored
from triage.blobs.store import BlobStore
from triage.domain.card import RegisteredModel
from triage.domain.runs import PretrainingParameters
from triage.domain.states import RunStatus
from triage.errors import UntrainedModelError, UsageError
from triage.imaging.limits import ImageLimits
from triage.storage import audit, unlabelled_photos
from triage.storage.database import Sessions
from triage.training.config import PretrainingConfig
from triage.training.run import Trainer, TrainerOptions
from triage.training.start_pretraining import start_pretraining
from worker.tasks.base import WorkerServices


@pytest.fixture
def photos(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(jpeg(1))
    (folder / "below" / "b.jpg").write_bytes(jpeg(2))
    return folder


def test_run_is_queued_with_its_parameters_and_an_audit_event(
    services: WorkerServices, sessions: Sessions, photos: Path
) -> None:
    run, created = start_pretraining(
        sessions, services.registry, photos=photos, name="pre", init="random", settings={"epochs": 3}, actor="d-1"
    )

    assert (run.status, created) == (RunStatus.PENDING, True)
    parameters = PretrainingParameters.model_validate(run.parameters)
    assert (parameters.photos, parameters.photos_of_messages, parameters.name) == (str(photos), None, "pre")
    assert PretrainingConfig.model_validate(parameters.config) == PretrainingConfig(epochs=3)
    with sessions() as session:
        assert [event.action for event in audit.events_of(session, run.id)] == ["run.started"]


def test_run_is_refused_without_photos_or_with_two_sources(
    services: WorkerServices, sessions: Sessions, photos: Path, tmp_path: Path
) -> None:
    def start(**source: object) -> None:
        start_pretraining(
            sessions,
            services.registry,
            name="pre",
            init="random",
            settings={},
            actor="d-1",
            **source,  # type: ignore[arg-type]
        )

    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    for name in "ab":
        (tmp_path / "texts" / f"{name}.jpg").write_bytes(b"Dear doctor")
    for source, says in (
        ({"photos": tmp_path / "empty"}, "fewer than two photos"),
        ({"photos": tmp_path / "texts"}, "fewer than two photos"),
        ({"photos_of_messages": 10}, "fewer than two photos"),
        ({"photos": tmp_path / "none"}, "no such folder"),
        ({"photos": photos, "photos_of_messages": 10}, "give a folder of photos, or a number of photos"),
        ({}, "give a folder of photos, or a number of photos"),
        ({"photos_of_messages": 1}, "photos_of_messages"),
        ({"photos_of_messages": 2**63}, "photos_of_messages"),  # more than a query can count
    ):
        with pytest.raises(UsageError, match=says):
            start(**source)
    with sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM run")) == 0


def test_photos_of_messages_leave_out_copies_deleted_and_forgotten_ones(
    services: WorkerServices,
    sessions: Sessions,
    live_model: RegisteredModel,
    jpeg: Callable[..., bytes],
    triage: Callable[..., Result],
) -> None:
    first, copy, deleted, _ = send_scored(services, sessions, live_model, [jpeg(1), jpeg(1), jpeg(2), jpeg(3)])
    with sessions.begin() as session:
        sha256 = session.scalar(text("SELECT sha256 FROM attachment WHERE id = :id"), {"id": deleted})
        session.execute(text("UPDATE blob SET purge_after = now() WHERE sha256 = :sha256"), {"sha256": sha256})
    assert triage("forget", "m-4", "--by", "op-1", "--reason", "request-17").code == 0

    with sessions() as session:
        found = unlabelled_photos.newest(session, 100)

    assert len(found) == 1
    assert found[0].id in {first, copy}


def test_pretraining_on_photos_of_messages_makes_a_start_that_cannot_be_promoted(
    services: WorkerServices,
    sessions: Sessions,
    live_model: RegisteredModel,
    model_folder: Path,
    jpeg: Callable[..., bytes],
    triage: Callable[..., Result],
    tmp_path: Path,
) -> None:
    send_scored(services, sessions, live_model, [jpeg(n) for n in range(3)])
    BlobStore(services.settings.models_url).put_as(live_model.card.weights_sha256, b"weights")
    options = "--pretrain", "contrastive", "--photos-of-messages", "10", "--name", "pre", "--init", str(model_folder)
    assert triage("train", *options, "--epochs", "1", "--batch-photos", "2").code == 0
    trainer_options = TrainerOptions(
        tmp_path / "runs", timedelta(seconds=60), 1, ImageLimits(), "cpu", threads=1, decode_threads=1
    )

    assert Trainer(services.engine, sessions, services.registry, trainer_options, source=services.source).train_next()

    with sessions() as session:
        [run] = session.execute(text("SELECT status, error FROM run")).all()
    assert (run.status, run.error) == ("done", None)
    assert list((tmp_path / "runs").iterdir()) == []  # no photo is kept
    card, _ = services.registry.load("pre")
    assert (card.is_pretrained, card.data_summary) == (True, {"photos": 3, "unreadable": 0})
    with pytest.raises(UntrainedModelError, match="is pretrained and has not learned to score"):
        services.registry.promote("pre", actor="d-1", allow_untrained=True)
    with pytest.raises(UntrainedModelError, match="is pretrained"):
        services.registry.shadow("pre", actor="d-1")


def test_command_is_refused_when_its_options_contradict_each_other(triage: Callable[..., Result], photos: Path) -> None:
    for arguments, says in (
        ((), "give --manifest, or --pretrain contrastive"),
        (("--photos", photos), "give --manifest, or --pretrain contrastive"),
        (("--pretrain", "contrastive"), "give --pretrain with either --photos or --photos-of-messages"),
        (("--pretrain", "contrastive", "--photos", photos, "--patience", "3"), "--patience has no effect"),
    ):
        done = triage("train", *arguments)
        assert done.code != 0
        assert says in done.err
