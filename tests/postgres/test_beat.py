import pytest

from worker.app import create_app
from worker.broker.beat import Scheduler
from worker.queues import MAINTENANCE, SWEEP
from worker.services import Services
from worker.settings import Settings


def test_sweep_has_no_time_at_which_it_expires(settings: Settings) -> None:
    assert "options" not in create_app(settings).conf.beat_schedule[SWEEP]


def test_sweeps_do_not_pile_up_when_nobody_takes_them(
    services: Services, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.services.services", lambda: services)
    scheduler = Scheduler(services.celery)
    entry = scheduler.schedule[SWEEP]

    for _ in range(3):
        scheduler.apply_async(entry, advance=False)

    assert services.redis.llen(f"{settings.redis.key_prefix}{MAINTENANCE}") == 1


def test_tick_publishes_what_is_due_and_says_when_to_ask_again(
    services: Services, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.services.services", lambda: services)

    wait = Scheduler(services.celery).tick()

    assert 0 < wait <= settings.inbox.sweep_seconds
    assert services.redis.llen(f"{settings.redis.key_prefix}{MAINTENANCE}") == 1
