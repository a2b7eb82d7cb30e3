"""An engine of a known error: what it states at load, what audits notice, and what it does then."""

import pytest
import torch
from torch import Tensor

from triage.errors import DeviceError, DeviceLostError, Fault
from triage.model.engines.audited import BATCHES_PER_AUDIT, AuditedEngine, Comparison
from triage.model.engines.engine import EngineUnavailableError
from triage.model.engines.tolerance import EXACT, SAFETY, Tolerance
from triage.model.scorer import Scorer

CPU = torch.device("cpu")


class Rough:
    """Exact logits are those of each photo's first byte; fast ones have an error that depends on the batch."""

    name = "rough"
    device = CPU
    photos_per_call = 8

    def __init__(self, error: float = 0.0, error_of_full_batch: float = 0.0) -> None:
        self.error = error
        self.error_of_full_batch = error_of_full_batch
        self.n_exact = 0
        self.raises: Exception | None = None

    def logits(self, photos: Tensor) -> Tensor:
        if self.raises:
            raise self.raises
        error = self.error_of_full_batch if len(photos) == self.photos_per_call else self.error
        return self._logits(photos) + error

    def exact_logits(self, photos: Tensor) -> Tensor:
        self.n_exact += len(photos)
        return self._logits(photos)

    def _logits(self, photos: Tensor) -> Tensor:
        steps = torch.tensor([0.5, 0.0, -0.5, -1.0])
        return photos[:, 0, 0, 0].float().div(255).view(-1, 1, 1) - 0.5 + steps.expand(len(photos), 5, 4)


def _photos(n: int, level: int = 200) -> Tensor:
    return torch.full((n, 3, 448, 448), level, dtype=torch.uint8)


@pytest.mark.parametrize("errors", [(0.001, 0.0), (0.0, 0.001)])
def test_tolerance_covers_single_photos_and_full_batches(errors: tuple[float, float]) -> None:
    engine = AuditedEngine(Rough(*errors))

    assert 0.001 < engine.tolerance.scale <= SAFETY * 0.001


@pytest.mark.parametrize("error", [0.2, torch.nan, torch.inf])
def test_engine_is_refused_when_it_is_inexact(error: float) -> None:
    with pytest.raises(EngineUnavailableError, match="inexact"):
        AuditedEngine(Rough(0.0, error))


def test_exact_engine_scores_no_photo_twice() -> None:
    rough = Rough()
    engine = AuditedEngine(rough)
    rough.n_exact = 0

    Scorer(engine, good_votes=2, boundaries=[0.5]).score(list(_photos(3, level=127)))

    assert engine.tolerance == EXACT
    assert rough.n_exact == 3  # as `logits`, which is one exact pass


def test_one_photo_of_every_64th_batch_is_audited() -> None:
    rough = Rough(0.001)
    noted: list[Comparison] = []
    engine = AuditedEngine(rough, on_compared=noted.append)
    rough.n_exact = 0

    for _ in range(2 * BATCHES_PER_AUDIT):
        engine.logits(_photos(3))

    assert rough.n_exact == 2
    assert [(one.photos, one.is_within) for one in noted] == [(1, True)] * 2
    assert noted[0].largest_error == pytest.approx(0.001, abs=1e-6)


def test_fast_passes_end_when_an_audit_finds_an_error_beyond_the_tolerance() -> None:
    rough = Rough(0.001)
    noted: list[Comparison] = []
    engine = AuditedEngine(rough, on_compared=noted.append)
    rough.error = 0.01

    batches = [engine.logits(_photos(3)) for _ in range(BATCHES_PER_AUDIT + 1)]

    assert [one.is_within for one in noted] == [False]
    assert engine.tolerance == EXACT
    exact = rough._logits(_photos(3))
    assert [torch.equal(batch, exact) for batch in batches[-3:]] == [False, True, True]


def test_whole_batch_is_exact_when_a_photo_that_is_scored_twice_shows_the_error() -> None:
    rough = Rough(0.001)
    engine = AuditedEngine(rough)
    rough.error = 0.0041  # beyond the tolerance at a logit of 0
    photos = torch.cat([_photos(1, level=127), _photos(1, level=250)])

    found = Scorer(engine, good_votes=2, boundaries=[0.5]).score(list(photos))

    exact = Scorer(AuditedEngine(Rough()), good_votes=2).score(list(photos))
    assert found == exact
    assert engine.tolerance == EXACT


def test_logits_that_are_not_finite_are_no_reason_to_turn_off() -> None:
    """They are scored exactly anyway: an overflow of half precision costs time and no verdict."""
    engine = AuditedEngine(Rough(0.001))
    exact = torch.zeros(1, 5, 4)
    found = exact.clone()
    found[0, 0, 0] = torch.nan
    found[0, 1, 0] = torch.inf

    assert engine.compare(found, exact)
    assert not engine.compare(exact, exact + 1)
    assert engine.tolerance == EXACT


def test_check_passes_when_the_engine_computes_what_it_computed_before() -> None:
    AuditedEngine(Rough(0.001)).check()


@pytest.mark.parametrize("error", [RuntimeError("CUDA error"), ValueError("any"), None])
def test_device_is_lost_when_the_built_in_picture_fails_or_changes(error: Exception | None) -> None:
    rough = Rough(0.001)
    engine = AuditedEngine(rough)
    rough.raises, rough.error = error, 0.5

    with pytest.raises(DeviceLostError):
        engine.check()


def test_check_tells_a_full_card_from_a_lost_one() -> None:
    rough = Rough(0.001)
    engine = AuditedEngine(rough)
    rough.raises = DeviceError("full", Fault.NO_MEMORY)

    with pytest.raises(DeviceError) as caught:
        engine.check()

    assert not isinstance(caught.value, DeviceLostError)


def test_tolerance_is_compared_by_its_scale() -> None:
    assert Tolerance(0.0) == EXACT
