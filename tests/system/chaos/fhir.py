"""A FHIR server that fails often, while the workers that write to it are killed."""

import time
from collections import Counter
from typing import Final

from joserfc.jwk import ECKey

from tests.support.fhir_server import FhirServer, fhir_server
from tests.system.chaos.kills import kill
from tests.system.chaos.site import Scale, Site

_FAILING: Final = 0.2
_PARTS: Final = ("scoring-1", "intake-1", "beat-1", "delivery-1", "delivery-2")
_SETTLE_SECONDS: Final = 900.0
"""The last repeats wait for leases and delays that double."""


def write_to_failing_server(site: Site, scale: Scale) -> int:
    """A fifth of the answers are errors, half of them after the server has stored; senders are killed at any moment.

    Each verdict and each retake request exists once on the server, and the requests are sent.
    """
    site.collector.close()  # the server collects
    site.photos[:] = [photo for photo in site.photos if photo.is_good is False]
    site.sender.messages_per_thread = 1  # each thread may have a request
    with fhir_server(failing=_FAILING) as server:
        _configure(site, server)
        site.parts.start(*_PARTS)
        site.wait_until(lambda: site.query("SELECT FROM delivery_target WHERE collects = 'ehr'"))
        site.sender.send(scale.photos, scale.photos)
        site.wait_until(lambda: len(server.stored) > scale.kills)
        for _ in range(scale.kills):
            time.sleep(site.dice.uniform(0.2, 3))
            kill(site, site.dice.choice(["delivery-1", "delivery-2"]), child=site.dice.random() < 0.7)
            site.fault_ended()
        _wait_until_written(site)
        site.settle()
        requests = {str(row.id) for row in site.query("SELECT id FROM retake_request WHERE status = 'sent'")}
        [(retakes,)] = site.query("SELECT count(*) FROM decision WHERE outcome = 'retake'")
        assert len(requests) == retakes > scale.photos / 2, "a request was not made, or is not sent"
        _exist_once(server, "CommunicationRequest", requests)
        _exist_once(server, "Observation", {str(row.id) for row in site.query("SELECT id FROM attachment")})
        [(audited,)] = site.query("SELECT count(*) FROM audit_event WHERE action = 'retake.acked'")
        assert audited == retakes, "a request was recorded as sent twice, or not at all"
    return scale.kills


def _configure(site: Site, server: FhirServer) -> None:
    key_file = site.folder / "ehr.pem"
    key_file.write_bytes(ECKey.generate_key("P-384").as_pem(private=True))
    variables = {
        "URL": server.base,
        "SOURCE": "ehr",
        "CLIENT_ID": "triage",
        "KEY_FILE": str(key_file),
        "ANSWERS": "true",
        "TIMEOUT_SECONDS": "3",
    }
    site.parts.environment |= {f"TRIAGE_FHIR__{name}": value for name, value in variables.items()}
    site.parts.environment["TRIAGE_INTAKE__MAX_ATTACHMENTS"] = "2"  # the lease of a sender follows from both


def _wait_until_written(site: Site) -> None:
    deadline = time.monotonic() + _SETTLE_SECONDS
    open_ = "SELECT status, error, attempts FROM delivery WHERE status <> 'delivered'"
    while left := [*site.query("SELECT FROM message WHERE current_decision_id IS NULL"), *site.query(open_)]:
        assert time.monotonic() < deadline, f"not written: {left[:5]}"
        time.sleep(1)


def _exist_once(server: FhirServer, kind: str, expected: set[str]) -> None:
    found = Counter(each["identifier"][0]["value"] for each in server.of_type(kind))
    assert set(found) == expected, f"{kind}: lost or unknown"
    assert set(found.values()) <= {1}, f"{kind}: exists twice"
