"""MNN on the CPU: its Winograd convolutions take less than half of PyTorch's time.

Jiang et al. 2020, MNN: A Universal and Efficient Inference Engine, arXiv:2002.12418.

Axes: n photos, 5 patches, C channels of the last convolution (512 in VGG16), K outputs.
"""

import ctypes
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from triage.model.engines.engine import EngineUnavailableError
from triage.model.engines.mnn_model import model_file
from triage.model.engines.torch_exact import CPU, TorchEngine
from triage.model.network import FEATURE_SIDE, OrdinalVGG16
from triage.model.patches import N_PATCHES, PATCH_SIDE

NAME: Final = "mnn"

_INPUT_SHAPE: Final = (N_PATCHES, 3, PATCH_SIDE, PATCH_SIDE)


class MnnEngine:
    """The convolutions in an MNN session, one photo a call, with PyTorch's number of threads; the head in PyTorch.

    Its logits are not exact: `AuditedEngine` measures their error.
    """

    name: Final = NAME
    device: Final = CPU
    photos_per_call: Final = 1

    def __init__(self, network: OrdinalVGG16, *, cache: Path | None = None) -> None:
        """
        Args:
            network: also used for exact logits.
            cache: folder for the convolutions in MNN's format; without one, they are converted at each load.

        Raises:
            EngineUnavailableError: MNN is not installed, or does not work on this machine.
        """
        self._exact = TorchEngine(network)
        self._network = network
        try:
            self._session = _Session(network, cache)
        except ModuleNotFoundError as error:
            raise EngineUnavailableError(NAME, "missing") from error
        except Exception as error:  # a damaged wheel, an unsupported processor, a full temporary folder
            raise EngineUnavailableError(NAME, "broken") from error

    @torch.inference_mode()
    def logits(self, photos: Tensor) -> Tensor:
        """As `Engine.logits`."""
        return torch.cat([self._logits_of_one(photo) for photo in photos.split(1)])  # (1, 5, K) each -> (n, 5, K)

    def exact_logits(self, photos: Tensor) -> Tensor:
        """As `Engine.exact_logits`."""
        return self._exact.logits(photos)

    def _logits_of_one(self, photo: Tensor) -> Tensor:
        patches = self._network.normalised_patches(photo)  # (1, 3, 448, 448) -> (5, 3, 224, 224)
        features = self._session.run(patches.contiguous().numpy())  # (5, C, 7, 7)
        return self._network.logits_of(torch.from_numpy(features))  # (5, C, 7, 7) -> (1, 5, K)


class _Session:
    """The convolutions in MNN, with memory for one photo."""

    def __init__(self, network: OrdinalVGG16, cache: Path | None) -> None:
        self._output_shape = (N_PATCHES, network.n_channels, FEATURE_SIDE, FEATURE_SIDE)
        with _silenced():
            self._mnn: Any = importlib.import_module("MNN")
            with model_file(self._mnn, network.features, _INPUT_SHAPE, cache) as file:
                self._interpreter = self._mnn.Interpreter(str(file))
            # normal is float32 on every CPU; low would be half precision on some
            config = {"numThread": torch.get_num_threads(), "precision": "normal"}
            self._session = self._interpreter.createSession(config)
        self._input = self._interpreter.getSessionInput(self._session)
        self._output = self._interpreter.getSessionOutput(self._session)
        if tuple(self._output.getShape()) != self._output_shape:
            raise RuntimeError("MNN read another network than it wrote")

    def run(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """From (5, 3, 224, 224) to (5, C, 7, 7). A session, unlike MNN's modules, releases the GIL."""
        self._input.copyFrom(self._tensor(_INPUT_SHAPE, patches))
        if self._interpreter.runSession(self._session) != 0:
            raise RuntimeError("MNN could not run the convolutions")
        features = self._tensor(self._output_shape, np.empty(self._output_shape, np.float32))
        self._output.copyToHostTensor(features)
        return np.array(features.getNumpyData(), np.float32).reshape(self._output_shape)

    def _tensor(self, shape: tuple[int, ...], values: NDArray[np.float32]) -> Any:
        return self._mnn.Tensor(shape, self._mnn.Halide_Type_Float, values, self._mnn.Tensor_DimensionType_Caffe)


@contextmanager
def _silenced() -> Iterator[None]:
    """Discards what MNN writes to stdout from C, which would end up in a command's JSON."""
    libc = ctypes.CDLL(None)
    sys.stdout.flush()
    libc.fflush(None)
    saved = os.dup(1)
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)
    try:
        yield
    finally:
        libc.fflush(None)
        os.dup2(saved, 1)
        os.close(saved)
