from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from tests.support.narrow_model import NARROW
from triage.domain.reasons import SCORE
from triage.domain.states import FindingKind
from triage.model.network import ReasonLayer
from triage.training.reasons import ReasonPhotos, fit_reasons

KINDS = (FindingKind.DEFOCUS, FindingKind.TOO_FAR)
N_STATISTICS = ReasonLayer(NARROW, 1).in_features


def _photos(seed: int, n: int = 600) -> ReasonPhotos:
    """Defocus depends on a statistic, and distance on a measure; all of these photos fail."""
    random = np.random.default_rng(seed)
    statistics = random.normal(3, 2, (n, N_STATISTICS)).astype(np.float32)
    measures = random.normal(-1, 0.5, (n, 2))
    logits = np.stack([2 * (statistics[:, 7] - 3), 6 * (measures[:, 1] + 1)], axis=1)
    given = (random.random((n, 2)) < expit(logits)).astype(np.float64)
    return ReasonPhotos(statistics, measures, [SCORE, "size"], given, np.ones(n, np.bool_))


def test_weights_are_those_that_made_the_reasons() -> None:
    head, layer = fit_reasons(KINDS, NARROW, _photos(0), _photos(1), ridge=1e-4)

    weights = layer.weight.detach().numpy()
    assert weights.shape == (2, N_STATISTICS)
    assert np.abs(weights[0]).argmax() == 7
    assert weights[0, 7] == pytest.approx(2, rel=0.35)
    assert head.reasons[FindingKind.TOO_FAR].weights["size"] == pytest.approx(6, rel=0.35)
    assert np.abs(weights[1]).max() < 0.4


def test_probabilities_are_those_of_held_out_photos() -> None:
    photos, new = replace(_photos(0, 120), fails=np.ones(120, np.bool_)), _photos(3, 4000)

    head, layer = fit_reasons(KINDS, NARROW, photos, _photos(2, 4000), ridge=1e-6)  # far too extreme by itself

    measures = np.clip(new.measures, *np.array(list(head.limits.values())).T)
    reason = head.reasons[FindingKind.DEFOCUS]
    logits = reason.intercept + new.statistics @ layer.weight.detach().numpy()[0]
    probabilities = expit(logits + measures @ np.array(list(reason.weights.values())))
    likely = probabilities > 0.8
    assert likely.sum() > 100
    assert probabilities[likely].mean() == pytest.approx(new.given[likely, 0].mean(), abs=0.05)


def test_earlier_head_counts_where_the_photos_say_nothing() -> None:
    photos = _photos(0)
    start = fit_reasons(KINDS, NARROW, photos, _photos(1))
    few = replace(_photos(4, 12), given=np.full((12, 2), np.nan))

    _, layer = fit_reasons(KINDS[::-1], NARROW, few, _photos(5, 0), start=start)

    assert np.allclose(layer.weight.detach(), start[1].weight.detach().flip(0), atol=1e-5)


def test_limits_name_most_failing_photos_and_few_passing_ones() -> None:
    random = np.random.default_rng(0)
    photos = _photos(0)
    held_out = _photos(1)
    passing = random.random(len(held_out)) < 0.5

    head, _ = fit_reasons(KINDS, NARROW, photos, replace(held_out, fails=~passing))

    [named], [advised] = ({getattr(r, name) for r in head.reasons.values()} for name in ("named_from", "advised_from"))
    assert 0.15 <= named <= 0.5 <= advised <= 1


def test_no_skin_keeps_its_limits_when_a_head_is_fitted_again() -> None:
    kinds = (FindingKind.DEFOCUS, FindingKind.NO_SKIN)
    head, layer = fit_reasons(kinds, NARROW, _photos(0), _photos(1))
    own = {"named_from": 0.83, "advised_from": 0.91}
    reasons = {**head.reasons, FindingKind.NO_SKIN: head.reasons[FindingKind.NO_SKIN].model_copy(update=own)}
    start = head.model_copy(update={"reasons": reasons}), layer

    again, _ = fit_reasons(kinds, NARROW, _photos(2), _photos(3), start=start)

    no_skin, defocus = again.reasons[FindingKind.NO_SKIN], again.reasons[FindingKind.DEFOCUS]
    assert (no_skin.named_from, no_skin.advised_from) == (0.83, 0.91)
    assert 0.15 <= defocus.named_from <= 0.5
