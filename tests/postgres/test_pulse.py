import pytest

from triage.errors import ServiceUnavailableError
from worker.broker.liveness import Pulse, Sign
from worker.broker.redis_client import connect_redis
from worker.services import Services
from worker.settings import RedisSettings, Settings


def test_sign_is_missing_until_it_is_given_and_again_when_it_is_old(services: Services, settings: Settings) -> None:
    pulse = Pulse(services.redis, settings.redis.key_prefix, interval_seconds=0)

    assert pulse.missing(Sign.BEAT, 0) == "beat has published no sweep"
    pulse.give(Sign.BEAT)
    assert pulse.missing(Sign.BEAT, 60) is None
    assert pulse.missing(Sign.INTAKE, 0) is not None

    services.redis.pexpire(f"{settings.redis.key_prefix}pulse:beat", 86_400_000 - 90_000)  # given 90 s ago
    assert pulse.missing(Sign.BEAT, 60) is not None
    assert pulse.missing(Sign.BEAT, 120) is None


def test_slow_sweeps_are_no_stall(services: Services, settings: Settings) -> None:
    pulse = Pulse(services.redis, settings.redis.key_prefix, interval_seconds=100)
    pulse.give(Sign.INTAKE)
    services.redis.pexpire(f"{settings.redis.key_prefix}pulse:intake", 86_400_000 - 200_000)

    assert pulse.missing(Sign.INTAKE, 60) is None


def test_redis_that_is_down_is_said_to_be(settings: Settings) -> None:
    nowhere = RedisSettings.model_validate({"url": "redis://127.0.0.1:1/0", "socket_timeout_seconds": 1})
    pulse = Pulse(connect_redis(settings.model_copy(update={"redis": nowhere})), "", interval_seconds=1)

    pulse.give(Sign.BEAT)  # changes nothing and raises nothing
    with pytest.raises(ServiceUnavailableError):
        pulse.missing(Sign.BEAT, 60)
