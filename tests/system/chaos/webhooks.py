"""A receiver of webhooks that fails often, while the workers that send to it are killed."""

import time
from typing import Final

from tests.support.webhook_receiver import webhook_receiver
from tests.system.chaos.kills import kill
from tests.system.chaos.site import Scale, Site

_FAILING: Final = 0.2
_PARTS: Final = ("scoring-1", "intake-1", "beat-1", "delivery-1", "delivery-2")
_SETTLE_SECONDS: Final = 900.0
"""The last repeats wait for leases of 12 s and delays that double."""


def tell_failing_receiver(site: Site, scale: Scale) -> int:
    """A fifth of the answers are errors, redirects, too late or cut off, and senders are killed at any moment.

    Each event is accepted, all its repeats have the same id and body, and no redirect is followed.
    """
    with webhook_receiver(failing=_FAILING) as receiver:
        site.parts.environment |= {f"TRIAGE_{name}": value for name, value in receiver.variables.items()}
        site.parts.start(*_PARTS)
        site.wait_until(lambda: site.query("SELECT FROM delivery_target"))
        site.sender.send(scale.photos, scale.photos)
        site.wait_until(lambda: len(receiver.events) > scale.kills)
        for _ in range(scale.kills):
            time.sleep(site.dice.uniform(0.2, 3))
            kill(site, site.dice.choice(["delivery-1", "delivery-2"]), child=site.dice.random() < 0.7)
            site.fault_ended()
        site.settle()
        _wait_until_delivered(site)
        stored = {str(row.id) for row in site.query("SELECT id FROM delivery")}
        assert len(stored) >= scale.photos
        assert set(receiver.accepted) == stored, "an event was lost"
        assert not [event for event, bodies in receiver.bodies.items() if len(bodies) > 1], "a repeat differs"
        assert len(receiver.events) > len(stored) * (1 + _FAILING / 2), "the receiver did not fail"
        assert not receiver.strays, "a redirect was followed"
        twice = sum(times > 1 for times in receiver.accepted.values())
        assert twice <= 8 * scale.kills, "an accepted event was repeated without a kill"
    return len(receiver.events) - sum(receiver.accepted.values())


def _wait_until_delivered(site: Site) -> None:
    deadline = time.monotonic() + _SETTLE_SECONDS
    while left := site.query("SELECT status, error, attempts FROM delivery WHERE status <> 'delivered'"):
        assert time.monotonic() < deadline, f"not delivered: {left[:5]}"
        time.sleep(1)
