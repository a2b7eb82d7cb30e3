"""A patient's name is put into photos' metadata, and then looked for in everything that this software leaves behind."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

import pytest
from redis import Redis

from tests.end_to_end.conftest import Deployment, eventually
from tests.planted import PATIENT, PLANTED, damaged
from triage.domain import AttachmentStatus
from triage.imaging.drawing import draw_skin_photo
from worker.settings import Settings

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

TRACES = tuple(PATIENT.encode(encoding) for encoding in ("ascii", "utf-16-le", "utf-16-be"))


@pytest.fixture
def photos() -> dict[str, bytes]:
    photo = draw_skin_photo(1, size=(96, 128))
    files = {name: make(photo) for name, make in PLANTED.items()}
    return files | {f"{name}-damaged": damaged(data) for name, data in files.items()}


def test_name_in_metadata_is_found_nowhere_afterwards(
    deploy: Deploy, settings: Settings, model_folder: Path, photos: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, data in photos.items():
        (folder / f"{name}.jpg").write_bytes(data)
    assert any(PATIENT.encode() in data for data in photos.values())
    with deploy("scoring", "intake") as clinic:
        for number, data in enumerate(photos.values()):
            clinic.send(f"m-{number}", data)
        eventually(lambda: not clinic.query("SELECT 1 FROM attachment WHERE finished_at IS NULL"))

        commands = [
            ("score", folder, "--model", model_folder, "--json"),
            ("enqueue", *_named_after_the_patient(photos, tmp_path), "--message-id", "m-all"),
            ("wait",),
            ("explain", "m-all"),
            ("report", "--format", "html", "--output", tmp_path / "report.html"),
            ("retakes", "list"),
            ("retakes", "claim", "--json"),
            ("override", "m-1", "--decision", "pass", "--by", "test", "--reason", "test"),
            ("rescore", "--model", "strict", "--since", "2020-01-01"),
            ("doctor",),
        ]
        told = [_run(clinic, *command) for command in commands]

        statuses = {row.status for row in clinic.query("SELECT status FROM attachment")}
        assert statuses == {AttachmentStatus.SCORED, AttachmentStatus.NOT_ASSESSABLE}
        left = [*told, *_rows(clinic), *_redis(settings)]
    own = (folder, tmp_path / "named")
    files = [file for file in tmp_path.rglob("*") if file.is_file() and not set(file.parents) & set(own)]
    assert {"report.html", "scoring.log", "intake.log"} <= {file.name for file in files}
    # a photo's own bytes are kept as they came, under their hash
    left += [file.read_bytes() for file in files if tmp_path / "blobs" not in file.parents]
    left += [str(file).encode() for file in files]
    assert [text[:200] for text in left if any(trace in text for trace in TRACES)] == []


def _named_after_the_patient(photos: dict[str, bytes], tmp_path: Path) -> list[Path]:
    folder = tmp_path / "named"
    folder.mkdir()
    files = [folder / f"{PATIENT}-{name}.jpg" for name in photos]
    for file, data in zip(files, photos.values(), strict=True):
        file.write_bytes(data)
    return files


def _run(clinic: Deployment, *command: object) -> bytes:
    """Stdout and stderr of a command that did what it should."""
    done = subprocess.run(
        [sys.executable, "-c", "from worker.cli import main; main()", *map(str, command)],
        capture_output=True,
        env=clinic.environment,
        check=False,
    )
    assert (command[0], done.returncode) in {(command[0], 0), ("doctor", 1)}, done.stderr
    return done.stdout + done.stderr


def _rows(clinic: Deployment) -> Iterator[bytes]:
    tables = clinic.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    assert len(tables) > 8
    for table in tables:
        for row in clinic.query(f'SELECT t::text FROM "{table.table_name}" t'):
            yield row[0].encode()


def _redis(settings: Settings) -> Iterator[bytes]:
    """Every key with its value, as Redis serialises it."""
    with Redis.from_url(settings.embedded.redis_url) as redis:
        for key in redis.scan_iter():
            yield key
            yield redis.dump(key) or b""
