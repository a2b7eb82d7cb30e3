"""What the endpoints of one process share."""

from dataclasses import dataclass

import anyio

from triage.reports.announcements import Announcements
from worker.api.limits import Slots
from worker.services import Services


@dataclass(frozen=True, slots=True)
class Shared:
    """
    Attributes:
        base_url: under which clients reach the server.
        threads: how many use cases run at the same time: as many as there are database connections.
        pushes: how many FHIR messages are read at the same time, each with its photos in memory.
    """

    services: Services
    base_url: str
    announcements: Announcements
    slots: Slots
    threads: anyio.CapacityLimiter
    pushes: anyio.CapacityLimiter
