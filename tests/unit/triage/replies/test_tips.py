from triage.domain.photos import Finding
from triage.domain.states import FindingKind, FindingLevel
from triage.replies.catalogue import shipped_catalogue
from triage.replies.tips import finding_json


def test_finding_is_shown_with_its_patches_by_name() -> None:
    shown = finding_json(Finding(FindingKind.DEFOCUS, FindingLevel.SEVERE, 0.98765, (0, 4)))

    assert shown == {
        "kind": "defocus",
        "level": "severe",
        "strength": 0.988,
        "probability": None,
        "patches": ["top_left", "centre"],
        "tip": shipped_catalogue().instruction(FindingKind.DEFOCUS, "en"),
    }
