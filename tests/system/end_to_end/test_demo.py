"""`triage demo` as a user runs it: to its end, interrupted, and after its launcher was killed."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.deployment import eventually
from triage.imaging.degradation import Degradation
from triage.samples.drawing import draw_sample_messages

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="triage-demo-", dir="/var/tmp"))  # root's Postgres can enter it
    folder.chmod(0o711)
    yield folder / "home"
    shutil.rmtree(folder)


@pytest.fixture
def photos(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed))
    drawn = [photo for message in draw_sample_messages() for photo in message.photos]
    next(photo for photo in drawn if photo.degradation is Degradation.DARK).image.save(folder / "2.jpg")
    (folder / "note.txt").write_text("not a photo", encoding="utf-8")
    return folder


def _start(home: Path, photos: Path, output: Path) -> subprocess.Popen[bytes]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")}
    with output.open("wb") as file:
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("triage")), "demo", str(photos)],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=inherited | {"TRIAGE_HOME": str(home), "PYTHONUNBUFFERED": "1"},
            # a shell that runs the tests in the background has them ignore Ctrl-C, and their children too
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def _until_enqueued(demo: subprocess.Popen[bytes], output: Path) -> None:
    eventually(lambda: b"enqueued" in output.read_bytes() or demo.poll() is not None)
    assert demo.poll() is None, output.read_text()


def _processes_of(home: Path) -> list[psutil.Process]:
    """Postgres, Redis and workers of this home, by their environment, command line or folder."""
    found = []
    for process in psutil.process_iter():
        try:
            places = [process.environ().get("TRIAGE_HOME", ""), process.cwd(), *process.cmdline()]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if any(str(home) in place for place in places):
            found.append(process)
    return found


def test_demo_works_after_its_launcher_was_killed(home: Path, photos: Path, tmp_path: Path) -> None:
    first = _start(home, photos, tmp_path / "first")
    _until_enqueued(first, tmp_path / "first")
    first.kill()
    first.wait()
    assert _processes_of(home)  # left behind by the kill

    second = _start(home, photos, tmp_path / "second")

    assert second.wait(180) == 0
    shown = (tmp_path / "second").read_text()
    for part in (
        "message-1",
        "0.jpg",
        "unknown_format",
        "flagged",
        "reply to message-1",
        "Your care team has your message",
        "model: starter-2",
        "too dark (",  # by the stored model, as `triage score` says by its files
    ):
        assert part in shown
    assert "everything stopped" in shown
    assert (home / "demo" / "report.html").exists()
    assert _processes_of(home) == []


def test_demo_stops_everything_when_interrupted(home: Path, photos: Path, tmp_path: Path) -> None:
    demo = _start(home, photos, tmp_path / "output")
    _until_enqueued(demo, tmp_path / "output")

    demo.send_signal(signal.SIGINT)

    assert demo.wait(60) == 1
    assert (tmp_path / "output").read_text().splitlines()[-1] == "triage: interrupted"
    assert _processes_of(home) == []
