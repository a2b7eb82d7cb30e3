"""SIGKILL, SIGSTOP and SIGTERM for every kind of process."""

import os
import re
import signal
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from typing import Final
from uuid import UUID

from tests.system.chaos.services import connect
from tests.system.chaos.site import LEASE_SECONDS, Scale, Site
from triage.domain.limits import RetryRules
from triage.domain.runs import Run
from triage.domain.states import RunKind
from triage.storage import runs

_PARTS: Final = ("scoring-1", "intake-1", "beat-1")
_TERM_SECONDS: Final = 60.0
_RESTART_SECONDS: Final = 8.0
_KILLS_OF_A_PHOTO: Final = RetryRules().max_attempts + 1


def kill_at_random(site: Site, scale: Scale) -> int:
    """Sends SIGKILL to the scoring child and parent, beat, the training child and parent, and the sweeping child."""
    run = _start_training(site)
    site.parts.start(*_PARTS, "training-1")
    site.send(scale)
    site.wait_for_work()
    targets = [("scoring-1", True), ("scoring-1", False), ("beat-1", False), ("training-1", True)]
    targets += [("training-1", False), ("intake-1", True)]
    for number in range(scale.kills):
        time.sleep(site.dice.uniform(0.3, 4))
        name, is_child = targets[number % len(targets)] if number < len(targets) else site.dice.choice(targets)
        kill(site, name, child=is_child)
        site.fault_ended()
        site.sender.send(1, 3)  # ensures that work is left
    site.settle()
    assert site.query("SELECT FROM run WHERE id = :id AND status = 'done'", id=run.id), "the training did not end"
    return scale.kills


def kill(site: Site, name: str, *, child: bool) -> None:
    pid = site.parts.child(name) if child else site.parts.parent(name)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_from_outside(site: Site, scale: Scale) -> int:
    """Kills the scoring child each time while it holds the same good photo, more often than a photo may fail.

    No photo is parked, and no attempt counts.
    """
    site.parts.start(*_PARTS)
    photo = next(photo for photo in site.photos if photo.is_good)
    struck: set[UUID | None] = {None}
    for _ in range(scale.kills // _KILLS_OF_A_PHOTO):
        with _unrecorded(site):
            site.sender.send(1, 1, photo)
            for _ in range(_KILLS_OF_A_PHOTO):
                struck.add(site.wait_until(lambda: _new_lease(site, struck)))
                kill(site, "scoring-1", child=True)
        site.fault_ended()
        site.send(scale, 1 / scale.kills)
        site.settle()
    [row] = site.query("SELECT max(attempts) AS attempts, max(lost_leases) AS lost FROM attachment")
    assert (row.attempts, row.lost) == (1, _KILLS_OF_A_PHOTO)
    assert not site.query("SELECT FROM attachment WHERE error_code = 'attempts_exhausted'")
    return scale.kills


@contextmanager
def _unrecorded(site: Site) -> Iterator[None]:
    """Keeps every scored photo in the hands of its worker, which waits to write the verdict."""
    with connect(site) as connection, connection.transaction():
        connection.execute("LOCK TABLE verdict IN SHARE MODE")
        yield


def _new_lease(site: Site, struck: Set[UUID | None]) -> UUID | None:
    rows = site.query("SELECT lease_token FROM attachment")
    return next((row.lease_token for row in rows if row.lease_token not in struck), None)


def hang(site: Site, scale: Scale) -> int:
    """Stops a scoring child during a batch until its lease has expired, then continues it: its results are refused."""
    site.parts.start("scoring-1", "scoring-2", "intake-1", "beat-1")
    site.send(scale)
    for _ in range(scale.times):
        site.wait_for_work()
        child = site.parts.child("scoring-1")
        assert child is not None
        os.kill(child, signal.SIGSTOP)
        time.sleep(LEASE_SECONDS + 3)
        os.kill(child, signal.SIGCONT)
        site.fault_ended()
        site.send(scale, 0.1)
    site.settle()
    assert re.search(r'"stale": *[1-9]', site.parts.log("scoring-1")), "no late write was refused"
    return scale.times


def roll(site: Site, scale: Scale) -> int:
    """A rolling restart while messages arrive: SIGTERM to each part, each after the previous one is up again.

    Batches in flight are finished or released, so no photo is tried twice or waits for an expired lease.
    """
    parts = ("scoring-1", "scoring-2", "intake-1", "beat-1")
    site.parts.start(*parts)
    for name in parts:
        site.wait_until_up(name)
    with site.trickle(scale.messages, scale.photos, seconds=4 * scale.times * _RESTART_SECONDS):
        for _ in range(scale.times):
            for name in parts:
                seconds = site.parts.restart(name, wait_seconds=_TERM_SECONDS)
                assert seconds < _TERM_SECONDS, f"{name} took {seconds:.0f} s to end"
                site.fault_ended()
                site.wait_until_up(name)
    site.settle()
    [row] = site.query("SELECT max(attempts) AS attempts FROM attachment")
    assert row.attempts == 1, "a lease expired, so a message waited for it"
    return 4 * scale.times


def crowd(site: Site, scale: Scale) -> int:
    """Runs two sweepers, two beats and five scoring workers with leases so short that some expire."""
    site.parts.start("intake-1", "intake-2", "beat-1", "beat-2", *(f"scoring-{number}" for number in range(1, 6)))
    for _ in range(scale.times):
        site.send(scale, 1 / scale.times)
    site.fault_ended()
    site.settle()
    return 1


def _start_training(site: Site) -> Run:
    rows = ["path,votes,split"]
    photos = [photo for photo in site.photos if photo.is_good is not None][:6]
    for number, photo in enumerate(photos):
        (site.folder / f"{number}.jpg").write_bytes(photo.data)
        rows.append(f"{number}.jpg,{4 * bool(photo.is_good)},{'train' if number < 4 else 'validation'}")
    manifest = site.folder / "manifest.csv"
    manifest.write_text("\n".join(rows), encoding="utf-8")
    config = {"epochs": 6, "patience": 6, "batch_photos": 2, "frozen_convolutions": 12}
    parameters = {"manifest": str(manifest), "name": "trained", "init": "random", "config": config}
    with site.services.sessions.begin() as session:
        run, _ = runs.start(session, RunKind.TRAINING, parameters)
    return run
