"""Which reasons a reply names: at most two, because a patient follows one or two instructions and not five."""

from collections.abc import Iterable
from typing import Final

from triage.domain.replies import PhotoReason
from triage.domain.states import FindingKind, FindingLevel

MAX_REASONS: Final = 2

EASIEST_FIRST: Final = (
    FindingKind.TOO_DARK,
    FindingKind.TOO_BRIGHT,
    FindingKind.TOO_FAR,
    FindingKind.TOO_CLOSE,
    FindingKind.BADLY_FRAMED,
    FindingKind.DEFOCUS,
    FindingKind.LOW_RESOLUTION,
    FindingKind.NO_SKIN,
    FindingKind.COLOUR_CAST,
    FindingKind.MOTION,
)
"""Reasons by what a patient can change most easily: light and distance first, a steady hand last."""

_OPPOSITES: Final = ({FindingKind.TOO_DARK, FindingKind.TOO_BRIGHT}, {FindingKind.TOO_FAR, FindingKind.TOO_CLOSE})


def choose_reasons(reasons: Iterable[PhotoReason]) -> list[FindingKind]:
    """Chooses what a reply names, from the reasons of all photos: by severity, then by ease.

    Two photos can have opposite flaws, such as too dark and too bright. A patient cannot follow both instructions, so
    the second one is left out.
    """
    severe: dict[FindingKind, bool] = {}
    for reason in reasons:
        severe[reason.kind] = severe.get(reason.kind, False) or reason.severity is FindingLevel.SEVERE
    chosen: list[FindingKind] = []
    for kind in sorted(severe.keys() & set(EASIEST_FIRST), key=lambda k: (not severe[k], EASIEST_FIRST.index(k))):
        if not any({kind, other} in _OPPOSITES for other in chosen):
            chosen.append(kind)
    return chosen[:MAX_REASONS]
