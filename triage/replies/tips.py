"""Tips: what a patient can do about each finding, in plain words."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from triage.domain.photos import PATCHES, Finding
from triage.domain.states import FindingKind

TIPS: Final[Mapping[FindingKind, str]] = MappingProxyType(
    {
        FindingKind.DEFOCUS: "Tap on the skin on your screen to focus, and wait until it looks sharp before you shoot.",
        FindingKind.MOTION: "Rest your elbows on something, hold the phone with both hands and keep still.",
        FindingKind.TOO_DARK: "Take the photo by a window in daylight, or switch on more lights.",
        FindingKind.TOO_BRIGHT: "Switch the flash off and turn away from the lamp or the sun, so that nothing glares.",
        FindingKind.LOW_RESOLUTION: "Send the original photo, not a screenshot or a copy made smaller by an app.",
        FindingKind.COLOUR_CAST: "Use daylight instead of coloured or warm lamps, and no filter.",
        FindingKind.BADLY_FRAMED: "Go closer, so that the spot is in the middle and skin fills most of the photo.",
        FindingKind.NO_SKIN: "Take the photo of the skin itself, uncovered.",
        FindingKind.TOO_FAR: "Hold the phone about a hand's length from the spot, so that skin fills the photo.",
        FindingKind.TOO_CLOSE: "Move the phone back a little, until the spot and the skin around it are sharp.",
        FindingKind.NO_CLEAR_REASON: "Take the photo again in daylight, close to the spot, and keep the phone still.",
    }
)


def finding_json(finding: Finding) -> dict[str, Any]:
    """Returns a finding as JSON types, with its patches by name and its tip."""
    return {
        "kind": finding.kind,
        "level": finding.level,
        "strength": round(finding.strength, 3),
        "probability": None if finding.probability is None else round(finding.probability, 3),
        "patches": [PATCHES[index] for index in finding.patches],
        "tip": TIPS[FindingKind(finding.kind)],
    }
