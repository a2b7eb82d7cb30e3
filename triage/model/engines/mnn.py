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

from triage.domain.architecture import N_BLOCKS
from triage.model.engines.engine import EngineUnavailableError
from triage.model.engines.mnn_model import model_file
from triage.model.engines.torch_exact import CPU, TorchEngine
from triage.model.network import FEATURE_SIDE, OrdinalVGG16
from triage.model.patches import N_PATCHES, PATCH_SIDE

NAME: Final = "mnn"


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
            self._session = MnnSession(network, cache, with_blocks=network.reasons is not None)
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
        blocks = self._session.run(patches.contiguous().numpy())  # the last is (5, C, 7, 7)
        return self._network.outputs_of([torch.from_numpy(block) for block in blocks])  # -> (1, 5, K + R)


class MnnSession:
    """The convolutions in MNN, with memory for some patches."""

    def __init__(
        self, network: OrdinalVGG16, cache: Path | None, *, with_blocks: bool, n_patches: int = N_PATCHES
    ) -> None:
        """
        Args:
            network: with the convolutions.
            cache: as in `MnnEngine`.
            with_blocks: also give the blocks before the last one.
            n_patches: of each run; those of a photo.
        """
        self._input_shape = (n_patches, 3, PATCH_SIDE, PATCH_SIDE)
        with _silenced():
            self._mnn: Any = importlib.import_module("MNN")
            with model_file(self._mnn, network.features, self._input_shape, cache, with_blocks=with_blocks) as file:
                self._interpreter = self._mnn.Interpreter(str(file))
            # normal is float32 on every CPU; low would be half precision on some
            config = {"numThread": torch.get_num_threads(), "precision": "normal"}
            self._session = self._interpreter.createSession(config)
        self._input = self._interpreter.getSessionInput(self._session)
        names = [f"block{index}" for index in range(N_BLOCKS - 1)] if with_blocks else []
        self._outputs = [self._interpreter.getSessionOutput(self._session, name) for name in (*names, "features")]
        if tuple(self._outputs[-1].getShape()) != (n_patches, network.n_channels, FEATURE_SIDE, FEATURE_SIDE):
            raise RuntimeError("MNN read another network than it wrote")
        shapes = [tuple(output.getShape()) for output in self._outputs]
        self._copies = [self._tensor(shape, np.empty(shape, np.float32)) for shape in shapes]

    def run(self, patches: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """From (5, 3, 224, 224) to the blocks, the last of which is (5, C, 7, 7), for five patches.

        The next run overwrites them. A session, unlike MNN's modules, releases the GIL.
        """
        self._input.copyFrom(self._tensor(self._input_shape, patches))
        if self._interpreter.runSession(self._session) != 0:
            raise RuntimeError("MNN could not run the convolutions")
        for output, copy in zip(self._outputs, self._copies, strict=True):
            output.copyToHostTensor(copy)
        return [np.asarray(copy.getNumpyData()).reshape(copy.getShape()) for copy in self._copies]

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
