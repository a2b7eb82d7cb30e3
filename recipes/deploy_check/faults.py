"""The faults of containers: each is injected while messages arrive, and ends without repairs by hand."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from recipes.deploy_check.engine import CheckError, Stack

LEASE_SECONDS: Final = 30
_OUTAGE_SECONDS: Final = 20
_CUT_SECONDS: Final = LEASE_SECONDS + 15
"""Longer than a lease: another worker scores the photos that the cut one holds."""

SKEW_SECONDS: Final = 300
CLOCKS: Final[Mapping[str, int]] = {
    "scoring": SKEW_SECONDS,
    "intake": -SKEW_SECONDS,
    "beat": SKEW_SECONDS,
    "api": -SKEW_SECONDS,
}
"""Seconds that the clocks of these services are ahead of Postgres."""

# All processes of a container but its init, as when its host loses power: init ends, and the engine starts it again.
_KILL: Final = ("sh", "-c", "kill -9 -1")


@dataclass(frozen=True)
class Fault:
    """
    Attributes:
        title: of the row in the table.
        inflict: does harm and ends it.
        http_only: messages arrive over HTTP alone, with the bytes of their photos.
        must_refuse: a message that arrives during the fault cannot be accepted.
        bombs: the photos have nearly as many pixels as are allowed.
    """

    title: str
    inflict: Callable[[Stack], None]
    http_only: bool = False
    must_refuse: bool = False
    bombs: bool = False


def kill_scoring(stack: Stack) -> None:
    """Twice kills a scoring worker while it holds photos."""
    for number in (0, 1):
        _wait_for_work(stack)
        _kill(stack, "scoring", number)
        time.sleep(5)


def kill_parts(stack: Stack) -> None:
    """Kills every part of the product and waits until all run again."""
    _wait_for_work(stack)
    for service in ("api", "intake", "beat", "scoring"):
        _kill(stack, service)


def kill_postgres(stack: Stack) -> None:
    """Postgres recovers from its log, and every connection is lost."""
    _wait_for_work(stack)
    _kill(stack, "postgres")


def lose_redis(stack: Stack) -> None:
    """Empties Redis, then kills it, which empties it too."""
    _wait_for_work(stack)
    stack.execute("redis", "redis-cli", "flushall")
    time.sleep(3)
    _kill(stack, "redis")


def pause_postgres(stack: Stack) -> None:
    _wait_for_work(stack)
    with _paused(stack, "postgres"):
        time.sleep(_OUTAGE_SECONDS)


def pause_scoring(stack: Stack) -> None:
    """The worker continues after its lease has expired and another worker has scored its photos."""
    _wait_for_work(stack)
    with _paused(stack, "scoring"):
        time.sleep(_CUT_SECONDS)


def cut_scoring(stack: Stack) -> None:
    """Disconnects a worker from its network for longer than a lease."""
    _wait_for_work(stack)
    container = stack.containers("scoring")[0]
    network = f"{stack.project}_default"
    stack.command("network", "disconnect", network, container)
    try:
        time.sleep(_CUT_SECONDS)
    finally:
        stack.command("network", "connect", network, container)


def fill_blobs(stack: Stack) -> None:
    """Fills the volume with the photos."""
    filler = "/srv/triage/blobs/filler"
    with suppress(CheckError):  # the disk is full
        stack.execute("sender", "dd", "if=/dev/zero", f"of={filler}", "bs=1M")
    try:
        time.sleep(_OUTAGE_SECONDS)
    finally:
        stack.execute("sender", "rm", filler)


def skew_clocks(stack: Stack) -> None:
    """Starts the parts with clocks that differ, kills a worker, and starts them with right clocks again."""
    with _recreated(stack, "clocks.yml"):
        for service, seconds in CLOCKS.items():
            ahead = float(stack.execute(service, "python", "-c", "import time; print(time.time())")) - time.time()
            if abs(ahead - seconds) > 30:
                raise CheckError(f"the clock of {service} is {ahead:.0f} s ahead, not {seconds}")
        _wait_for_work(stack)
        _kill(stack, "scoring")
        time.sleep(_CUT_SECONDS)  # the lease of the killed worker expires


def wait_for_decoders(stack: Stack) -> None:
    """The photos themselves are the attack."""


FAULTS: Final[Mapping[str, Fault]] = {
    "kill": Fault("kill -9 of scoring workers", kill_scoring),
    "kill-parts": Fault("kill -9 of api, intake, beat, scoring", kill_parts),
    "kill-postgres": Fault("kill -9 of Postgres", kill_postgres),
    "redis": Fault("Redis emptied, then kill -9", lose_redis),
    "pause-postgres": Fault(f"Postgres paused for {_OUTAGE_SECONDS} s", pause_postgres),
    "pause": Fault(f"scoring worker paused for {_CUT_SECONDS} s", pause_scoring),
    "network": Fault(f"scoring worker without network for {_CUT_SECONDS} s", cut_scoring),
    "disk": Fault(f"volume of photos full for {_OUTAGE_SECONDS} s", fill_blobs, http_only=True, must_refuse=True),
    "clocks": Fault("clocks of hosts 5 and 10 minutes apart", skew_clocks),
    "decoders": Fault("photos of 100 million pixels", wait_for_decoders, bombs=True),
}


def _wait_for_work(stack: Stack) -> None:
    """Waits until a worker holds a photo."""
    stack.wait(
        lambda: stack.query("SELECT id FROM attachment WHERE status = 'in_progress' LIMIT 1"), "no photo is in progress"
    )


def _kill(stack: Stack, service: str, number: int = 0) -> None:
    """Kills a container's processes and waits until the engine has started it again."""
    container = stack.containers(service)[number]
    before = _started(stack, container)
    with suppress(CheckError):  # the command may end with its container
        stack.command("exec", container, *_KILL)
    stack.wait(lambda: _started(stack, container) != before, f"{service} does not start again", seconds=60)
    stack.wait_until_healthy(service)


def _started(stack: Stack, container: str) -> str:
    state = stack.command("inspect", "--format", "{{.State.Running}} {{.State.StartedAt}}", container)
    running, _, at = state.partition(" ")
    return at if running == "true" else ""


@contextmanager
def _paused(stack: Stack, service: str) -> Iterator[None]:
    container = stack.containers(service)[0]
    stack.command("pause", container)
    try:
        yield
    finally:
        stack.command("unpause", container)


@contextmanager
def _recreated(stack: Stack, file: str) -> Iterator[None]:
    """The services whose clocks are shifted, with a further file of Compose. After an error the check ends."""

    def recreate() -> None:
        stack.compose("up", "-d", "--no-deps", "--force-recreate", *CLOCKS)
        for service in CLOCKS:
            stack.wait_until_healthy(service)

    stack.files.append(file)
    recreate()
    yield
    stack.files.remove(file)
    recreate()


def can_shift_clocks() -> bool:
    """Whether there is a compiler for the preloaded library that shifts clocks."""
    return subprocess.run(["sh", "-c", "command -v cc"], capture_output=True, check=False).returncode == 0
