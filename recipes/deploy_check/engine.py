"""Docker or podman, and a Compose stack under one of them, with a project name that no other stack has."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

_WAIT_SECONDS: Final = 300.0
_END_SECONDS: Final = 20.0
_LABEL: Final = "com.docker.compose"


class CheckError(Exception):
    """A step of the check failed; the text says which and how."""


@dataclass(frozen=True)
class Engine:
    """
    Attributes:
        command: the program, `docker` or `podman`.
        compose: its Compose, with the options that every call needs.
    """

    command: str
    compose: tuple[str, ...]


def find_program() -> str | None:
    """The program that runs containers on this machine, `docker` first; None if neither answers."""
    return next((program for program in ("docker", "podman") if _succeeds(program, "info")), None)


def find_engine() -> Engine | str:
    """The engine of this machine, or the reason why there is none."""
    program = find_program()
    if program is None:
        return "neither Docker nor podman answers"
    if program == "docker":
        if not _succeeds("docker", "compose", "version"):
            return "Docker has no plugin for Compose"
        return Engine("docker", ("docker", "compose"))
    if not _succeeds("podman-compose", "version"):
        return "podman has no podman-compose: pip install podman-compose"
    # Without a pod, which would have no label of the project. podman's tmpfs on /run of a read-only container hides the
    # folder of the socket of Postgres.
    return Engine("podman", ("podman-compose", "--in-pod=false", "--podman-run-args=--read-only-tmpfs=false"))


class Stack:
    """The Compose stack of a folder with `docker-compose.yml` and `check.yml`."""

    def __init__(self, engine: Engine, folder: Path, project: str) -> None:
        self.engine = engine
        self.folder = folder
        self.project = project
        self.files = ["docker-compose.yml", "check.yml"]

    def compose(self, *words: str) -> str:
        """
        Raises:
            CheckError: Compose fails.
        """
        files = [word for name in self.files for word in ("-f", name)]
        return self._call([*self.engine.compose, "-p", self.project, *files, *words])

    def run(self, service: str, *words: str) -> str:
        """Runs a command in a new container of a service. Returns its standard output."""
        if self.engine.command == "docker":
            return self.compose("run", "--rm", service, *words)
        # podman-compose knows no service of another profile, would start what it depends on, and attach a terminal
        return self.compose("--profile", "cli", "run", "--rm", "--no-deps", "-T", service, *words)

    def execute(self, service: str, *words: str, stdin: str = "", number: int = 0) -> str:
        """Runs a command in a running container of a service. Returns its standard output."""
        return self._call([self.engine.command, "exec", "-i", self.containers(service)[number], *words], stdin)

    def command(self, *words: str) -> str:
        """A command of the engine."""
        return self._call([self.engine.command, *words])

    def spawn(self, service: str, *words: str, number: int = 0) -> "subprocess.Popen[str]":
        """As `execute`, but does not wait."""
        return subprocess.Popen(
            [self.engine.command, "exec", "-i", self.containers(service)[number], *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def shell(self, line: str) -> str:
        """Runs a line of a document in the folder."""
        return self._call(["sh", "-ec", line])

    def containers(self, service: str, *, all_states: bool = False) -> list[str]:
        """The ids of the running containers of a service."""
        labels = (f"{_LABEL}.project={self.project}", f"{_LABEL}.service={service}")
        filters = [word for label in labels for word in ("--filter", f"label={label}")]
        return sorted(self.command("ps", "-q", *(["-a"] if all_states else []), *filters).split())

    def build(self) -> None:
        """`docker compose build`; podman-compose would build the one image once for each part, all at the same time."""
        self.compose("build", *([] if self.engine.command == "docker" else self.parts()[:1]))

    def start(self) -> None:
        """`docker compose up -d`; podman-compose starts no service after another one, so this does."""
        if self.engine.command == "docker":
            self.compose("up", "-d")
        else:
            self.compose("up", "-d", "--no-deps", "postgres", "redis")
            for service in ("postgres", "redis"):
                self.wait_until_healthy(service)
            for service in ("roles", "migrate"):
                self.run(service)
            self.compose("up", "-d", "--no-deps", *self.parts(), "sender")
        for service in ("postgres", "redis", *self.parts()):
            self.wait_until_healthy(service)

    def parts(self) -> list[str]:
        """The services of the product that run and have a check of health, without profiles but `api`."""
        return [
            name
            for name, service in self._services().items()
            if "healthcheck" in service
            and name not in {"postgres", "redis"}
            and service.get("profiles", ["api"]) == ["api"]
        ]

    def wait_until_healthy(self, service: str) -> None:
        """Runs the check of health in every container of a service until it succeeds."""
        kind, *test = self._services()[service]["healthcheck"]["test"]
        words = ["sh", "-c", test[0].replace("$$", "$")] if kind == "CMD-SHELL" else test

        def healthy() -> bool:
            containers = self.containers(service)
            return bool(containers) and all(
                _succeeds(self.engine.command, "exec", container, *words) for container in containers
            )

        self.wait(healthy, f"{service} is not healthy")

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a query to Postgres."""
        wrapped = f"SELECT coalesce(json_agg(q), '[]') FROM ({sql}) q"  # noqa: S608  # the texts of this package
        words = ("psql", "--username=triage", "--dbname=triage", "--no-psqlrc", "--tuples-only", "--no-align")
        rows: list[dict[str, Any]] = json.loads(self.execute("postgres", *words, "--command", wrapped))
        return rows

    def wait(self, ask: Callable[[], object], problem: str, *, seconds: float = _WAIT_SECONDS) -> None:
        """
        Raises:
            CheckError: the answer is not true in time.
        """
        deadline = time.monotonic() + seconds
        error = ""
        while time.monotonic() < deadline:
            try:
                if ask():
                    return
            except CheckError as failure:  # a container that restarts
                error = f": {failure}"
            time.sleep(1)
        raise CheckError(f"{problem} after {seconds:.0f} s{error}")

    def remove(self) -> None:
        """Removes containers, volumes and networks of the project; continues after failures."""
        for listing, removal in (
            (("ps", "-q"), ("kill",)),  # podman's `rm -f` waits for each container
            (("ps", "-aq"), ("rm", "-f", "-v")),
            (("volume", "ls", "-q"), ("volume", "rm", "-f")),
            (("network", "ls", "-q"), ("network", "rm")),
        ):
            if names := self._quietly(*listing, "--filter", f"label={_LABEL}.project={self.project}").split():
                self._quietly(*removal, *names)

    def _quietly(self, *words: str) -> str:
        return complete([self.engine.command, *words]).stdout

    def _services(self) -> dict[str, Any]:
        services: dict[str, Any] = yaml.safe_load((self.folder / "docker-compose.yml").read_text("utf-8"))["services"]
        return services

    def _call(self, words: Sequence[str], stdin: str = "") -> str:
        done = complete(words, stdin, folder=self.folder)
        if done.returncode != 0:
            end = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
            raise CheckError(f"exit code {done.returncode} of {shlex.join(words)[:300]}: {end}")
        return done.stdout


def complete(
    words: Sequence[str], stdin: str = "", *, folder: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Runs a program in a new session, so that Ctrl-C reaches this process alone.

    An exception, such as KeyboardInterrupt, first ends the program and all that it started: a Compose that still starts
    containers would do so after their removal.
    """
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=_environment(),
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(stdin)
        except BaseException:
            _end_session(process)
            raise
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def _end_session(process: "subprocess.Popen[str]") -> None:
    # `podman build` ends its container after SIGINT alone
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _END_SECONDS
        with suppress(ProcessLookupError):  # none is left
            os.killpg(process.pid, number)
            while time.monotonic() < deadline:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.1)


def _environment() -> dict[str, str]:
    """Without what would change the stack from outside."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("TRIAGE_", "COMPOSE_"))}


def _succeeds(*words: str) -> bool:
    if shutil.which(words[0]) is None:
        return False
    return complete(words).returncode == 0
