import pytest

from triage.domain.replies import PhotoReason
from triage.domain.states import FindingKind, FindingLevel
from triage.replies.choice import EASIEST_FIRST, choose_reasons


def _reasons(*names: str) -> list[PhotoReason]:
    """Reasons by name; a name with an exclamation mark is severe."""
    return [
        PhotoReason(FindingKind(name.rstrip("!")), FindingLevel.SEVERE if name.endswith("!") else FindingLevel.MILD)
        for name in names
    ]


def test_every_reason_that_a_patient_can_act_on_has_its_place() -> None:
    assert set(EASIEST_FIRST) == set(FindingKind) - {FindingKind.NO_CLEAR_REASON}


@pytest.mark.parametrize(
    ("reasons", "chosen"),
    [
        ([], []),
        (["no_clear_reason!"], []),
        (["motion"], ["motion"]),
        (["motion", "too_dark"], ["too_dark", "motion"]),  # light is easier than a steady hand
        (["motion!", "too_dark"], ["motion", "too_dark"]),  # but severity comes first
        (["motion", "colour_cast", "defocus", "too_dark"], ["too_dark", "defocus"]),  # never more than two
        (["defocus", "too_dark", "defocus!"], ["defocus", "too_dark"]),  # severe in one photo of several
        (["too_bright!", "too_dark"], ["too_bright"]),  # of two photos: both instructions cannot be followed
        (["too_far", "too_close", "no_skin"], ["too_far", "no_skin"]),
    ],
)
def test_reasons_are_chosen_by_severity_and_then_by_ease(reasons: list[str], chosen: list[str]) -> None:
    assert choose_reasons(_reasons(*reasons)) == chosen
