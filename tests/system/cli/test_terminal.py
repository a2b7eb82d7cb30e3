"""Tables of commands on a terminal of 80 columns and in a pipe: no id, date, model or score is cut."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.clinic import Clinic
from triage.domain.states import RunKind
from triage.storage import runs

pytestmark = pytest.mark.long

TRIAGE = (sys.executable, "-c", "from worker.cli import main; main()")
LONG_ID = "m" * 200
CET = timezone(timedelta(hours=1))
LABEL = "a-model-with-a-name-of-a-hundred-characters-".ljust(100, "x")


@pytest.fixture
def busy(environment: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, clinic: Clinic) -> Clinic:
    """Thirty messages that need a retake; commands run in a time zone east of Greenwich."""
    monkeypatch.setenv("TZ", "CET-1")
    monkeypatch.delenv("COLUMNS", raising=False)
    for number in range(30):
        clinic.send(f"message-{number}", "a/0.123")
    clinic.drain()
    return clinic


@pytest.fixture
def with_long_id(busy: Clinic) -> Clinic:
    """One more message, with an id of 200 characters."""
    busy.send(LONG_ID, "a/0.123")
    busy.drain()
    return busy


def _on_terminal(*arguments: str, columns: int = 80) -> str:
    """What a command prints on a terminal of that width, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = dict(os.environ)  # not the inherited one: readline puts COLUMNS there behind Python's back
    process = subprocess.Popen([*TRIAGE, *arguments], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    printed = bytearray()
    while data := _read(ours):
        printed += data
    os.close(ours)
    assert process.wait() == 0, printed.decode()
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.decode().replace("\r\n", "\n"))


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the command has closed the terminal
        return b""


def _in_pipe(*arguments: str) -> str:
    return subprocess.run([*TRIAGE, *arguments], capture_output=True, text=True, check=True).stdout


def _cells(requests: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The cells of `retakes list` as its JSON has them, with times of the test's zone."""
    return [
        [
            request["id"],
            request["message_id"],
            request["status"],
            *f"{datetime.fromisoformat(request['created_at']).astimezone(CET):%Y-%m-%d %H:%M} CET".split(),
            request["source"],
            request["model"],
        ]
        for request in requests
    ]


def test_table_is_complete_when_output_is_a_pipe(with_long_id: Clinic) -> None:
    requests = json.loads(_in_pipe("retakes", "list", "--json"))

    heading, *lines = _in_pipe("retakes", "list").splitlines()

    assert len(requests) == 31
    assert heading.split() == ["request", "message", "status", "flagged", "source", "model"]
    assert [line.split() for line in lines] == _cells(requests)
    assert {datetime.fromisoformat(request["created_at"]).tzinfo for request in requests} == {UTC}


def test_rows_become_blocks_when_an_id_is_wider_than_the_terminal(with_long_id: Clinic) -> None:
    requests = json.loads(_in_pipe("retakes", "list", "--json"))

    blocks = _on_terminal("retakes", "list").split("\n\n")

    assert [[word for line in block.splitlines() for word in line.split()[1:]] for block in blocks] == _cells(requests)


def test_columns_that_do_not_fit_are_named_and_the_others_are_whole(busy: Clinic) -> None:
    requests = json.loads(_in_pipe("retakes", "list", "--json"))

    heading, *lines, last = _on_terminal("retakes", "list").splitlines()

    assert heading.split() == ["request", "message", "status", "flagged"]
    assert [line.split() for line in lines] == [row[:-2] for row in _cells(requests)]
    assert last == "hidden at 80 columns: source, model (widen the terminal or pipe the output)"
    assert max(map(len, (heading, *lines, last))) <= 80


def test_model_label_of_a_hundred_characters_is_whole(busy: Clinic) -> None:
    busy.execute(f"UPDATE model_version SET name = '{LABEL}', card = jsonb_set(card, '{{name}}', '\"{LABEL}\"')")

    for arguments in (["models", "list"], ["report"], ["report", "--by", "model"]):
        assert LABEL in _on_terminal(*arguments)
    assert LABEL in _in_pipe("explain", "message-1")


def test_scores_and_ids_are_whole_when_a_message_is_explained(with_long_id: Clinic) -> None:
    shown = _on_terminal("explain", LONG_ID)

    assert LONG_ID in shown.replace("\n", "")
    assert "0.123" in shown
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d CET", shown)
    assert max(map(len, shown.splitlines()[1:])) <= 80


def test_runs_fit_the_terminal_and_keep_their_progress(busy: Clinic) -> None:
    _in_pipe("rescore")
    with busy.sessions.begin() as session:
        session.execute(
            text("UPDATE run SET progress = CAST(:progress AS jsonb)"),
            {"progress": json.dumps({"scored": 1, "total": 30, "failed": 0, "good_to_bad": 0, "bad_to_good": 0})},
        )
    [run] = json.loads(_in_pipe("runs", "--json"))
    progress = "1 of 30 photos, 0 failed, good to bad 0, bad to good 0"

    narrow, wide, piped = _on_terminal("runs"), _on_terminal("runs", columns=200), _in_pipe("runs")

    assert run["id"] in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    assert wide == piped
    assert progress in piped
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d CET", piped)


def test_waiting_runs_fit_the_terminal_with_whole_ids(busy: Clinic) -> None:
    with busy.sessions.begin() as session:
        first, second = (runs.start(session, RunKind.TRAINING, {"config": {"epochs": 3}})[0] for _ in range(2))
        runs.claim(session, RunKind.TRAINING, lease=timedelta(hours=1))

    narrow = _on_terminal("runs")

    assert max(map(len, narrow.splitlines())) <= 80
    assert narrow.split().count(str(first.id)) == 2  # its row, and what the other waits for
    assert narrow.split().count(str(second.id)) == 1


def test_report_on_a_terminal_wraps_its_sentences(busy: Clinic) -> None:
    shown = _on_terminal("report", "--by", "day", "--by", "source")

    assert max(map(len, shown.splitlines())) <= 80
    assert "hidden at 80 columns" in shown
    assert "100.0 %" in shown


def test_output_has_no_colours_when_the_environment_disables_them(busy: Clinic) -> None:
    ours, theirs = pty.openpty()
    subprocess.run([*TRIAGE, "explain", "message-1"], stdout=theirs, check=True, env={**os.environ, "NO_COLOR": "1"})
    os.close(theirs)
    printed = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)

    assert b"\x1b[" not in printed
