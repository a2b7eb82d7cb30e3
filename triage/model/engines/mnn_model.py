"""VGG16's convolutions as a file in MNN's format, kept in a folder from one load to the next.

The format holds tensors and operators and runs no code. A file in the folder is read only if it is what was written:
its name holds the SHA-256 of the weights that it was made of, and its own.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn


@contextmanager
def model_file(mnn: Any, features: nn.Sequential, shape: tuple[int, ...], cache: Path | None) -> Iterator[Path]:
    """The file for MNN to read, for as long as the context lasts.

    Args:
        mnn: the module.
        features: convolutions of 3 x 3, ReLUs and max pooling of 2 x 2.
        shape: of their input, (n, 3, height, width).
        cache: folder in which the file is kept, made if its parent exists; nothing is kept where it cannot be written.

    Raises:
        OSError: no room for the file.
        RuntimeError: MNN does not take the convolutions.
    """
    source = _sha256_of_source(mnn, features, shape)
    with tempfile.TemporaryDirectory(prefix="triage-") as temporary:
        folder = cache if cache and _can_be_written(cache) else Path(temporary)
        yield _find(folder, source) or _make(mnn, features, shape, folder, source)


def _sha256_of_source(mnn: Any, features: nn.Sequential, shape: tuple[int, ...]) -> str:
    tensors = {name: tensor.cpu().contiguous() for name, tensor in features.state_dict().items()}
    # one entry: safetensors writes several in any order
    return hashlib.sha256(save(tensors, {"for": f"MNN {mnn.version()} {shape}"})).hexdigest()


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def _find(folder: Path, source: str) -> Path | None:
    for file in folder.glob(f"{source}-*.mnn"):
        if file.name == _name(source, file):
            return file
        file.unlink(missing_ok=True)  # damaged
    return None


def _make(mnn: Any, features: nn.Sequential, shape: tuple[int, ...], folder: Path, source: str) -> Path:
    """The file gets its name once it is complete."""
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        file = Path(unfinished, "convolutions.mnn")
        _write(mnn, features, shape, file)
        if file.stat().st_size < sum(parameter.nbytes for parameter in features.parameters()):
            raise OSError("no room for a model of MNN")  # it does not say so
        return file.replace(folder / _name(source, file))


def _name(source: str, file: Path) -> str:
    return f"{source}-{hashlib.sha256(file.read_bytes()).hexdigest()}.mnn"


def _write(mnn: Any, features: nn.Sequential, shape: tuple[int, ...], file: Path) -> None:
    """Writes the operators one by one.

    Through `nn.conv`, which puts the weights into the operator; `expr.conv2d` has them as inputs, and then MNN does
    without Winograd. And without `MNN.tools`, whose converter reports its use to its makers.
    """
    expr = mnn.expr
    x = expr.placeholder(list(shape), expr.NCHW, expr.float)
    x.name = "patches"
    x = expr.convert(x, expr.NC4HW4)
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            convolution = mnn.nn.conv(layer.in_channels, layer.out_channels, (3, 3), padding_mode=expr.SAME)
            if not convolution.load_parameters([_constant(mnn, layer.bias), _constant(mnn, layer.weight)]):
                raise RuntimeError("MNN did not take the weights")
            convolution.train(False)
            x = convolution.forward(x)
        elif isinstance(layer, nn.ReLU):
            x = expr.relu(x)
        else:
            x = expr.max_pool(x, [2, 2], [2, 2])
    x = expr.convert(x, expr.NCHW)
    x.name = "features"
    expr.save([x], str(file))


def _constant(mnn: Any, parameter: Tensor | None) -> Any:
    if parameter is None:
        raise RuntimeError("a convolution has no bias")
    values = parameter.detach().cpu().contiguous().numpy()
    return mnn.expr.const(values, list(values.shape), mnn.expr.NCHW)
