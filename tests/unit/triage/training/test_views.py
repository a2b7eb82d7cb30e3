import numpy as np
import pytest

from triage.imaging.degradation import Degradation
from triage.training.views import DEGRADED, Pixels, plan_epoch, read_batches, views_of


def _photos(n: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (n, 3, 448, 448), dtype=np.uint8)


def test_each_kind_of_degradation_has_five_levels() -> None:
    assert {kind for kind, _ in DEGRADED} == set(Degradation)
    assert len(DEGRADED) == 5 * len(Degradation)


def test_each_photo_is_in_one_batch_of_an_epoch_and_has_a_class_of_its_own() -> None:
    batches = plan_epoch(10, 4, seed=3, number=1)

    assert sorted(np.concatenate([batch.rows for batch in batches])) == list(range(10))
    assert [len(batch.rows) for batch in batches] == [4, 3, 3]
    classes = batches[0].classes
    assert classes.shape == (4, 4)
    assert (classes[:, 0] == classes[:, 1]).all()
    assert (classes[:, 2] == classes[:, 3]).all()
    assert set(classes[:, 0].tolist()) == {len(DEGRADED) + row for row in batches[0].rows}
    assert set(classes[:, 2].tolist()) < set(range(len(DEGRADED)))


def test_two_photos_of_a_batch_share_each_degradation() -> None:
    [batch] = plan_epoch(12, 12, seed=0, number=1)

    _, counts = np.unique(batch.degraded, return_counts=True)

    assert counts.tolist() == [2] * 6


def test_epochs_differ_and_are_the_same_when_repeated() -> None:
    first, again, second = (plan_epoch(9, 4, seed=1, number=number) for number in (1, 1, 2))

    assert all((a.rows == b.rows).all() and (a.seeds == b.seeds).all() for a, b in zip(first, again, strict=True))
    assert not all((a.rows == b.rows).all() for a, b in zip(first, second, strict=True))


def test_views_are_the_photo_and_its_degraded_copy_at_two_scales() -> None:
    y, x = np.mgrid[0:448, 0:448]
    photo = np.stack([x // 2, y // 2, np.full_like(x, 100)]).astype(np.uint8)
    dark = DEGRADED.index((Degradation.DARK, 0.6))

    views = views_of(photo, dark, seed=5)

    assert views.shape == (4, 3, 224, 224)
    assert views.dtype == np.uint8
    full, half, dark_full, dark_half = views.astype(float)
    assert np.ptp(full[0]) == pytest.approx(111.5, abs=1)  # half of the photo's width
    assert np.ptp(half[0]) == pytest.approx(223, abs=1)  # all of it
    for unchanged, changed in ((full, dark_full), (half, dark_half)):
        assert unchanged[2].mean() == 100
        assert changed[2].mean() == pytest.approx(46, abs=1)  # 100 * (1 - 0.9 * 0.6)


def test_views_do_not_depend_on_the_number_of_threads() -> None:
    photos, batches = _photos(5), plan_epoch(5, 2, seed=0, number=1)

    one, three = (list(read_batches(photos, batches, threads)) for threads in (1, 3))

    assert [len(batch) for batch in one] == [2, 2, 1]
    assert all((a == b).all() for a, b in zip(one, three, strict=True))
