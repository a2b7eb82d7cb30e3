"""The logic of the CUDA engine, on the CPU, with a network that runs out of memory on demand."""

import pytest
import torch
from torch import Tensor, nn

from triage.model.engines.torch_cuda import TorchCudaEngine, dtype_of
from triage.model.engines.torch_exact import CPU


class SmallMemory(nn.Module):
    """Logits are each photo's first byte. Fails for more photos than fit."""

    def __init__(self, fits: int) -> None:
        super().__init__()
        self.fits = fits
        self.features = nn.Identity()
        self.shapes: list[int] = []

    def forward(self, photos: Tensor) -> Tensor:
        self.shapes.append(len(photos))
        if len(photos) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return photos[:, 0, 0, 0].float().view(-1, 1, 1).expand(-1, 5, 4)


def _photos(n: int) -> Tensor:
    photos = torch.zeros(n, 3, 448, 448, dtype=torch.uint8)
    photos[:, 0, 0, 0] = torch.arange(n)
    return photos


def _engine(network: nn.Module, photos_per_call: int = 8) -> TorchCudaEngine:
    return TorchCudaEngine(network, CPU, dtype=torch.float32, photos_per_call=photos_per_call)


@pytest.mark.parametrize(("fits", "found"), [(100, 8), (8, 8), (7, 4), (3, 2), (1, 1)])
def test_batch_is_halved_until_it_fits_into_memory(fits: int, found: int) -> None:
    assert _engine(SmallMemory(fits)).photos_per_call == found


def test_all_photos_are_scored_when_memory_runs_out_later() -> None:
    network = SmallMemory(8)
    engine = _engine(network)
    network.fits = 2

    logits = engine.logits(_photos(11))

    assert logits[:, 0, 0].tolist() == list(range(11))
    assert engine.photos_per_call == 2  # the smaller batch is kept


def test_error_is_raised_when_a_single_photo_does_not_fit() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        _engine(SmallMemory(0))


def test_batches_are_padded_to_few_shapes_without_effect_on_logits() -> None:
    network = SmallMemory(8)
    engine = _engine(network)
    network.shapes.clear()

    for n in range(1, 20):
        assert engine.logits(_photos(n))[:, 4, 3].tolist() == list(range(n))

    assert set(network.shapes) == {1, 2, 4, 8}


def test_float32_is_used_when_half_precision_is_inexact() -> None:
    class Overflowing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv2d(3, 1, 1, bias=False)
            with torch.no_grad():
                self.features.weight.fill_(1000.0)

        def forward(self, photos: Tensor) -> Tensor:
            x: Tensor = self.features(photos[:, :, :8, :8].to(self.features.weight.dtype)).float()  # (n, 1, 8, 8)
            return x.mean(dim=(1, 2, 3)).view(-1, 1, 1).expand(-1, 5, 4) * 1e-6

    engine = TorchCudaEngine(Overflowing(), CPU, dtype=torch.float16, photos_per_call=1)

    assert engine.logit_tolerance == 0
    assert bool(engine.logits(_photos(2) + 255).isfinite().all())


@pytest.mark.parametrize(
    ("capability", "dtype"), [((6, 1), torch.float32), ((7, 0), torch.float16), ((9, 0), torch.float16)]
)
def test_half_precision_needs_tensor_cores(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)

    assert dtype_of(torch.device("cuda")) == dtype
    assert dtype_of(CPU) == torch.float32
