"""Messages of an attacker who can write to Redis: malformed ones, and good ones with forged headers."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from tests.support.forged_messages import HEADERS, PROPERTIES, forged_message
from tests.support.malformed_messages import MalformedMessages
from tests.system.chaos.site import Scale, Site
from worker.queues import ROUTES, QueueName, TaskName

_SCORERS: Final = ("scoring-1", "scoring-2")
_WORKERS: Final = (*_SCORERS, "intake-1")
_SENT_AT_ONCE: Final = 100
_FORGERIES_PER_MESSAGE: Final = 10
_TASKS: Final = (TaskName.SUBMIT, TaskName.DRAIN, TaskName.SWEEP)


def send_malformed(site: Site, scale: Scale) -> int:
    """Thousands of malformed messages in all queues. No worker ends, and each refuses some."""
    messages = MalformedMessages(site.dice.randrange(2**32))
    n = _score_among(site, scale, ((task, messages.make(task, _body(task, "malformed"))) for task in _tasks()))
    refused = _refused(site)
    assert min(refused[name] for name in _WORKERS) > 0, refused
    assert refused.total() > n / 10, refused
    return n


def forge_headers(site: Site, scale: Scale) -> int:
    """Thousands of good messages with forged headers and properties. Each runs once, as if it had none.

    Time limits of a millisecond would kill the scorers; starts and ends would keep messages from running.
    """
    n = _score_among(site, scale, _forged())
    [(accepted,)] = site.query("SELECT count(*) FROM message WHERE source = 'forger'")
    assert accepted == len(range(0, n, len(_TASKS))), "a header kept a message from running"
    [row] = site.query("SELECT max(attempts) AS attempts, max(lost_leases) AS lost FROM attachment")
    assert (row.attempts, row.lost) == (1, 0), "a header ended a task"
    assert not _refused(site).total()
    return n


def _score_among(site: Site, scale: Scale, forgeries: Iterator[tuple[TaskName, bytes]]) -> int:
    """Puts forgeries into Redis while photos are scored, and checks that no process of a worker ended."""
    n = _FORGERIES_PER_MESSAGE * scale.messages
    site.parts.start(*_WORKERS, "beat-1")
    site.wait_until_up("intake-1")
    site.wait_until(lambda: all("model.loaded" in site.parts.log(name) for name in _SCORERS))
    processes, prefix = _processes(site), site.settings.redis.key_prefix
    with site.sending(scale, 1.0):
        for start in range(0, n, _SENT_AT_ONCE):
            with site.services.redis.pipeline(transaction=False) as pipeline:
                for _ in range(min(_SENT_AT_ONCE, n - start)):
                    task, message = next(forgeries)
                    pipeline.lpush(f"{prefix}{ROUTES[task]}", message)
                pipeline.execute()
            time.sleep(scale.seconds * _SENT_AT_ONCE / n / 2)
    site.fault_ended()
    while left := _waiting(site):
        site.wait_until(lambda: _waiting(site) < left)
    site.settle()
    assert _processes(site) == processes, "a worker ended"
    assert "delivery.failed" not in site.parts.all_logs()
    return n


def _waiting(site: Site) -> int:
    return sum(site.services.redis.llen(f"{site.settings.redis.key_prefix}{queue}") for queue in QueueName)


def _tasks() -> Iterator[TaskName]:
    while True:
        yield from _TASKS


def _forged() -> Iterator[tuple[TaskName, bytes]]:
    changes = [*HEADERS, *PROPERTIES]
    for number, task in enumerate(_tasks()):
        name = changes[number // len(_TASKS) % len(changes)]
        message = forged_message(body=_body(task, f"m-{number}"), headers={"task": task} | HEADERS.get(name, {}))
        if name in PROPERTIES:
            message["properties"] = {"body_encoding": "base64"} | PROPERTIES[name]
        yield task, json.dumps(message).encode()


def _body(task: TaskName, message_id: str) -> list[Any]:
    submission = {"source": "forger", "message_id": message_id, "attachments": [{"uri": "file:///elsewhere/1.jpg"}]}
    return [[submission] if task is TaskName.SUBMIT else [], {}, {}]


def _processes(site: Site) -> dict[str, tuple[int, int | None]]:
    """The process ids of each worker and of its child, which a time limit would kill."""
    return {name: (site.parts.parent(name), site.parts.child(name)) for name in _WORKERS}


def _refused(site: Site) -> Counter[str]:
    return Counter({name: site.parts.log(name).count("task.refused") for name in _WORKERS})
