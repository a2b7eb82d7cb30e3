"""Photos that crash the scorer, and full disks."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.system.chaos.photos import Harm, draw_harmful
from tests.system.chaos.site import Scale, Site
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.errors import ServiceUnavailableError

_PARTS: Final = ("scoring-1", "scoring-2", "intake-1", "beat-1")


def send_poison(site: Site, scale: Scale) -> int:
    """Photos that kill the process each time. Only they are parked, with `attempts_exhausted`."""
    _score_with(site, scale, Harm.KILLS)
    assert _codes(site, Harm.KILLS, scale) == {"attempts_exhausted"}
    return 3 * scale.times


def raise_in_batch(site: Site, scale: Scale) -> int:
    """Photos that make the network raise. Only they are parked, with `scoring_failed`."""
    _score_with(site, scale, Harm.RAISES)
    assert _codes(site, Harm.RAISES, scale) == {"scoring_failed"}
    return scale.times


def exhaust_memory(site: Site, scale: Scale) -> int:
    """Photos that exhaust the memory of the network."""
    _score_with(site, scale, Harm.EXHAUSTS_MEMORY)
    assert _codes(site, Harm.EXHAUSTS_MEMORY, scale) == {"scoring_failed"}
    return scale.times


def fill_disk_of_blobs(site: Site, scale: Scale) -> int:
    """Photos cannot be written: the sender gets an error, no partial message is accepted, and a resend succeeds."""
    site.parts.start(*_PARTS)
    photo = draw_harmful(Harm.RAISES, 10_000).data + bytes(100_000)  # not in the store yet
    message = IncomingMessage("ehr", "large", [IncomingAttachment(data=photo)])
    for _ in range(scale.times):
        site.send(scale, 1 / scale.times)
        with _file_size_limit(1000), pytest.raises(ServiceUnavailableError, match="blob store"):
            site.services.intake.enqueue([message])
        site.fault_ended()
    assert not site.query("SELECT FROM message WHERE external_id = 'large'")
    assert not list(Path(site.settings.blobs_url).rglob("*.part"))
    site.settle()
    return scale.times


def fill_disk_of_logs(site: Site, scale: Scale) -> int:
    """No part can write to its log."""
    site.parts.logs_to = Path("/dev/full")
    site.parts.start(*_PARTS)
    parents = [site.parts.parent(name) for name in _PARTS]
    site.send(scale)
    site.fault_ended()
    site.settle()
    assert [site.parts.parent(name) for name in _PARTS] == parents, "a part ended for want of a log"
    return 1


def _score_with(site: Site, scale: Scale, harm: Harm) -> None:
    site.parts.start(*_PARTS)
    harmful = [draw_harmful(harm, number) for number in range(scale.times)]
    site.sender.send(scale.messages, scale.photos, *harmful)
    site.settle()
    site.fault_ended()


def _codes(site: Site, harm: Harm, scale: Scale) -> set[str]:
    harmful = {draw_harmful(harm, number).data for number in range(scale.times)}
    ids = [id_ for id_, photo in site.sender.sent.photos.items() if photo.data in harmful]
    assert len(ids) == scale.times
    rows = site.query("SELECT status, error_code FROM attachment WHERE id = ANY(:ids)", ids=ids)
    assert {row.status for row in rows} == {"not_assessable"}
    return {row.error_code for row in rows}


@contextmanager
def _file_size_limit(n_bytes: int) -> Iterator[None]:
    """Simulates a full disk for this process: writes beyond a file size fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
