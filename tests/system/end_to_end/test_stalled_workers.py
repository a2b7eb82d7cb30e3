"""Workers that cannot run tasks: they exit, and until then health checks and `triage doctor` name them.

The messages are those that once stopped a worker for good; the workers run without the checks that reject them now.
"""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, TypeAlias

import psutil
import pytest

from tests.support.attacks import ATTACKS, SUBMISSION, attack
from tests.support.deployment import WAIT_SECONDS, Deployment, eventually
from worker.doctor.problems import ProblemError
from worker.doctor.workers import check_progress
from worker.queues import WORKERS, TaskName
from worker.services import Services

pytestmark = pytest.mark.long

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

APP = "tests.support.faulty_app"
STALL_SECONDS = 2.0


def _kind(name: str) -> str:
    return "scoring" if ATTACKS[name][0] is TaskName.DRAIN else "intake"


@pytest.mark.parametrize("name", ATTACKS)
def test_worker_exits_with_a_failure_when_a_message_fails_in_delivery(
    deploy: Deploy, services: Services, name: str
) -> None:
    with deploy(TEST_FAULT="unchecked") as clinic:
        clinic.start(_kind(name), app=APP)
        eventually(lambda: services.celery.control.ping(timeout=1.0))
        processes = psutil.Process(clinic.workers[_kind(name)].pid).children(recursive=True)

        kind = attack(services, name)

        assert clinic.workers[kind].wait(WAIT_SECONDS) not in (0, None)
        assert _said(clinic, kind, "delivery.failed") == 1
        assert not psutil.wait_procs(processes, timeout=WAIT_SECONDS)[1]


@pytest.mark.parametrize("name", ATTACKS)
def test_wedged_worker_is_named_by_doctor_and_health_check(deploy: Deploy, services: Services, name: str) -> None:
    with deploy(TEST_FAULT="wedged") as clinic:
        clinic.start(_kind(name), app=APP)
        eventually(lambda: services.celery.control.ping(timeout=1.0))

        kind = attack(services, name)

        assert eventually(lambda: f"the {kind} worker has tasks and runs none" in _problem(services))
        assert services.celery.control.ping(timeout=10.0, limit=1)
        assert clinic.workers[kind].poll() is None
        assert eventually(lambda: "has tasks and runs none" in _health(clinic, kind))  # sweeps that move come between


def test_worker_ends_itself_when_a_task_makes_no_progress(deploy: Deploy, services: Services) -> None:
    with deploy(TEST_FAULT="wedged", WORKER__STALL_SECONDS="4") as clinic:
        clinic.start("scoring", app=APP)
        eventually(lambda: services.celery.control.ping(timeout=1.0))
        processes = psutil.Process(clinic.workers["scoring"].pid).children(recursive=True)

        attack(services, "deep arguments of a drain")
        services.celery.send_task(TaskName.DRAIN, ignore_result=True)

        assert clinic.workers["scoring"].wait(WAIT_SECONDS) not in (0, None)
        assert _said(clinic, "scoring", "work.stalled") == 1
        assert not psutil.wait_procs(processes, timeout=WAIT_SECONDS)[1]


@pytest.fixture(scope="module")
def stall_seconds(deploy_for_module: Deploy, jpeg: Callable[..., bytes]) -> float:
    """A time in which this machine, as busy as it is, starts a worker that loads its model and scores a photo twice."""
    started = time.monotonic()
    with deploy_for_module("scoring") as clinic:
        clinic.send("m-1", jpeg(1))
        eventually(lambda: clinic.outcome("m-1"))
        return 2 * (time.monotonic() - started)


def test_processes_of_a_worker_are_killed_when_its_child_hangs(
    deploy: Deploy, stall_seconds: float, jpeg: Callable[..., bytes]
) -> None:
    with deploy("scoring", WORKER__STALL_SECONDS=str(stall_seconds)) as clinic:
        clinic.send("m-1", *(jpeg(seed) for seed in range(12)))
        eventually(lambda: clinic.query("SELECT 1 FROM attachment WHERE status = 'in_progress'"))
        child = clinic.child("scoring")
        assert child is not None
        child.suspend()
        processes = [child, *child.children(recursive=True)]

        assert clinic.workers["scoring"].wait(stall_seconds + WAIT_SECONDS) not in (0, None)
        assert _said(clinic, "scoring", "work.stalled") == 1
        assert not psutil.wait_procs(processes, timeout=WAIT_SECONDS)[1]


def test_worker_counts_as_idle_when_its_tasks_have_ended(deploy: Deploy, services: Services) -> None:
    """A limit on the stall has no place here: any is too short for a busy machine, where five workers load at once.
    That a watch without work never ends its worker is a test of `StallWatch`.
    """
    with deploy(*WORKERS) as clinic:
        eventually(lambda: len(services.celery.control.ping(timeout=2.0)) == len(WORKERS))
        for _ in range(2):
            assert services.celery.send_task(TaskName.SUBMIT, [SUBMISSION]).get(timeout=WAIT_SECONDS)
            eventually(lambda: not any(services.worker_heartbeats.stalled(kind, 0.0) for kind in WORKERS))
        assert all(worker.poll() is None for worker in clinic.workers.values())


def test_long_drain_is_no_stall_while_its_photos_move(
    deploy: Deploy, stall_seconds: float, jpeg: Callable[..., bytes]
) -> None:
    """Without the signs of its stages, which take half a second each, the worker would end during the drain."""
    n_photos = math.ceil(2 * stall_seconds)
    slow = {"TEST_FAULT": "slow", "WORKER__STALL_SECONDS": str(stall_seconds), "INBOX__DRAIN_SECONDS": "3600"}
    with deploy(lease_seconds=3600, **slow) as clinic:
        for number in range(n_photos):
            clinic.send(f"m-{number}", jpeg(number))
        clinic.start("scoring", app=APP)

        for number in range(n_photos):
            eventually(lambda: clinic.outcome(f"m-{number}"))  # noqa: B023

        [drained] = eventually(lambda: [line for line in _lines(clinic, "scoring") if line["event"] == "inbox.drained"])
        assert _said(clinic, "scoring", "work.stalled") == 0
        assert drained["duration_ms"] > 1000 * stall_seconds
        assert (drained["photos"], drained["scored"], drained["reasons"]) == (n_photos, n_photos, {})


def _problem(services: Services) -> str:
    try:
        check_progress(services, stalled_after=timedelta(seconds=STALL_SECONDS))
    except ProblemError as problem:
        return str(problem)
    return ""


def _health(clinic: Deployment, kind: str) -> str:
    command = [sys.executable, "-c", "from worker.cli import main; main()", "health", kind, "--stall-seconds", "2"]
    environment = {name: value for name, value in clinic.environment.items() if name != "TRIAGE_TEST_FAULT"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == (1 if done.stderr else 0), done
    return done.stderr


def _said(clinic: Deployment, kind: str, event: str) -> int:
    return sum(line["event"] == event for line in _lines(clinic, kind))


def _lines(clinic: Deployment, kind: str) -> list[dict[str, Any]]:
    lines = clinic.log(kind).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]
