import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from triage.domain.reasons import Reason, ReasonHead
from triage.domain.states import FindingKind
from triage.evaluation.evaluate import evaluate
from triage.evaluation.predictions import Predictions
from triage.evaluation.reasons import ReasonPrediction, average_precision, evaluate_reasons
from triage.evaluation.report import render_evaluation

HEAD = ReasonHead(
    reasons={
        kind: Reason(intercept=0, named_from=0.5, advised_from=0.9)
        for kind in (FindingKind.MOTION, FindingKind.TOO_FAR)
    }
)


def _photo(motion: float, given: float | None) -> ReasonPrediction:
    reviewers = {} if given is None else {FindingKind.MOTION: given}
    return ReasonPrediction({FindingKind.MOTION: motion, FindingKind.TOO_FAR: 0.4}, reviewers)


PHOTOS = [_photo(0.9, 1), _photo(0.8, 0.25), _photo(0.7, 0.5), _photo(0.5, 0), _photo(0.2, 0.75), _photo(0.1, 0)]


def test_reasons_are_counted_against_the_majority_of_the_reviewers() -> None:
    found = evaluate_reasons(HEAD, [*PHOTOS, _photo(0.9, None)])

    assert found is not None
    assert (found["n"], list(found["by_reason"])) == (6, ["motion"])
    motion = found["by_reason"]["motion"]
    assert (motion["n"], motion["n_with"], motion["n_named"]) == (6, 3, 4)
    assert (motion["precision"], motion["recall"]) == (0.5, pytest.approx(2 / 3))
    assert motion["f1"] == pytest.approx(4 / 7)
    assert motion["kappa"] == pytest.approx((3 / 6 - 0.5) / (1 - 0.5))  # 2 + 1 agree; by chance half would
    assert motion["average_precision"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert sum(each["n"] for each in motion["bins"]) == 6


def test_evaluation_is_left_out_when_no_reviewer_was_asked() -> None:
    assert evaluate_reasons(HEAD, [_photo(0.9, None)]) is None


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), st.booleans()), min_size=1, max_size=30))
def test_average_precision_is_that_of_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    probabilities, has_reason = np.array([p for p, _ in rows]), np.array([reason for _, reason in rows])

    found = average_precision(probabilities, has_reason)

    if has_reason.any():
        assert found == pytest.approx(average_precision_score(has_reason, probabilities))
    else:
        assert found is None


def test_page_shows_the_reasons_when_they_were_evaluated() -> None:
    predictions = Predictions(np.linspace(0, 1, 20), np.arange(20.0) % 5)
    document = evaluate(predictions)

    page = render_evaluation({**document, "reasons": evaluate_reasons(HEAD, PHOTOS)}, predictions, title="t", data="d")

    assert "against the majority of its reviewers, on 6 photos" in page
    row = page.split("<tr><td>motion</td>")[1].split("</tr>")[0]
    assert "<td>50.0 %</td><td>66.7 %</td><td>0.57</td><td>0.76</td><td>0.00</td>" in row
    assert "Reasons" not in render_evaluation({**document, "reasons": None}, predictions, title="t", data="d")
