import importlib
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.support.narrow_model import draw_narrow_network
from triage.errors import UsageError
from triage.model.engines import mnn as mnn_engine
from triage.model.engines.choose import choose_device, choose_engine
from triage.model.engines.engine import EngineUnavailableError
from triage.model.engines.torch_exact import CPU, TorchEngine
from triage.model.network import OrdinalVGG16


@pytest.fixture(scope="module")
def network() -> OrdinalVGG16:
    return draw_narrow_network()


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

    assert choose_device("auto", "torch") == choose_device("auto", "cuda") == torch.device("cuda")
    assert choose_device("cuda:1", "cuda") == torch.device("cuda:1")
    assert choose_device("auto", "mnn") == CPU
    for device, engine in (("cuda", "mnn"), ("cpu", "cuda")):
        with pytest.raises(UsageError, match="set the device to auto"):
            choose_device(device, engine)  # type: ignore[arg-type]


def test_cuda_is_refused_when_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(UsageError, match="no GPU"):
        choose_device("auto", "cuda")


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
    monkeypatch.setattr(mnn_engine.MnnEngine, "logit_tolerance", 1e-9)
    reports: list[EngineUnavailableError] = []

    assert isinstance(choose_engine(network, on_unavailable=reports.append), TorchEngine)
    assert [error.reason for error in reports] == ["inexact"]


def test_mnn_is_not_imported_when_pytorch_is_requested(network: OrdinalVGG16, monkeypatch: pytest.MonkeyPatch) -> None:
    _import_mnn_as(monkeypatch, AssertionError("imported"))

    assert isinstance(choose_engine(network, engine="torch"), TorchEngine)


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
