"""The commands of docs/operations/install.md for Compose, run as they are written, and what they must print."""

import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from recipes.deploy_check.engine import CheckError, Stack

PAGE: Final = Path(__file__).parents[2] / "docs" / "operations" / "install.md"
_COMPOSE: Final = ("docker", "compose")


def commands(page: str, heading: str) -> list[str]:
    """The lines of the first block of code below a heading, without comments."""
    section = re.split(rf"^##+ {re.escape(heading)}$", page, maxsplit=1, flags=re.MULTILINE)[1]
    block = section.split("```")[1]
    return [line.partition(" #")[0].strip() for line in block.strip().splitlines()]


def prepare(stack: Stack, prepared: Callable[[], None]) -> None:
    """The commands before Compose is called; `prepared` fills in `.env` as a person would."""
    for line in commands(PAGE.read_text("utf-8"), "Docker Compose"):
        if not line.startswith("docker compose"):
            # only root may give a folder to another user
            stack.shell(line if os.geteuid() == 0 else line.replace("install -d -o 10001", "install -d -m 777"))
    prepared()


def install(stack: Stack, *, build: bool) -> None:
    """The commands of Compose: build, start, add a model, ask the doctor."""
    for line in commands(PAGE.read_text("utf-8"), "Docker Compose"):
        words = shlex.split(line)
        if tuple(words[:2]) != _COMPOSE or (words[2] == "build" and not build):
            continue
        _run(stack, line)


def first_hour(stack: Stack) -> None:
    """The commands of the section about the first hour."""
    for line in commands(PAGE.read_text("utf-8"), "The first hour"):
        _run(stack, line)


def _run(stack: Stack, line: str) -> None:
    print(f"  {line}", flush=True)
    command, _, target = line.partition(" >")
    words = shlex.split(command)
    if tuple(words[:2]) != _COMPOSE:
        raise CheckError(f"not a command of Compose: {line}")
    if words[2:4] == ["run", "--rm"]:
        out = stack.run(*words[4:])
    elif words[2:4] == ["exec", "-T"]:
        container = stack.containers(words[4])[0]
        out = stack.shell(shlex.join([stack.engine.command, "exec", "-i", container, *words[5:]]) + f" >{target}")
    elif words[2:] == ["build"]:
        stack.build()
        out = ""
    elif words[2:] == ["up", "-d"]:
        stack.start()
        out = ""
    else:
        out = stack.compose(*words[2:])
    for start, expect in _EXPECTED.items():
        if start in command:
            expect(stack, out)
    if target and not (stack.folder / target).stat().st_size:
        raise CheckError(f"empty file: {line}")


def _expect(is_true: object, what: str, out: object) -> None:
    if not is_true:
        raise CheckError(f"{what}: {str(out)[:2000]}")


def _stored(_: Stack, out: str) -> None:
    document = json.loads(out)
    _expect(document["created"] is True, "the message is not new", document)
    _expect([each["status"] for each in document["attachments"]] == ["pending"], "the photo is not pending", document)


def _explained(_: Stack, out: str) -> None:
    document = json.loads(out)
    [photo] = document["attachments"]
    _expect(photo["status"] == "scored", "the photo is not scored", document)
    _expect(document["outcome"] and document["decisions"], "the message is not decided", document)


def _counted(_: Stack, out: str) -> None:
    document = json.loads(out)
    _expect(document["messages"]["total"] == 1, "the report does not count one message", document["messages"])


def _written(stack: Stack, _out: str) -> None:
    page = (stack.folder / "output" / "report.html").read_text("utf-8")
    _expect(page.startswith("<!doctype html>"), "the report is not a page", page[:80])


def _verified(_: Stack, out: str) -> None:
    document = json.loads(out)
    _expect(document["flaws"] == [] and document["events"] > 0, "the audit trail has flaws", document)


_EXPECTED: Final[Mapping[str, Callable[[Stack, str], Any]]] = {
    " enqueue ": _stored,
    " explain ": _explained,
    " report --format json": _counted,
    " report --format html": _written,
    " audit verify": _verified,
}
