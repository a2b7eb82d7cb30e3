"""What the probes say about a heartbeat file; `tests/system/end_to_end/test_own_health.py` has real workers."""

import struct
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from triage.errors import UsageError
from worker.broker.heartbeat_file import HeartbeatFile, find_problem


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "heartbeat"


def _write(path: Path, *ages: float) -> None:
    """A file of a process that last ran, and whose work last moved, this long ago."""
    path.write_bytes(struct.pack("=qq", *(time.monotonic_ns() - int(age * 1e9) for age in ages)))


def test_process_is_alive_but_not_ready_when_it_has_started_and_is_not_connected(path: Path) -> None:
    heartbeats = HeartbeatFile(path)
    assert "does not run" in str(find_problem(path, 60, is_ready=False))

    heartbeats.start()

    assert find_problem(path, 60, is_ready=False) is None
    assert "not ready" in str(find_problem(path, 60, is_ready=True))
    heartbeats.work_moves()
    assert find_problem(path, 60, is_ready=True) is None


def test_process_is_not_alive_when_its_heartbeat_is_old_missing_or_of_an_earlier_start_of_the_machine(
    path: Path,
) -> None:
    assert find_problem(path, 60, is_ready=False) is not None
    _write(path, 90, 0)
    assert find_problem(path, 60, is_ready=False) is not None
    assert find_problem(path, 120, is_ready=True) is None
    _write(path, -1000, 0)
    assert find_problem(path, 60, is_ready=False) is not None
    path.write_bytes(b"torn")
    assert find_problem(path, 60, is_ready=False) is not None


def test_process_is_alive_and_not_ready_when_its_work_does_not_move(path: Path) -> None:
    _write(path, 1, 90)

    assert find_problem(path, 60, is_ready=False) is None
    assert "its work does not move" in str(find_problem(path, 60, is_ready=True))


def test_work_goes_on_with_a_warning_when_the_file_cannot_be_written(tmp_path: Path) -> None:
    with capture_logs() as logs:
        heartbeats = HeartbeatFile(tmp_path / "missing" / "heartbeat")
    heartbeats.start()
    heartbeats.work_moves()

    assert [line["event"] for line in logs] == ["heartbeat_file.unavailable"]


def test_nothing_is_written_when_no_file_is_set() -> None:
    heartbeats = HeartbeatFile(None)

    heartbeats.start()
    heartbeats.work_moves()


def test_file_that_cannot_be_read_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(UsageError, match="run this check as the user of the worker"):
        find_problem(tmp_path / "folder", 60, is_ready=False)
