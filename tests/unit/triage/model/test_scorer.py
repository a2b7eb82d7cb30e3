import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.support.narrow_model import draw_narrow_network
from triage.domain.card import Card, Pooling, Recalibration
from triage.domain.reasons import Reason, ReasonHead
from triage.domain.states import FindingKind
from triage.findings.rules import Measured
from triage.model.coral import CoralHead
from triage.model.engines.engine import ExactEngine
from triage.model.engines.tolerance import Tolerance
from triage.model.engines.torch_exact import TorchEngine
from triage.model.patches import five_patches
from triage.model.scorer import Scorer


class RedNetwork(nn.Module):
    """Logits that are easily computed by hand: a patch's mean red, 0 to 1, minus 0, 1, 2, 3."""

    def forward(self, photos: Tensor) -> Tensor:
        red = five_patches(photos)[:, :, 0].float().mean(dim=(2, 3)) / 255  # (N, 5)
        return red.unsqueeze(-1) - torch.arange(4)  # (N, 5, 4)


def _scorer(photos_per_call: int = 1, **arguments: Any) -> Scorer:
    return Scorer(TorchEngine(RedNetwork(), photos_per_call=photos_per_call), **({"good_votes": 2} | arguments))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _photo(red: int) -> Tensor:
    photo = torch.zeros(3, 448, 448, dtype=torch.uint8)
    photo[0] = red
    return photo


def test_score_is_exact_when_the_weights_are_set_by_hand() -> None:
    photo = _photo(0)
    photo[0, :224, :224] = 255  # the first patch and a quarter of the centre are red

    [found] = _scorer().score([photo])

    reds = (1.0, 0.0, 0.0, 0.0, 0.25)
    cumulative = [sum(_sigmoid(red - level) for red in reds) / 5 for level in range(4)]
    assert found.cumulative == pytest.approx(cumulative, abs=1e-6)
    assert found.patch_scores == pytest.approx([_sigmoid(red - 1) for red in reds], abs=1e-6)
    assert found.score == found.cumulative[1]
    assert found.grade == 1  # only P(votes >= 1) exceeds one half


class RedNetworkWithReasons(RedNetwork):
    """As `RedNetwork`, with two reasons: a patch's mean red, and 7."""

    def forward(self, photos: Tensor) -> Tensor:
        logits = super().forward(photos)
        return torch.cat([logits, logits[:, :, :1], torch.full_like(logits[:, :, :1], 7)], dim=2)


def test_reasons_are_apart_from_the_logits_when_the_network_has_them() -> None:
    photo = _photo(0)
    photo[0, :224, :224] = 255
    reason = Reason(intercept=-6.0, named_from=0.5, advised_from=0.9)
    head = ReasonHead(reasons={FindingKind.MOTION: reason, FindingKind.TOO_FAR: reason})
    scorer = Scorer(TorchEngine(RedNetworkWithReasons()), good_votes=2, reasons=head)

    [found] = scorer.score([photo])
    [plain] = _scorer().score([photo])

    assert found.reasons == ((1, 7), (0, 7), (0, 7), (0, 7), (0.25, 7))
    assert replace(found, reasons=()) == plain
    [finding] = scorer.findings(found, Measured((), {}), acceptable=False)
    assert finding.kind is FindingKind.TOO_FAR
    assert finding.probability == pytest.approx(_sigmoid(1))


def test_score_is_of_the_worst_patch_when_pooling_takes_the_minimum() -> None:
    photo = _photo(255)
    photo[0, :224, :224] = 51  # one fifth

    [found] = _scorer(pooling="min").score([photo])

    assert found.cumulative == pytest.approx([_sigmoid(0.2 - level) for level in range(4)], abs=1e-6)
    assert found.score == min(found.patch_scores)


def test_every_probability_is_recalibrated() -> None:
    intercepts = (0.5, 0.5, -0.1, -2.0)
    [found] = _scorer(recalibration=Recalibration(slope=2.0, intercepts=intercepts)).score([_photo(255)])

    expected = [_sigmoid(2 * (1 - level) + intercept) for level, intercept in enumerate(intercepts)]
    assert found.cumulative == pytest.approx(expected, abs=1e-6)
    assert found.patch_scores == pytest.approx([expected[1]] * 5, abs=1e-6)
    assert found.grade == 2  # at level 3 of 4, sigmoid(-2.1) is below one half


@pytest.mark.parametrize("probability_end", [1e4, -1e4])
def test_recalibration_survives_probabilities_of_zero_and_one(probability_end: float) -> None:
    class Certain(nn.Module):
        def forward(self, photos: Tensor) -> Tensor:
            return torch.full((len(photos), 5, 4), probability_end)

    recalibration = Recalibration(slope=1.5, intercepts=(-1.0,) * 4)
    scorer = Scorer(TorchEngine(Certain()), good_votes=2, recalibration=recalibration)
    [found] = scorer.score([_photo(0)])

    assert found.score == pytest.approx(1.0 if probability_end > 0 else 0.0, abs=1e-6)


@pytest.mark.parametrize("good_votes", [1, 3, 4])
def test_score_is_the_probability_of_at_least_good_votes(good_votes: int) -> None:
    [found] = _scorer(good_votes=good_votes).score([_photo(255)])

    assert found.score == pytest.approx(_sigmoid(1 - (good_votes - 1)), abs=1e-6)
    assert found.score == found.cumulative[good_votes - 1]


@pytest.mark.parametrize("photos_per_call", [1, 2, 3, 64])
def test_batch_equals_its_photos_scored_alone_and_in_order(photos_per_call: int) -> None:
    photos = [_photo(red) for red in (0, 40, 80, 200, 255)]
    alone = [_scorer().score([photo])[0] for photo in photos]

    assert _scorer(photos_per_call=photos_per_call).score(photos) == alone


class HeadAlone(nn.Module):
    """A real CORAL head over given signals."""

    def __init__(self, biases: list[float], signals: list[float]) -> None:
        super().__init__()
        self.head = CoralHead(1, len(biases))
        self.signals = torch.tensor(signals).view(1, 5, 1)
        with torch.no_grad():
            self.head.weight.fill_(1.0)
            self.head.bias.copy_(torch.tensor(biases))
        self.head.order_biases()

    def forward(self, photos: Tensor) -> Tensor:
        logits: Tensor = self.head(self.signals)
        return logits


@settings(max_examples=300)
@given(
    biases=st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=8),
    signals=st.lists(st.floats(-100, 100, width=32), min_size=5, max_size=5),
)
def test_cumulative_probabilities_never_cross(biases: list[float], signals: list[float]) -> None:
    scorer = Scorer(TorchEngine(HeadAlone(biases, signals)), good_votes=2)

    [found] = scorer.score([_photo(0)])

    assert list(found.cumulative) == sorted(found.cumulative, reverse=True)


def test_network_scores_a_photo_the_same_in_any_batch() -> None:
    random = torch.Generator().manual_seed(0)
    photos = [torch.randint(0, 256, (3, 448, 448), dtype=torch.uint8, generator=random) for _ in range(3)]
    network = draw_narrow_network(seed=5)

    together = Scorer(TorchEngine(network, photos_per_call=3), good_votes=2).score(photos)
    alone = [Scorer(TorchEngine(network), good_votes=2).score([photo])[0] for photo in reversed(photos)]

    for one, other in zip(together, reversed(alone), strict=True):
        assert one.cumulative == pytest.approx(other.cumulative, abs=1e-5)
        assert one.patch_scores == pytest.approx(other.patch_scores, abs=1e-5)
    assert len({round(one.score, 4) for one in together}) == 3


def test_no_scores_are_returned_for_no_photos() -> None:
    assert _scorer().score([]) == []


class RoughEngine(ExactEngine):
    """Its fast logits have a given error. It records the photos that are scored exactly."""

    name = "rough"
    device = torch.device("cpu")
    tolerance = Tolerance(0.05)

    def __init__(self, error: float) -> None:
        self.error = error
        self.exact_reds: list[int] = []

    def logits(self, photos: Tensor) -> Tensor:
        return TorchEngine(RedNetwork()).logits(photos) + self.error

    def exact_logits(self, photos: Tensor) -> Tensor:
        self.exact_reds += photos[:, 0, 0, 0].tolist()
        return TorchEngine(RedNetwork()).logits(photos)


@pytest.mark.parametrize("error", [-0.049, 0.0, 0.049, math.nan, math.inf])
@pytest.mark.parametrize("recalibration", [None, Recalibration(slope=2.0, intercepts=(0.9, 0.3, 0.3, -1))])
@pytest.mark.parametrize("pooling", ["mean", "min"])
def test_no_verdict_depends_on_the_engine(error: float, recalibration: Recalibration | None, pooling: Pooling) -> None:
    photos = [_photo(red) for red in range(0, 256, 10)]
    rules: dict[str, Any] = {"good_votes": 2, "recalibration": recalibration, "pooling": pooling}
    exact = Scorer(TorchEngine(RedNetwork()), **rules).score(photos)
    thresholds = (exact[6].score, exact[15].score)

    found = Scorer(RoughEngine(error), **rules, boundaries=thresholds).score(photos)

    for threshold in thresholds:
        assert [one.score >= threshold for one in found] == [one.score >= threshold for one in exact]
    assert [one.grade for one in found] == [one.grade for one in exact]


def test_only_photos_close_to_a_boundary_are_scored_twice() -> None:
    engine = RoughEngine(0.01)
    photos = [_photo(red) for red in (0, 30, 100, 150, 250)]  # logits of level 1 are red / 255, so half is at 0
    [threshold] = {score.score for score in _scorer().score([_photo(100)])}

    Scorer(engine, good_votes=2, boundaries=[threshold]).score(photos)

    assert engine.exact_reds == [0, 100, 250]  # the first and the last lie at the boundary of two grades


def test_boundaries_are_the_thresholds_of_the_card_and_the_uncertain_margin() -> None:
    card = Card(
        name="two",
        trained=True,
        threshold=_sigmoid(100 / 255 - 1),
        thresholds_by_photo_count={2: _sigmoid(150 / 255 - 1)},
        threshold_chosen_by="hand",
        created_at=datetime.now(UTC),
    )
    photos = [_photo(red) for red in range(50, 200, 50)]
    plain, with_margin = RoughEngine(0.0), RoughEngine(0.0)

    Scorer.of(card, plain).score(photos)
    Scorer.of(card, with_margin, uncertain_margin=card.threshold - _sigmoid(50 / 255 - 1)).score(photos)

    assert plain.exact_reds == [100, 150]
    assert with_margin.exact_reds == [50, 100, 150]
