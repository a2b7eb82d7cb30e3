from pathlib import Path

import pytest

from tests.support.models import refuse_registered
from tests.support.narrow_model import make_narrow_model, write_narrow_model
from triage.domain.card import Card
from triage.errors import DatabaseUnavailableError, Fault, ModelError, UsageError
from triage.model.named import read_model
from triage.model.starter import STARTER_FOLDER


def _unknown(name: str) -> tuple[Card, bytes]:
    raise UsageError(f"no model has the name or SHA-256 {name!r}")


def test_folder_is_read_without_the_registry_when_the_text_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = write_narrow_model(tmp_path / "clinic-1", name="clinic-1")
    monkeypatch.chdir(tmp_path)

    for text in ("./clinic-1", "clinic-1/", str(tmp_path / "clinic-1")):
        assert read_model(text, refuse_registered)[0] == card
    monkeypatch.chdir(tmp_path / "clinic-1")
    assert read_model(".", refuse_registered)[0] == card
    assert read_model("starter", refuse_registered)[0].name.startswith("starter")
    assert STARTER_FOLDER.is_dir()
    with pytest.raises(ModelError, match="no model at"):
        read_model("./missing", refuse_registered)


def test_registered_model_is_meant_when_a_folder_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_narrow_model(tmp_path / "clinic-1", name="another")
    monkeypatch.chdir(tmp_path)
    registered = make_narrow_model(name="clinic-1")

    assert read_model("clinic-1", lambda _: registered) == registered


def test_error_says_how_to_name_the_folder_when_no_model_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_narrow_model(tmp_path / "clinic-1")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError, match=r"for the folder clinic-1, write \./clinic-1"):
        read_model("clinic-1", _unknown)
    with pytest.raises(UsageError, match=r"'clinic-2'$"):
        read_model("clinic-2", _unknown)


def test_error_is_that_of_the_database_when_it_is_away_and_no_folder_has_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def away(_: str) -> tuple[Card, bytes]:
        raise DatabaseUnavailableError(Fault.UNREACHABLE)

    with pytest.raises(DatabaseUnavailableError):
        read_model("clinic-1", away)
