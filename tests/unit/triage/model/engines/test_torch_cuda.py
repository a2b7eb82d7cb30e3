"""The logic of the CUDA engine, on the CPU, with a network that fails like a card on demand."""

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.cuda._utils import _get_device_index

from tests.support.narrow_model import draw_narrow_network
from triage.errors import DeviceError, DeviceLostError, Fault
from triage.model.engines.audited import AuditedEngine
from triage.model.engines.batch_size import BATCHES_TO_GROW
from triage.model.engines.engine import EngineUnavailableError
from triage.model.engines.float32 import use_card
from triage.model.engines.tolerance import EXACT, LARGEST
from triage.model.engines.torch_cuda import EXACT_PHOTOS, TorchCudaEngine, dtype_of
from triage.model.engines.torch_exact import CPU, TorchEngine

FULL: list[Callable[[], Exception]] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory"),
    lambda: torch.AcceleratorError("CUDA error: out of memory"),
    lambda: RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    lambda: RuntimeError("GET was unable to find an engine to execute this computation"),
]


class SmallMemory(nn.Module):
    """Logits are each photo's first byte. The fast copy fails for more photos than fit, the exact one on demand."""

    fits = 1000  # of the class, which the engine's copy shares
    exact_fails = 0
    full: Callable[[], Exception] = FULL[0]

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 1, 1)
        self.shapes: list[int] = []

    @property
    def is_fast(self) -> bool:
        return self.features.weight.dtype == torch.float16

    def forward(self, photos: Tensor) -> Tensor:
        self.shapes.append(len(photos))
        memory = type(self)
        if self.is_fast and len(photos) > memory.fits:
            raise memory.full()
        if not self.is_fast and memory.exact_fails:
            memory.exact_fails -= 1
            raise memory.full()
        return photos[:, 0, 0, 0].float().view(-1, 1, 1).expand(-1, 5, 4)


@pytest.fixture
def memory() -> type[SmallMemory]:
    return type("Memory", (SmallMemory,), {})


def _photos(n: int) -> Tensor:
    photos = torch.zeros(n, 3, 448, 448, dtype=torch.uint8)
    photos[:, 0, 0, 0] = torch.arange(n)
    return photos


def _engine(network: nn.Module, photos_per_call: int = 8, *, waits: list[float] | None = None) -> TorchCudaEngine:
    wait = (waits if waits is not None else []).append
    return TorchCudaEngine(network, CPU, dtype=torch.float16, photos_per_call=photos_per_call, wait=wait)


def _shapes(engine: TorchCudaEngine, *, exact: bool = False) -> list[int]:
    network = engine._exact if exact else engine._fast
    assert isinstance(network, SmallMemory)
    return network.shapes


@pytest.mark.parametrize(("fits", "found"), [(100, 8), (8, 8), (7, 4), (3, 2), (1, 1)])
def test_batch_is_halved_until_it_fits_into_memory(memory: type[SmallMemory], fits: int, found: int) -> None:
    memory.fits = fits
    assert _engine(memory()).photos_per_call == found


@pytest.mark.parametrize("full", FULL, ids=lambda full: str(full()))
def test_all_photos_are_scored_when_memory_runs_out_later(
    memory: type[SmallMemory], full: Callable[[], Exception]
) -> None:
    engine = _engine(memory())
    memory.fits, memory.full = 2, staticmethod(full)

    logits = engine.logits(_photos(11))

    assert logits[:, 0, 0].tolist() == list(range(11))
    assert engine.photos_per_call == 2
    assert engine.shapes == [2, 1]


def test_size_is_halved_from_the_batch_that_failed(memory: type[SmallMemory]) -> None:
    engine = _engine(memory(), photos_per_call=64)
    _shapes(engine).clear()
    memory.fits = 4

    engine.logits(_photos(5))

    assert _shapes(engine) == [8, 4, 1]  # not 64, 32, 16 first


def test_size_grows_again_when_the_memory_is_free(memory: type[SmallMemory]) -> None:
    engine = _engine(memory())
    memory.fits = 4
    engine.logits(_photos(8))
    memory.fits = 1000

    for _ in range(BATCHES_TO_GROW):
        engine.logits(_photos(1))

    assert engine.photos_per_call == 8


@pytest.mark.parametrize("full", FULL, ids=lambda full: str(full()))
def test_full_card_is_no_fault_of_a_photo(memory: type[SmallMemory], full: Callable[[], Exception]) -> None:
    waits: list[float] = []
    engine = _engine(memory(), waits=waits)
    memory.fits, memory.full = 0, staticmethod(full)

    with pytest.raises(DeviceError) as caught:
        engine.logits(_photos(3))

    assert (type(caught.value), caught.value.kind) == (DeviceError, Fault.NO_MEMORY)
    assert waits == [1, 4, 16]


def test_photos_are_scored_when_memory_is_free_after_a_wait(memory: type[SmallMemory]) -> None:
    waits: list[float] = []
    engine = _engine(memory(), waits=waits)
    memory.exact_fails = 2

    assert engine.exact_logits(_photos(3))[:, 0, 0].tolist() == [0, 1, 2]
    assert waits == [1, 4]


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    ],
    ids=str,
)
def test_card_that_fails_is_lost_at_once(memory: type[SmallMemory], error: Exception) -> None:
    engine = _engine(memory())
    memory.fits, memory.full = 0, staticmethod(lambda: error)
    _shapes(engine).clear()

    with pytest.raises(DeviceLostError):
        engine.logits(_photos(8))

    assert _shapes(engine) == [8]  # no smaller batch is tried


def test_batches_are_padded_to_few_shapes_without_effect_on_logits(memory: type[SmallMemory]) -> None:
    engine = _engine(memory())
    _shapes(engine).clear()

    for n in range(1, 20):
        assert engine.logits(_photos(n))[:, 4, 3].tolist() == list(range(n))

    assert set(_shapes(engine)) == {1, 2, 4, 8}


def test_exact_passes_have_one_shape(memory: type[SmallMemory]) -> None:
    engine = _engine(memory())

    for n in range(1, 20):
        assert engine.exact_logits(_photos(n))[:, 4, 3].tolist() == list(range(n))

    assert set(_shapes(engine, exact=True)) == {EXACT_PHOTOS}


def test_every_shape_is_warmed_up_by_the_thread_that_loads(memory: type[SmallMemory]) -> None:
    engine = _engine(memory(), photos_per_call=64)

    assert _shapes(engine) == engine.shapes == [64, 32, 16, 8, 4, 2, 1]
    assert _shapes(engine, exact=True) == [EXACT_PHOTOS]


def test_half_precision_is_measured_and_exact_logits_depend_on_no_other_photo() -> None:
    random = torch.Generator().manual_seed(0)
    photos = torch.randint(0, 256, (2, 3, 448, 448), dtype=torch.uint8, generator=random)
    engine = AuditedEngine(TorchCudaEngine(draw_narrow_network(), CPU, dtype=torch.float16, photos_per_call=1))

    together = engine.exact_logits(photos)
    alone = engine.exact_logits(photos[1:])

    assert 0 < engine.tolerance.scale < LARGEST
    assert torch.equal(together[1:], alone)
    assert torch.allclose(together, TorchEngine(draw_narrow_network()).logits(photos), atol=1e-4)


def test_float32_engine_is_exact_and_has_no_fast_shapes() -> None:
    engine = TorchCudaEngine(draw_narrow_network(), CPU, dtype=torch.float32, photos_per_call=1)

    assert engine.shapes == []
    assert AuditedEngine(engine).tolerance == EXACT


def test_half_precision_is_refused_when_activations_overflow() -> None:
    network = draw_narrow_network()
    with torch.no_grad():
        for layer in network.features:
            if isinstance(layer, nn.Conv2d):
                layer.weight.mul_(100)

    with pytest.raises(EngineUnavailableError, match="inexact"):
        AuditedEngine(TorchCudaEngine(network, CPU, dtype=torch.float16, photos_per_call=1))


def test_loading_a_second_model_leaves_the_arithmetic_of_the_process_alone() -> None:
    """A flag that a pass sets for its duration would hold for passes of other threads, and stay behind."""

    def state() -> tuple[object, ...]:
        backends = torch.backends
        return (backends.cudnn.benchmark, backends.cudnn.deterministic, backends.cudnn.conv.fp32_precision)  # type: ignore[attr-defined]

    seen: list[tuple[object, ...]] = []

    class Watching(SmallMemory):
        def forward(self, photos: Tensor) -> Tensor:
            seen.append(state())
            return super().forward(photos)

    before = state()
    thread = threading.Thread(target=lambda: _engine(Watching()))
    thread.start()
    thread.join()

    assert set(seen) == {before}
    assert state() == before


@pytest.mark.parametrize(("name", "index"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_arithmetic_is_set_on_any_card(monkeypatch: pytest.MonkeyPatch, name: str, index: int) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)  # set back afterwards
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
    chosen: list[int] = []
    # all that `set_device` does before it needs a driver
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: chosen.append(_get_device_index(device)))

    use_card(torch.device(name))

    assert chosen == [index]
    assert torch.backends.cudnn.conv.fp32_precision == torch.backends.cuda.matmul.fp32_precision == "ieee"  # type: ignore[attr-defined]
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_arithmetic_is_left_alone_on_a_cpu() -> None:
    before = torch.backends.cudnn.conv.fp32_precision, torch.backends.cudnn.benchmark  # type: ignore[attr-defined]

    use_card(CPU)

    assert (torch.backends.cudnn.conv.fp32_precision, torch.backends.cudnn.benchmark) == before  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("capability", "dtype"), [((6, 1), torch.float32), ((7, 0), torch.float16), ((9, 0), torch.float16)]
)
def test_half_precision_needs_tensor_cores(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)

    assert dtype_of(torch.device("cuda")) == dtype
    assert dtype_of(CPU) == torch.float32
