"""Probes, metrics and the description of the interface."""

import asyncio
import time
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from triage.domain.scopes import Scope
from triage.errors import TriageError
from worker.api.endpoint import Call, Endpoints
from worker.api.metrics import REGISTRY
from worker.documents.probes import ProbeDocument

PROBES = Endpoints("operation")
_REMEMBERED_SECONDS: Final = 1.0


@PROBES.endpoint("GET", "/livez", scope=None)
async def livez(call: Call) -> ProbeDocument:  # noqa: ARG001  # the signature of all endpoints
    """Tell whether the process responds."""
    return ProbeDocument(status="alive")


@PROBES.endpoint("GET", "/readyz", scope=None)
async def readyz(call: Call) -> ProbeDocument:
    """Tell whether messages can be accepted: the database responds, and the blob store is the right one."""
    await _READINESS.check(call)
    return ProbeDocument(status="ready")


@PROBES.endpoint("GET", "/metrics", scope=Scope.METRICS_READ, also=("text/plain",))
def metrics(call: Call) -> Response:  # noqa: ARG001  # the signature of all endpoints
    """Read the metrics of this server, for Prometheus."""
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


class _Readiness:
    """Remembers the last check for a moment, so that no number of probes burdens the database."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._until = 0.0
        self._error: TriageError | None = None

    async def check(self, call: Call) -> None:
        async with self._lock:
            if time.monotonic() >= self._until:
                self._error = None
                try:
                    await call.run(call.services.photo_store.check)
                except TriageError as error:
                    self._error = error
                self._until = time.monotonic() + _REMEMBERED_SECONDS
        if self._error is not None:
            raise self._error


_READINESS: Final = _Readiness()
