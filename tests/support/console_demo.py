"""`triage console --demo` as a process."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.deployment import eventually

COMMAND = [sys.executable, "-c", "from worker.cli import main; main()", "console", "--demo"]
_SHOWN = re.compile(r"console: +(\S+)\naccount: +(\S+)\npassword: +(\S+)\n")


@dataclass
class ConsoleDemo:
    """A console with drawn photos."""

    url: str
    name: str
    password: str
    process: subprocess.Popen[bytes]
    output: Path


@contextmanager
def console_demo(**variables: str) -> Iterator[ConsoleDemo]:
    """Starts the demo with these variables, such as `CONSOLE__TIME_ZONE`, and ends it as Ctrl-C does."""
    home = Path(tempfile.mkdtemp(prefix="tc-"))  # short: it holds sockets
    home.chmod(0o755)  # for root, Postgres runs as another user
    output = home / "output"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")}
    environment = inherited | {"TRIAGE_HOME": str(home)} | {f"TRIAGE_{k}": value for k, value in variables.items()}
    with output.open("wb") as stream:
        process = subprocess.Popen(COMMAND, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment)
    try:
        shown = eventually(lambda: _shown(process, output), wait_seconds=600)
        assert shown is not None
        url, name, password = shown
        yield ConsoleDemo(url, name, password, process, output)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)
        text = output.read_text(encoding="utf-8")
        shutil.rmtree(home, ignore_errors=True)
    assert "everything stopped" in text
    assert process.returncode == 0, text


def _shown(process: subprocess.Popen[bytes], output: Path) -> tuple[str, str, str] | None:
    """The address, the account and its password, once they are printed."""
    text = output.read_text(encoding="utf-8")
    assert process.poll() is None, text
    found = _SHOWN.search(text)
    return None if found is None else (found[1], found[2], found[3])
