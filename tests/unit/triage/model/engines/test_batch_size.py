import pytest

from triage.model.engines.batch_size import BATCHES_TO_GROW, LARGEST_BATCH, BatchSize


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (5, 4), (64, 64), (128, 128), (1000, LARGEST_BATCH)])
def test_size_is_a_power_of_two_that_the_first_layer_can_count(asked: int, given: int) -> None:
    assert BatchSize(asked).photos == given


@pytest.mark.parametrize(("failed", "left"), [(64, 32), (8, 4), (6, 2), (3, 1), (1, 1)])
def test_size_is_the_largest_power_of_two_within_half_of_the_one_that_failed(failed: int, left: int) -> None:
    size = BatchSize(64)

    size.failed(failed)  # often fewer than a full batch: the last one of a drain or of an epoch

    assert size.photos == left


def test_size_grows_again_after_many_batches_and_never_beyond_its_first_value() -> None:
    size = BatchSize(8)
    size.failed(4)

    sizes = [size.photos]
    for _ in range(4):
        for _ in range(BATCHES_TO_GROW):
            size.fitted()
        sizes.append(size.photos)

    assert sizes == [2, 4, 8, 8, 8]


def test_batches_before_a_failure_do_not_count_towards_growth() -> None:
    size = BatchSize(8)
    size.failed(4)
    for _ in range(BATCHES_TO_GROW - 1):
        size.fitted()
    size.failed(2)

    size.fitted()

    assert size.photos == 1
