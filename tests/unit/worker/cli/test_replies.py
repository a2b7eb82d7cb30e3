"""`triage replies`, and the start of a worker with the hospital's files. Neither needs a database."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import Result
from triage.replies.catalogue import shipped_catalogue
from worker.doctor.problems import run_check
from worker.doctor.systems import check_replies
from worker.settings import load_settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hospital's folder, with Mexican Spanish."""
    (tmp_path / "es-MX.toml").write_text('[message]\nsubject = "Fotos para {clinic}"\n', encoding="utf-8")
    monkeypatch.setenv("TRIAGE_REPLIES__FOLDER", str(tmp_path))
    monkeypatch.setenv("TRIAGE_REPLIES__CLINIC", "Norte")
    return tmp_path


def test_list_shows_the_languages_and_who_reviewed_them(folder: Path, run_command: Callable[..., Result]) -> None:
    shown = run_command("replies", "list")
    documents = run_command("replies", "list", "--json").json

    assert "es-MX" in shown.out
    assert "draft" in shown.out
    assert [each["locale"] for each in documents] == ["en", "es", "es-MX"]
    assert documents[0] == {
        "locale": "en",
        "language": "English",
        "version": shipped_catalogue().texts_for("en").version,
        "reviewed_by": None,
        "reviewed_on": None,
        "default": True,
    }


def test_preview_shows_the_reply_of_a_language(folder: Path, run_command: Callable[..., Result]) -> None:
    reply = run_command("replies", "preview", "--locale", "es-MX", "--reasons", "too_dark, motion", "--json").json

    assert reply["subject"] == "Fotos para Norte"
    assert "La foto necesita más luz." in reply["text"]
    assert run_command("replies", "preview", "--reasons", "blurry").code == 2
    assert run_command("replies", "preview", "--locale", "es_MX").code == 2


def test_check_lists_every_problem(folder: Path, run_command: Callable[..., Result]) -> None:
    assert run_command("replies", "check", folder).code == 0
    (folder / "fr.toml").write_text("[message")
    (folder / "es-MX.toml").write_text('[message]\nsubject = "{phone}"\n')

    checked = run_command("replies", "check", folder)

    assert checked.code == 2
    assert checked.out.splitlines() == [
        "fr.toml: the file is not TOML (at end of document)",
        "es-MX: subject: {phone} has no value",
    ]
    assert checked.err.startswith("triage: 2 problems found")


def test_worker_does_not_start_and_doctor_says_why_when_a_file_is_malformed(
    folder: Path, run_command: Callable[..., Result]
) -> None:
    assert run_check("", lambda: check_replies(load_settings())).detail.startswith("en, es, es-MX; drafts")
    (folder / "fr.toml").write_text("[message")

    started = run_command("worker", "intake")
    check = run_check("replies", lambda: check_replies(load_settings()))

    assert (started.code, check.ok) == (2, False)
    assert "fr.toml: the file is not TOML" in started.err
    assert "triage replies check" in started.err
    assert "fr.toml" in check.detail + check.remedy


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOCALE", "es_MX"),
        ("CLINIC", "{phone}"),
        ("CLINIC", "a\nb"),
        ("PHONE", "5" * 101),
    ],
)
def test_malformed_setting_is_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, run_command: Callable[..., Result]
) -> None:
    monkeypatch.setenv(f"TRIAGE_REPLIES__{name}", value)

    refused = run_command("replies", "list")

    assert refused.code == 2
    assert f"TRIAGE_REPLIES__{name}" in refused.err
