"""All endpoints of the interface."""

from collections.abc import Sequence
from typing import Final

from worker.api.assessments import ASSESSED
from worker.api.decisions import DECISIONS
from worker.api.endpoint import Endpoints
from worker.api.fhir_definitions import FHIR_DEFINITIONS
from worker.api.fhir_hooks import FHIR_HOOKS
from worker.api.fhir_messages import FHIR_MESSAGES
from worker.api.messages import MESSAGES
from worker.api.probes import PROBES
from worker.api.retakes import RETAKES
from worker.api.smart import SMART

SUBJECTS: Final[Sequence[Endpoints]] = (
    MESSAGES,
    ASSESSED,
    RETAKES,
    DECISIONS,
    SMART,
    FHIR_HOOKS,
    FHIR_MESSAGES,
    FHIR_DEFINITIONS,
    PROBES,
)
"""In the order of the description. A new subject is added here."""
