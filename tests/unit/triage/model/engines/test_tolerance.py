import pytest
import torch

from triage.model.engines.tolerance import EXACT, LARGEST, ROUNDING, SAFETY, Tolerance, draw_pictures, tolerance_for

EXACT_LOGITS = torch.tensor([0.0, 1.0, -3.0, 9.0]).expand(2, 5, 4)


def test_tolerance_grows_with_the_logit() -> None:
    assert Tolerance(0.01).of(torch.tensor([0.0, -9.0])).tolist() == pytest.approx([0.01, 0.1])


def test_tolerance_is_a_multiple_of_the_largest_relative_error_in_any_batch() -> None:
    single, full = EXACT_LOGITS.clone(), EXACT_LOGITS.repeat(3, 1, 1)
    single[0, 0, 0] = 0.001  # .001 of 1.001
    full[5, 4, 3] = 9.02  # .02 of 10.02

    found = tolerance_for([single, full], EXACT_LOGITS)

    assert found is not None
    assert found.scale == pytest.approx(SAFETY * 0.02 / 10.02, rel=1e-3)


def test_tolerance_is_zero_only_when_all_logits_are_equal() -> None:
    assert tolerance_for([EXACT_LOGITS, EXACT_LOGITS.repeat(2, 1, 1)], EXACT_LOGITS) == EXACT
    assert tolerance_for([EXACT_LOGITS + 1e-6], EXACT_LOGITS) == Tolerance(ROUNDING)


@pytest.mark.parametrize("wrong", [2 * LARGEST, torch.nan, torch.inf, -torch.inf])
def test_engine_is_refused_when_one_logit_is_far_off_or_not_finite(wrong: float) -> None:
    found = EXACT_LOGITS.clone()
    found[1, 2, 0] += wrong

    assert tolerance_for([EXACT_LOGITS, found], EXACT_LOGITS) is None


def test_each_of_the_eight_pictures_fills_a_patch() -> None:
    photos = draw_pictures()
    patches = [photos[n, :, y : y + 224, x : x + 224] for n in (0, 1) for y in (0, 224) for x in (0, 224)]

    assert photos.shape == (2, 3, 448, 448)
    assert torch.equal(photos, draw_pictures())
    assert {int(patch.float().std()) > 0 for patch in patches[1:3]} == {False}  # black and white
    assert [int(patch.max()) for patch in patches[:5]] == [255, 0, 255, 255, 255]
    assert bool((patches[3][:, :, 0] == 0).all() & (patches[3][:, :, 1] == 255).all())
    assert len({patch.numpy().tobytes() for patch in patches}) == 8
