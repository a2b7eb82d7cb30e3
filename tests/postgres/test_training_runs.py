"""Starting a training run."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from sqlalchemy import text

from tests.support.narrow_model import write_narrow_model
from triage.blobs.store import BlobStore
from triage.dataset.manifest import read_manifest
from triage.domain.runs import Run, TrainingParameters
from triage.domain.states import RunStatus
from triage.errors import ModelError, ModelNameTakenError, UsageError
from triage.imaging.limits import ImageLimits
from triage.model.artifact import WEIGHTS_FILE
from triage.model.network import draw_network
from triage.registry import Registry
from triage.runs import cancel_run, find_run
from triage.storage import audit
from triage.storage.database import Sessions
from triage.training.config import TrainingConfig
from triage.training.run import Trainer, TrainerOptions
from triage.training.start import start_training
from worker.tasks.base import WorkerServices

Start: TypeAlias = Callable[..., Run]


@pytest.fixture
def manifest(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    path = tmp_path / "manifest.csv"
    path.write_text("path,votes,n_reviewers\na.jpg,3,5\n", encoding="utf-8")
    return path


@pytest.fixture
def registry(sessions: Sessions, tmp_path: Path) -> Registry:
    return Registry(sessions, BlobStore(str(tmp_path / "store")))


@pytest.fixture
def start(sessions: Sessions, registry: Registry, manifest: Path) -> Start:
    def start(**changes: object) -> Run:
        usual: dict[str, object] = {"name": "ours", "init": "random", "settings": {"epochs": 3}, "actor": "scientist-1"}
        run, _ = start_training(sessions, registry, manifest=manifest, **(usual | changes))  # type: ignore[arg-type]
        return run

    return start


def test_run_fails_when_its_manifest_changes_before_a_worker_reads_it(
    services: WorkerServices, sessions: Sessions, start: Start, tmp_path: Path
) -> None:
    queued = start()
    with Path(str(queued.parameters["manifest"])).open("a", encoding="utf-8") as file:
        file.write("\n")
    options = TrainerOptions(
        tmp_path / "runs", timedelta(seconds=60), 1, ImageLimits(), "cpu", threads=1, decode_threads=1
    )

    assert Trainer(services.engine, sessions, services.registry, options, source=services.source).train_next()

    run = find_run(sessions, queued.id)
    assert (run.status, run.error) == (
        RunStatus.FAILED,
        "the manifest has changed since the run was queued: start a new run",
    )


def test_run_is_queued_with_its_parameters_and_an_audit_event(sessions: Sessions, manifest: Path, start: Start) -> None:
    run = start()

    assert run.status is RunStatus.PENDING
    parameters = TrainingParameters.model_validate(run.parameters)
    with_splits = manifest.with_name("manifest.split.csv")
    assert (parameters.manifest, parameters.name, parameters.init) == (str(with_splits), "ours", "random")
    assert parameters.manifest_sha256 == hashlib.sha256(with_splits.read_bytes()).hexdigest()
    assert read_manifest(with_splits).photos[0].split is not None
    assert TrainingConfig.model_validate(parameters.config) == TrainingConfig(epochs=3, n_reviewers=5)
    with sessions() as session:
        [event] = audit.events_of(session, run.id)
    assert (event.actor, event.action, event.subject_kind) == ("scientist-1", "run.started", "run")


def test_initial_weights_are_stored_so_that_a_worker_elsewhere_finds_them(
    start: Start, registry: Registry, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(manifest.parent)
    card = write_narrow_model(manifest.parent / "model", name="before")
    registry.add_folder(manifest.parent / "model", actor="test")

    assert start(name="a", init="starter").parameters["init"] == "starter"
    assert start(name="b", init="./model").parameters["init"] == str(manifest.parent / "model")
    assert start(name="c", init="before").parameters["init"] == "before@1"
    assert start(name="d", init=card.weights_sha256[:12]).parameters["init"] == "before@1"


def test_run_is_refused_when_its_initial_weights_cannot_be_used(
    sessions: Sessions, start: Start, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(manifest.parent)
    write_narrow_model(manifest.parent / "model")
    (manifest.parent / "model" / WEIGHTS_FILE).unlink()
    wider = draw_network(1, layers=((8,), (8,), (8,), (8,), (8,)))
    write_narrow_model(manifest.parent / "wider", wider, architecture="vgg-4-8-8-8-8-five-patch")
    (manifest.parent / "notes.pth").write_text("no weights", encoding="utf-8")
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, manifest.parent / "other.pth")

    for init, says in (
        ("unknown", "no model has the name"),
        ("model", "for the folder model, write ./model"),
        ("./missing", "no such file or folder"),
        ("./model", "no model at model"),
        ("./wider", "do not fit vgg-4-8-8-8-8"),
        ("notes.pth", "not a state dict"),
        ("other.pth", "not those of VGG16"),
    ):
        with pytest.raises((UsageError, ModelError), match=says) as raised:
            start(init=init)
        assert len(str(raised.value).splitlines()) == 1

    with sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM run")) == 0


def test_name_is_taken_once_a_model_has_it_or_an_open_run_will_produce_it(
    sessions: Sessions, start: Start, registry: Registry, tmp_path: Path
) -> None:
    first = start()
    write_narrow_model(tmp_path / "model", name="ours")

    with pytest.raises(ModelNameTakenError, match="open training run"):
        start()
    with pytest.raises(ModelNameTakenError, match="training run will produce"):
        registry.add_folder(tmp_path / "model", actor="test")
    second = start(new_version=True)
    for run in (first, second):
        cancel_run(sessions, run.id, by="test")
    registry.add_folder(tmp_path / "model", actor="test")
    with pytest.raises(ModelNameTakenError, match="model ours@1 is registered"):
        start()
    assert start(new_version=True).status is RunStatus.PENDING


def test_one_run_gets_the_name_when_many_ask_for_it_at_once(sessions: Sessions, start: Start) -> None:
    def attempt(number: int) -> bool:
        try:
            start(actor=f"scientist-{number}")
        except ModelNameTakenError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(attempt, range(6))) == 1
    with sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM run")) == 1
        assert session.scalar(text("SELECT count(*) FROM audit_event")) == 1


def test_run_is_started_once_when_the_dedupe_key_is_the_same(sessions: Sessions, start: Start) -> None:
    first, again = (start(dedupe_key="request-1") for _ in range(2))

    assert first.id == again.id
    with sessions() as session:
        assert len(audit.events_of(session, first.id)) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "not a name"}, "invalid training parameters: name: "),
        ({"settings": {"learning_rate": 0}}, "invalid training parameters: learning_rate: "),
        ({"settings": {"good_votes": 6}}, "good_votes is larger than the number of reviewers"),
        ({"settings": {"unknown": 1}}, "invalid training parameters: unknown: "),
        ({"actor": "a person's name"}, "actor"),
    ],
)
def test_run_is_refused_when_an_argument_is_invalid(
    sessions: Sessions, start: Start, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        start(**changes)

    with sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM run")) == 0
