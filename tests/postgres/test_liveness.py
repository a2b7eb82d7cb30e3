import pytest

from tests.support.deployment import eventually
from triage.errors import ServiceUnavailableError
from worker.broker.liveness import Heartbeat, Liveness, WorkerHeartbeats, WorkerState
from worker.broker.redis_client import connect_redis
from worker.services import Services
from worker.settings import RedisSettings, Settings


def test_heartbeat_is_missing_when_it_was_never_recorded_or_is_old(services: Services, settings: Settings) -> None:
    liveness = Liveness(services.redis, settings.redis.key_prefix, interval_seconds=0)

    eventually(lambda: liveness.missing(Heartbeat.BEAT, 0) == "beat has published no sweep")  # Redis has just started
    liveness.record(Heartbeat.BEAT)
    assert liveness.missing(Heartbeat.BEAT, 60) is None
    assert liveness.missing(Heartbeat.INTAKE, 0) is not None

    services.redis.pexpire(f"{settings.redis.key_prefix}heartbeat:beat", 86_400_000 - 90_000)  # recorded 90 s ago
    assert liveness.missing(Heartbeat.BEAT, 60) is not None
    assert liveness.missing(Heartbeat.BEAT, 120) is None


def test_heartbeat_is_not_missing_when_sweeps_are_rare(services: Services, settings: Settings) -> None:
    liveness = Liveness(services.redis, settings.redis.key_prefix, interval_seconds=100)
    liveness.record(Heartbeat.INTAKE)
    services.redis.pexpire(f"{settings.redis.key_prefix}heartbeat:intake", 86_400_000 - 200_000)

    assert liveness.missing(Heartbeat.INTAKE, 60) is None


def test_unavailable_redis_is_reported(settings: Settings) -> None:
    nowhere = RedisSettings.model_validate({"url": "redis://127.0.0.1:1/0", "socket_timeout_seconds": 1})
    liveness = Liveness(connect_redis(settings.model_copy(update={"redis": nowhere})), "", interval_seconds=1)

    liveness.record(Heartbeat.BEAT)  # raises nothing
    with pytest.raises(ServiceUnavailableError):
        liveness.missing(Heartbeat.BEAT, 60)


def test_worker_is_stalled_when_tasks_wait_and_its_heartbeat_is_old(services: Services, settings: Settings) -> None:
    prefix = settings.redis.key_prefix
    heartbeats = WorkerHeartbeats(services.redis, prefix)
    problem = "the scoring worker has tasks and runs none"

    assert heartbeats.stalled("scoring", 0) is None
    services.redis.lpush(f"{prefix}inbox\x06\x163", "a message with a priority")
    eventually(lambda: heartbeats.stalled("scoring", 0) == problem)  # no worker has ever recorded a heartbeat
    heartbeats.record("scoring")
    assert heartbeats.stalled("scoring", 60) is None
    services.redis.pexpire(f"{prefix}worker:scoring", 86_400_000 - 90_000)  # recorded 90 s ago
    assert heartbeats.stalled("scoring", 60) == problem
    assert heartbeats.stalled("scoring", 120) is None
    assert heartbeats.stalled("intake", 60) is None


def test_worker_is_stalled_when_a_received_task_does_not_run(services: Services, settings: Settings) -> None:
    prefix = settings.redis.key_prefix
    heartbeats = WorkerHeartbeats(services.redis, prefix)
    heartbeats.record("training")
    services.redis.pexpire(f"{prefix}worker:training", 86_400_000 - 90_000)

    assert heartbeats.stalled("training", 60) is None  # without tasks, a worker that was stopped is no problem
    heartbeats.mark_waiting("training")
    assert heartbeats.stalled("training", 60) is not None
    heartbeats.record("training")
    assert heartbeats.stalled("training", 0) is None


def test_worker_is_up_stalled_or_missing_by_its_last_heartbeat(services: Services, settings: Settings) -> None:
    key = f"{settings.redis.key_prefix}worker:training"
    heartbeats = WorkerHeartbeats(services.redis, settings.redis.key_prefix)

    def state() -> WorkerState:
        return heartbeats.state("training", within_seconds=30)

    assert state() is WorkerState.MISSING  # also if Redis has just started
    heartbeats.record("training")
    assert state() is WorkerState.UP
    heartbeats.mark_waiting("training")
    assert state() is WorkerState.UP  # it has just received a task
    services.redis.pexpire(key, 86_400_000 - 60_000)  # recorded a minute ago
    assert state() is WorkerState.STALLED
    heartbeats.record("training")
    services.redis.pexpire(key, 86_400_000 - 60_000)
    assert state() is WorkerState.MISSING
