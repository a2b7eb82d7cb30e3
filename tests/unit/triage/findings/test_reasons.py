from math import exp

import pytest
from pydantic import ValidationError

from triage.domain.photos import Finding, PhotoScore
from triage.domain.reasons import SCORE, Reason, ReasonHead
from triage.domain.states import FindingKind, FindingLevel
from triage.findings.reasons import findings_by, probabilities_of

HEAD = ReasonHead(
    reasons={
        FindingKind.DEFOCUS: Reason(intercept=-1.0, weights={SCORE: -1.0}, named_from=0.3, advised_from=0.7),
        FindingKind.TOO_FAR: Reason(intercept=0.0, weights={"size": 2.0}, named_from=0.3, advised_from=0.7),
    },
    limits={SCORE: (-4, 4), "size": (-1, 0)},
)
MEASURES = {"size": -9.0, FindingKind.DEFOCUS: 3.0}
MEASURED = (Finding(FindingKind.DEFOCUS, FindingLevel.MILD, 0.95, (0, 4)),)


def _score(*patches: tuple[float, float], score: float = 0.5) -> PhotoScore:
    return PhotoScore((score,), (score,) * 5, score, 0, reasons=patches or ((0.0, 0.0),) * 5)


def _sigmoid(logit: float) -> float:
    return 1 / (1 + exp(-logit))


def test_probability_adds_patches_measures_within_limits_and_the_score() -> None:
    score = _score((5, 0), (0, 0), (0, 0), (0, 0), (0, 10), score=_sigmoid(0.5))

    found = probabilities_of(HEAD, score, MEASURES)

    assert found[FindingKind.DEFOCUS] == pytest.approx(_sigmoid(-1 + 1 - 0.5))
    assert found[FindingKind.TOO_FAR] == pytest.approx(_sigmoid(2 - 2))


def test_measured_findings_are_used_when_the_model_has_no_head() -> None:
    assert findings_by(None, _score(), MEASURES, MEASURED, acceptable=False) == MEASURED


def test_likeliest_reason_is_first_when_several_are_named() -> None:
    found = findings_by(HEAD, _score(*[(1.0, 4.0)] * 5), MEASURES, (), acceptable=False)

    assert [finding.kind for finding in found] == [FindingKind.TOO_FAR, FindingKind.DEFOCUS]
    assert [finding.probability for finding in found] == pytest.approx([_sigmoid(2), 0.5])
    assert [finding.level for finding in found] == [FindingLevel.SEVERE, FindingLevel.MILD]
    assert [finding.strength for finding in found] == pytest.approx([_sigmoid(2), _sigmoid(3)])


def test_measured_strength_and_patches_are_kept_when_the_reason_is_measured_too() -> None:
    [found] = findings_by(HEAD, _score(*[(3.0, -9.0)] * 5), MEASURES, MEASURED, acceptable=False)

    assert (found.strength, found.patches, found.level) == (0.95, (0, 4), FindingLevel.SEVERE)


def test_patches_are_those_whose_own_share_reaches_the_limit_when_nothing_is_measured() -> None:
    [found] = findings_by(HEAD, _score((5, -9), (1, -9), (-4, -9), (-4, -9), (5, -9)), MEASURES, (), acceptable=False)

    assert found.patches == (0, 1, 4)


def test_no_clear_reason_is_the_outcome_when_a_failing_photo_has_none() -> None:
    [found] = findings_by(HEAD, _score(*[(-2.0, -2.0)] * 5), MEASURES, MEASURED, acceptable=False)

    assert found.kind is FindingKind.NO_CLEAR_REASON
    assert found.probability == pytest.approx((1 - _sigmoid(-3)) * (1 - _sigmoid(-4)))


def test_a_passing_photo_gets_reasons_from_a_higher_limit_and_never_the_outcome_without_one() -> None:
    likely, likelier = _score(*[(1.0, -9.0)] * 5), _score(*[(3.0, -9.0)] * 5)

    assert findings_by(HEAD, likely, MEASURES, MEASURED, acceptable=True) == ()
    assert [f.kind for f in findings_by(HEAD, likelier, MEASURES, (), acceptable=True)] == [FindingKind.DEFOCUS]


def test_head_is_refused_when_a_measure_has_no_limits_or_the_outcome_has_weights() -> None:
    reason = Reason(intercept=0, weights={"size": 1.0}, named_from=0.5, advised_from=0.5)
    with pytest.raises(ValidationError, match="a measure has no limits"):
        ReasonHead(reasons={FindingKind.MOTION: reason})
    with pytest.raises(ValidationError, match="no_clear_reason is the outcome"):
        ReasonHead(reasons={FindingKind.NO_CLEAR_REASON: reason}, limits={"size": (0, 1)})


@pytest.mark.parametrize("outputs", [[], ["motion"], ["motion", "motion"], ["motion", "too_far"], "motion", None, 1])
def test_head_is_refused_when_its_outputs_are_not_its_reasons(outputs: object) -> None:
    with pytest.raises(ValidationError, match="outputs"):
        ReasonHead.model_validate(HEAD.model_dump() | {"outputs": outputs})


def test_head_has_the_order_of_its_outputs_whatever_the_order_of_its_json() -> None:
    document = HEAD.model_dump(mode="json")
    shuffled = document | {"reasons": dict(reversed(document["reasons"].items()))}
    assert list(ReasonHead.model_validate(shuffled).reasons) == list(HEAD.reasons)
    del document["outputs"]  # a file of before
    assert list(ReasonHead.model_validate(document).reasons) == list(HEAD.reasons)
