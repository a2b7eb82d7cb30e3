"""Findings as JSON, with what a patient can do about each."""

from typing import Any

from triage.domain.photos import PATCHES, Finding
from triage.domain.states import FindingKind


def finding_json(finding: Finding) -> dict[str, Any]:
    """Returns a finding as JSON types, with its patches by name and its tip in English."""
    from triage.replies.catalogue import DEFAULT_LOCALE, shipped_catalogue  # deferred: imports pydantic

    return {
        "kind": finding.kind,
        "level": finding.level,
        "strength": round(finding.strength, 3),
        "probability": None if finding.probability is None else round(finding.probability, 3),
        "patches": [PATCHES[index] for index in finding.patches],
        "tip": shipped_catalogue().instruction(FindingKind(finding.kind), DEFAULT_LOCALE),
    }
