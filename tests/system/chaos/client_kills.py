"""SIGKILL of the processes of a message system together with those of the product."""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from uuid import UUID

from tests.system.chaos.clients import Journal, Orders, find_doubled
from tests.system.chaos.kills import kill
from tests.system.chaos.site import Scale, Site

_SENDERS: Final = ("sender-1", "sender-2")
_CLAIMERS: Final = ("claimer-1", "claimer-2")
_WORKERS: Final = ("scoring-1", "scoring-2", "intake-1", "intake-2", "beat-1")


def kill_all_at_random(site: Site, scale: Scale) -> int:
    """Kills senders, claimers, and workers: the child, the parent or both, while messages arrive and requests leave.

    What a sender has been answered is stored once. No request is handed out again after its acknowledgement or during
    its lease.
    """
    site.collector.close()  # the claimers do its work
    orders = Orders.write(
        site.folder / "orders",
        site.photos,
        messages=scale.messages // len(_SENDERS),
        photos_per_message=scale.photos // scale.messages,
    )
    site.parts.environment["TRIAGE_INTAKE__URI_ROOTS"] = json.dumps([orders.folder.as_uri()])
    journals = {name: Journal(site.folder / f"{name}.journal") for name in (*_SENDERS, *_CLAIMERS)}
    for name, journal in journals.items():
        role = "send" if name in _SENDERS else "claim"
        command = [sys.executable, "-m", "tests.system.chaos.clients", role, str(journal.file), str(orders.folder)]
        site.parts.command_of[name] = command
    site.parts.start(*_WORKERS, *journals)
    site.wait_for_work()
    for _ in range(scale.kills):
        time.sleep(site.dice.uniform(0.1, 3))
        _kill_some(site, site.dice.choice((*_WORKERS, *journals)))
        site.fault_ended()
    senders = [journals[name] for name in _SENDERS]
    while n := _n_unsent(orders, senders):
        site.wait_until(lambda: _n_unsent(orders, senders) < n)
    site.settle()
    _take_over(site, orders, senders)
    claimers = [journals[name] for name in _CLAIMERS]
    assert any(journal.read("acked") for journal in claimers), "no request was acknowledged"
    site.collector.delivered_after_ack.update(map(UUID, find_doubled(claimers)))
    return scale.kills


def _kill_some(site: Site, name: str) -> None:
    if name not in _WORKERS:
        kill(site, name, child=False)
    elif site.dice.random() < 1 / 3:
        with suppress(ProcessLookupError):
            os.killpg(site.parts.parent(name), signal.SIGKILL)
    else:
        kill(site, name, child=site.dice.random() < 1 / 2)


def _n_unsent(orders: Orders, senders: Sequence[Journal]) -> int:
    accepted = {line["message"] for journal in senders for line in journal.read("accepted")}
    return sum(message not in accepted for journal in senders for message, _ in orders.messages(journal.file.stem))


def _take_over(site: Site, orders: Orders, senders: Sequence[Journal]) -> None:
    """Records the messages of the senders as sent, for the checks that follow every fault."""
    stored = {row.external_id: row.id for row in site.query("SELECT id, external_id FROM message")}
    rows = site.query("SELECT message_id, external_id, id FROM attachment")
    attachments = {(row.message_id, row.external_id): row.id for row in rows}
    assert len(attachments) == len(rows)
    for journal in senders:
        ids = {(line["message"], UUID(line["id"])) for line in journal.read("accepted")}
        assert ids <= stored.items(), "a message was answered and is not stored, or has two ids"
        site.sender.sent.messages |= {id_ for _, id_ in ids}
        for message, photos in orders.messages(journal.file.stem):
            for position, photo in enumerate(photos):
                site.sender.sent.photos[attachments[stored[message], str(position)]] = site.photos[photo]
    assert site.sender.sent.photos.keys() == set(attachments.values()), "a photo is stored twice"
