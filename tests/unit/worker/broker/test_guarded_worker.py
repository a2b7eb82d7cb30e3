"""When work counts as stalled; `tests/system/end_to_end/test_stalled_workers.py` stalls real workers."""

import os
from dataclasses import dataclass, field

from redis.exceptions import ConnectionError as RedisConnectionError

from worker.broker.guarded_worker import StallWatch
from worker.broker.progress import last_progress, record_progress


@dataclass
class _Looks:
    """A watch that looks every second and stalls after four seconds."""

    has_work: bool = True
    redis_is_up: bool = True
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch = StallWatch(
            self._look,
            seconds=4.0,
            on_progress=lambda: self.said.append("progress"),
            on_wait=lambda: self.said.append("wait"),
            on_stall=lambda: self.said.append("stall"),
        )

    def _look(self) -> bool:
        if not self.redis_is_up:
            raise RedisConnectionError
        return self.has_work

    def looks_until_stall(self, limit: int = 20) -> int:
        return next((number for number in range(1, limit) if self.watch.look()), limit)


def test_work_without_progress_stalls_after_the_time_and_not_before() -> None:
    looks = _Looks()

    assert looks.looks_until_stall() == 5
    assert looks.said == ["wait"] * 5


def test_no_stall_without_work_or_while_a_step_ends_in_time() -> None:
    idle, busy, cut_off = _Looks(has_work=False), _Looks(), _Looks(redis_is_up=False)

    assert idle.looks_until_stall() == cut_off.looks_until_stall() == 20
    for _ in range(10):
        record_progress()
        assert not any(busy.watch.look() for _ in range(4))
    assert busy.looks_until_stall() < 5
    assert idle.said == ["progress"] * 19


def test_progress_of_a_forked_child_is_seen() -> None:
    before = last_progress()
    child = os.fork()
    if child == 0:
        record_progress()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

    assert last_progress() != before
