import copy
import importlib
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.support.narrow_model import add_reasons, draw_narrow_network
from triage.domain.states import FindingKind
from triage.errors import DeviceError, DeviceLostError, Fault, ModelError, UsageError
from triage.model.engines import choose
from triage.model.engines import mnn as mnn_engine
from triage.model.engines.audited import AuditedEngine
from triage.model.engines.choose import choose_device, choose_engine, describe_device, load_exact_engine
from triage.model.engines.engine import Engine, EngineName, EngineUnavailableError
from triage.model.engines.tolerance import draw_pictures
from triage.model.engines.torch_cuda import TorchCudaEngine
from triage.model.engines.torch_exact import CPU, TorchEngine
from triage.model.network import OrdinalVGG16


@pytest.fixture(scope="module")
def network() -> OrdinalVGG16:
    return draw_narrow_network()


@pytest.mark.parametrize(
    "load",
    [
        lambda network: AuditedEngine(mnn_engine.MnnEngine(network)),
        lambda network: AuditedEngine(TorchCudaEngine(network, CPU, dtype=torch.float16, photos_per_call=2)),
        lambda network: TorchEngine(network, photos_per_call=2),
    ],
    ids=["mnn", "half precision", "torch"],
)
def test_reasons_are_those_of_pytorch_within_the_tolerance(load: Callable[[OrdinalVGG16], Engine]) -> None:
    network = draw_narrow_network()
    add_reasons(network, FindingKind.DEFOCUS, FindingKind.TOO_FAR)
    photos = draw_pictures()
    expected = TorchEngine(copy.deepcopy(network)).logits(photos)

    engine = load(network)
    found = engine.logits(photos)

    assert found.shape == (2, 5, 4 + 2)
    assert bool(((found - expected).abs() <= engine.tolerance.of(expected) + 1e-5).all())
    assert bool((expected[:, :, 4:].std(dim=(0, 1)) > 0.01).all())


@pytest.fixture
def without_mnn(monkeypatch: pytest.MonkeyPatch) -> None:
    _import_mnn_as(monkeypatch, ModuleNotFoundError("No module named 'MNN'"))


def _import_mnn_as(monkeypatch: pytest.MonkeyPatch, found: ModuleType | Exception) -> None:
    real = importlib.import_module

    def import_module(name: str, package: str | None = None) -> Any:
        if name != "MNN":
            return real(name, package)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(importlib, "import_module", import_module)


def test_device_is_a_gpu_where_there_is_one() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == CPU


def test_engine_is_refused_on_the_wrong_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    assert choose_device("auto", "torch") == choose_device("auto", "cuda") == torch.device("cuda")
    assert choose_device("cuda:1", "cuda") == torch.device("cuda:1")
    assert choose_device("auto", "mnn") == CPU
    for device, engine in (("cuda", "mnn"), ("cpu", "cuda")):
        with pytest.raises(UsageError, match="set the device to auto"):
            choose_device(device, engine)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "engine"), [("auto", "cuda"), ("cuda", "auto"), ("cuda:1", "torch")])
def test_gpu_that_pytorch_does_not_find_is_an_error_of_the_model(
    monkeypatch: pytest.MonkeyPatch, name: str, engine: EngineName
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(name == "cuda:1"))

    with pytest.raises(ModelError, match=r"no GPU cuda.*: check the driver"):
        choose_device(name, engine)


@pytest.mark.parametrize("name", ["gpu", "mps", "xpu:0", ""])
def test_device_of_another_kind_is_refused(name: str) -> None:
    """Its arithmetic was never compared with that of a CPU."""
    with pytest.raises(UsageError, match="not supported: choose auto"):
        choose_device(name)


@pytest.mark.usefixtures("without_mnn")
def test_pytorch_is_used_silently_when_mnn_is_missing(network: OrdinalVGG16) -> None:
    reports: list[EngineUnavailableError] = []

    assert isinstance(choose_engine(network, on_unavailable=reports.append), TorchEngine)
    assert reports == []


@pytest.mark.usefixtures("without_mnn")
def test_pytorch_is_used_and_reported_when_requested_mnn_is_missing(network: OrdinalVGG16) -> None:
    reports: list[EngineUnavailableError] = []

    assert isinstance(choose_engine(network, engine="mnn", on_unavailable=reports.append), TorchEngine)
    assert [(error.engine, error.reason) for error in reports] == [("mnn", "missing")]


def test_pytorch_is_used_and_reported_when_mnn_is_broken(
    network: OrdinalVGG16, monkeypatch: pytest.MonkeyPatch
) -> None:
    _import_mnn_as(monkeypatch, ImportError("undefined symbol"))
    reports: list[EngineUnavailableError] = []

    assert isinstance(choose_engine(network, on_unavailable=reports.append), TorchEngine)
    assert [(error.reason, type(error.__cause__)) for error in reports] == [("broken", ImportError)]


def test_pytorch_is_used_and_reported_when_mnn_is_inexact(
    network: OrdinalVGG16, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = mnn_engine.MnnEngine.logits
    monkeypatch.setattr(mnn_engine.MnnEngine, "logits", lambda self, photos: exact(self, photos) + 0.1)
    reports: list[EngineUnavailableError] = []

    assert isinstance(choose_engine(network, on_unavailable=reports.append), TorchEngine)
    assert [error.reason for error in reports] == ["inexact"]


def test_mnn_is_not_imported_when_pytorch_is_requested(network: OrdinalVGG16, monkeypatch: pytest.MonkeyPatch) -> None:
    _import_mnn_as(monkeypatch, AssertionError("imported"))

    assert isinstance(choose_engine(network, engine="torch"), TorchEngine)


CARD = torch.device("cuda")


class Card:
    """A GPU whose engine fails while it is loaded, as PyTorch and the engine report it."""

    def __init__(self, error: Exception, *, responds: bool) -> None:
        self.error = error
        self.responds = responds

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "Card":
        monkeypatch.setattr(choose, "TorchCudaEngine", self.load)
        monkeypatch.setattr(choose, "_responds", lambda _: self.responds)
        return self

    def load(self, network: OrdinalVGG16, device: torch.device, **_: object) -> None:
        for parameter in network.parameters():
            parameter.data = torch.empty(0)  # on a card that has failed, nothing can be moved back
        raise self.error


NO_KERNEL = torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device")
BROKEN = {
    "no kernel for this card": (DeviceLostError("lost"), True, "broken", ModelError),
    "library that does not load": (
        OSError("libcudnn.so.9: cannot open"),
        True,
        "broken",
        ModelError,
    ),
    "card that is full": (DeviceError("full", Fault.NO_MEMORY), True, "no_memory", DeviceError),
    "card that fails": (DeviceLostError("lost"), False, "broken", DeviceLostError),
}


@pytest.mark.parametrize("name", BROKEN)
def test_cpu_replaces_a_broken_card_with_a_report(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    error, responds, reason, _ = BROKEN[name]
    error.__cause__ = NO_KERNEL
    Card(error, responds=responds).install(monkeypatch)
    network = draw_narrow_network()
    reports: list[EngineUnavailableError] = []

    engine = choose_engine(network, engine="torch", device=CARD, on_unavailable=reports.append)

    photo = torch.zeros(1, 3, 448, 448, dtype=torch.uint8)
    assert torch.equal(engine.logits(photo), TorchEngine(draw_narrow_network()).logits(photo))
    assert [(one.engine, one.reason, one.__cause__) for one in reports] == [("cuda", reason, NO_KERNEL)]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_card_that_was_named_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    error, responds, _, raised = BROKEN[name]
    Card(error, responds=responds).install(monkeypatch)
    reports: list[EngineUnavailableError] = []

    with pytest.raises(raised) as caught:
        choose_engine(draw_narrow_network(), device=CARD, is_replaceable=False, on_unavailable=reports.append)

    assert type(caught.value) is raised
    assert caught.value.__cause__ is not caught.value  # a circle would never end where causes are followed
    assert reports == []


def test_card_without_kernels_responds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process would not have them either."""
    ones = torch.ones

    def made_on_cpu(n: int, *, device: torch.device | None = None) -> torch.Tensor:
        if device is not None:
            raise NO_KERNEL
        return ones(n)

    monkeypatch.setattr(torch, "ones", made_on_cpu)

    assert choose._responds(CPU)


def test_float32_replaces_half_precision_on_the_card_when_it_is_inexact(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake(TorchEngine):
        photos_per_call = 1

        def __init__(self, network: OrdinalVGG16, _: torch.device, *, dtype: torch.dtype | None = None) -> None:
            super().__init__(network)
            self.dtype = dtype

        def logits(self, photos: torch.Tensor) -> torch.Tensor:
            return self.exact_logits(photos) + (0.5 if self.dtype is None else 0.0)

        def exact_logits(self, photos: torch.Tensor) -> torch.Tensor:
            return super().logits(photos)

    monkeypatch.setattr(choose, "TorchCudaEngine", Fake)
    reports: list[EngineUnavailableError] = []

    engine = choose_engine(draw_narrow_network(), device=CARD, on_unavailable=reports.append)

    assert isinstance(engine, AuditedEngine)
    assert engine.tolerance.scale == 0
    assert [report.reason for report in reports] == ["inexact"]


def test_device_is_described_with_the_name_of_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"NVIDIA H200 number {index}")

    assert describe_device(torch.device("cuda:1")) == "cuda:1 NVIDIA H200 number 1"
    assert describe_device(CPU) == "cpu"


def test_exact_engine_equals_the_reference(network: OrdinalVGG16) -> None:
    assert isinstance(load_exact_engine(network, CPU), TorchEngine)


QUIET = """
import sys
from triage.model.engines.mnn import MnnEngine
from tests.support.narrow_model import draw_narrow_network
MnnEngine(draw_narrow_network())
sys.stderr.write(",".join(name for name in sys.modules if name.startswith(("MNN.tools", "_tools", "aliyun"))))
"""


def test_mnn_writes_nothing_and_its_tools_are_not_imported() -> None:
    """Stdout is for JSON; the tools of the wheel report their use to their makers."""

    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, check=True, text=True)

    assert (done.stdout, done.stderr) == ("", "")
