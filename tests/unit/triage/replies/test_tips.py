from triage.domain.photos import Finding
from triage.domain.states import FindingKind, FindingLevel
from triage.replies.tips import TIPS, finding_json


def test_every_finding_has_a_tip_of_one_sentence_or_two() -> None:
    assert set(TIPS) == set(FindingKind)
    assert all(20 < len(tip) <= 120 and tip.endswith(".") for tip in TIPS.values())


def test_finding_is_shown_with_its_patches_by_name() -> None:
    shown = finding_json(Finding(FindingKind.DEFOCUS, FindingLevel.SEVERE, 0.98765, (0, 4)))

    assert shown == {
        "kind": "defocus",
        "level": "severe",
        "strength": 0.988,
        "probability": None,
        "patches": ["top_left", "centre"],
        "tip": TIPS[FindingKind.DEFOCUS],
    }
