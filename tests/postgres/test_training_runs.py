"""Starting a training run."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from triage.domain.runs import Run, TrainingParameters
from triage.domain.states import RunStatus
from triage.errors import UsageError
from triage.storage import audit
from triage.storage.database import Sessions
from triage.training.config import TrainingConfig
from triage.training.start import start_training


@pytest.fixture
def manifest(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    path = tmp_path / "manifest.csv"
    path.write_text("path,votes,n_reviewers\na.jpg,3,5\n", encoding="utf-8")
    return path


def _start(sessions: Sessions, manifest: Path, **changes: object) -> Run:
    arguments: dict[str, object] = {"name": "ours", "init": "random", "settings": {"epochs": 3}, "actor": "scientist-1"}
    run, _ = start_training(sessions, manifest=manifest, **(arguments | changes))  # type: ignore[arg-type]
    return run


def test_run_is_queued_with_its_parameters_and_an_audit_event(sessions: Sessions, manifest: Path) -> None:
    run = _start(sessions, manifest)

    assert run.status is RunStatus.PENDING
    parameters = TrainingParameters.model_validate(run.parameters)
    assert (parameters.manifest, parameters.name, parameters.init) == (str(manifest), "ours", "random")
    assert TrainingConfig.model_validate(parameters.config) == TrainingConfig(epochs=3, n_reviewers=5)
    with sessions() as session:
        [event] = audit.events_of(session, run.id)
    assert (event.actor, event.action, event.subject_kind) == ("scientist-1", "run.started", "run")


def test_initial_weights_are_stored_as_a_name_or_an_absolute_path(
    sessions: Sessions, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(manifest.parent)

    assert _start(sessions, manifest, init="starter").parameters["init"] == "starter"
    (manifest.parent / "weights.pth").touch()
    assert _start(sessions, manifest, init="weights.pth").parameters["init"] == str(manifest.parent / "weights.pth")


def test_run_is_started_once_when_the_dedupe_key_is_the_same(sessions: Sessions, manifest: Path) -> None:
    first, again = (_start(sessions, manifest, dedupe_key="request-1") for _ in range(2))

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
    sessions: Sessions, manifest: Path, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        _start(sessions, manifest, **changes)

    with sessions() as session:
        assert session.scalar(text("SELECT count(*) FROM run")) == 0
