from worker.app import create_app
from worker.broker.beat import Scheduler
from worker.queues import QueueName, TaskName
from worker.services import Services
from worker.settings import Settings


def test_sweep_has_no_expiry(settings: Settings) -> None:
    assert "options" not in create_app(settings).conf.beat_schedule[TaskName.SWEEP]


def test_sweeps_do_not_accumulate_when_no_worker_receives_them(services: Services, settings: Settings) -> None:
    scheduler = Scheduler(services.celery)
    entry = scheduler.schedule[TaskName.SWEEP]

    for _ in range(3):
        scheduler.apply_async(entry, advance=False)

    assert services.redis.llen(f"{settings.redis.key_prefix}{QueueName.MAINTENANCE}") == 1


def test_tick_publishes_due_tasks_and_returns_the_time_of_the_next_call(services: Services, settings: Settings) -> None:
    wait = Scheduler(services.celery).tick()

    assert 0 < wait <= settings.inbox.sweep_seconds
    assert services.redis.llen(f"{settings.redis.key_prefix}{QueueName.MAINTENANCE}") == 1
