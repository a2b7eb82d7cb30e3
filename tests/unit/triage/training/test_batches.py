"""Batches on their way to a device. `meta` stands for a card: its tensors have shapes and no content."""

from collections.abc import Callable

import pytest
import torch

from triage.training.batches import Batches, PrefetchedBatches, ResidentBatches, batches_on, split_evenly
from triage.training.photos import PhotoSet

CPU, CARD = torch.device("cpu"), torch.device("meta")


def _photos(n: int) -> PhotoSet:
    pixels = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 3, 4, 4).contiguous()
    return PhotoSet(pixels, [])


@pytest.mark.parametrize("kind", [ResidentBatches, PrefetchedBatches])
@pytest.mark.parametrize("n", [1, 8, 17, 24])
def test_batches_have_the_photos_of_the_order(kind: Callable[[PhotoSet, torch.device], Batches], n: int) -> None:
    batches = kind(_photos(n), CPU)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(n))

    for _ in range(2):  # epochs
        given = [batch.clone() for batch in batches.of(order, 8)]
        assert [rows.tolist() for rows in split_evenly(order, 8)] == [batch[:, 0, 0, 0].tolist() for batch in given]
        assert bool((torch.cat(given) == order.view(-1, 1, 1, 1)).all())


def test_next_batch_is_collected_while_the_device_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[int] = []
    select = torch.index_select

    def note(photos: torch.Tensor, dim: int, rows: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
        collected.append(int(rows[0]))
        return select(photos, dim, rows, out=out)

    monkeypatch.setattr(torch, "index_select", note)
    batches = PrefetchedBatches(_photos(4), CPU).of(torch.arange(4), 1)

    first = next(batches)
    for _ in range(10_000):
        if len(collected) == 2:
            break
        torch.zeros(1)
    assert int(first[0, 0, 0, 0]) == 0
    assert collected == [0, 1]
    batches.close()  # type: ignore[attr-defined]  # a generator


def test_error_of_the_collecting_thread_reaches_the_loop() -> None:
    batches = PrefetchedBatches(_photos(4), CPU).of(torch.tensor([0, 4]), 1)

    assert int(next(batches)[0, 0, 0, 0]) == 0
    with pytest.raises(IndexError):
        next(batches)


@pytest.mark.parametrize(("n", "sizes"), [(0, []), (1, [1]), (8, [8]), (9, [5, 4]), (17, [6, 6, 5])])
def test_no_batch_is_much_smaller_than_the_others(n: int, sizes: list[int]) -> None:
    assert [len(rows) for rows in split_evenly(torch.arange(n), 8)] == sizes


@pytest.mark.parametrize(("free", "kind"), [(4 * 48 * 10, ResidentBatches), (4 * 48 * 10 - 1, PrefetchedBatches)])
def test_photos_stay_on_the_card_when_they_take_a_quarter_of_its_free_memory(
    monkeypatch: pytest.MonkeyPatch, free: int, kind: type[Batches]
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 10**9))

    assert type(batches_on(CARD, _photos(10))) is kind
    assert type(batches_on(CPU, _photos(10))) is ResidentBatches
