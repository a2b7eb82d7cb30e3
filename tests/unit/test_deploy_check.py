"""`make deploy-check` finds what it looks for, and reads the page that it runs."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from recipes.deploy_check.counts import Row, count
from recipes.deploy_check.engine import Engine, Stack, complete
from recipes.deploy_check.first_hour import PAGE, commands
from recipes.deploy_check.photos import Messages

SENT: Messages = {"kill-0": {"a": True, "b": True}, "kill-1": {"c": False}}
SCORED: list[dict[str, Any]] = [
    {"message": "kill-0", "photo": "a", "status": "scored", "error_code": None, "verdicts": 1},
    {"message": "kill-0", "photo": "b", "status": "scored", "error_code": None, "verdicts": 1},
    {"message": "kill-1", "photo": "c", "status": "not_assessable", "error_code": "truncated", "verdicts": 0},
]


class CannedStack(Stack):
    """Answers the query for results with these rows and counts no other violations."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        super().__init__(Engine("podman", ()), Path(), "test")
        self._rows = rows

    def query(self, sql: str) -> list[dict[str, Any]]:
        return self._rows if "external_id" in sql else [{"n": 0}]


def counted(rows: list[dict[str, Any]], *, repeated: int = 0) -> Row:
    return count(CannedStack(rows), SENT, {"refused": 0, "doubled": repeated}, title="kill", seconds=1)


def test_nothing_is_lost_when_every_photo_has_its_result() -> None:
    row = counted(SCORED)

    assert (row.sent, row.verdicts, row.unreadable, row.lost, row.doubled) == (3, 2, 1, 0, 0)


@pytest.mark.parametrize(
    "rows",
    [
        SCORED[1:],
        [SCORED[0] | {"status": "not_assessable", "error_code": "attempts_exhausted"}, *SCORED[1:]],
        [*SCORED[:2], SCORED[2] | {"status": "scored"}],
    ],
    ids=["missing", "parked", "scored though unreadable"],
)
def test_a_photo_is_lost_when_its_result_is_missing_or_wrong(rows: list[dict[str, Any]]) -> None:
    assert counted(rows).lost == 1


def test_a_photo_is_doubled_when_it_is_stored_twice_or_was_not_sent() -> None:
    assert counted([*SCORED, SCORED[0]]).doubled == 1
    assert counted([*SCORED, SCORED[0] | {"photo": "d"}]).doubled == 1
    assert counted(SCORED, repeated=1).doubled == 1


def test_commands_of_the_page_are_read_without_comments() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert "docker compose up -d" in commands(page, "Docker Compose")
    assert {line.split()[0] for line in commands(page, "The first hour")} == {"docker"}
    assert not [line for line in commands(page, "Docker Compose") if "#" in line]


@pytest.mark.usefixtures("ctrl_c")
def test_program_ends_with_its_children_when_ctrl_c_interrupts_it(tmp_path: Path) -> None:
    """A podman-compose that ends alone leaves its podman behind, which starts containers after their removal."""
    file = tmp_path / "pid"

    def interrupt() -> None:
        while not (file.exists() and file.read_text().strip()):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        complete(["sh", "-c", f"echo $$ >{file}; sleep 60; true"])
    thread.join()

    with pytest.raises(ProcessLookupError):
        os.killpg(int(file.read_text()), 0)
