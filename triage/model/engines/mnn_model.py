"""The convolutions of a network as a file in MNN's format, cached in a folder.

The format holds tensors and operators and runs no code. The name of a cached file has two SHA-256s, that of the weights
that it was converted from and its own; a file with another content is deleted.
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

from triage.files.modes import grant, make_folder
from triage.model.network import sampling_step


@contextmanager
def model_file(
    mnn: Any, features: nn.Sequential, shape: tuple[int, ...], cache: Path | None, *, with_blocks: bool = False
) -> Iterator[Path]:
    """Provides the file while the context lasts.

    Args:
        mnn: the module `MNN`.
        features: 3 x 3 convolutions, ReLUs and 2 x 2 max poolings.
        shape: of their input, (n, 3, height, width).
        cache: folder for the file, created if its parent exists. Where it is None or not writable, no file is kept.
        with_blocks: besides the last output, `features`, the model has the sampled output of each block before it:
            `block0` and so on, as `triage.model.network.sample_block` gives them.

    Raises:
        OSError: there is no space for the file.
        RuntimeError: MNN does not accept the convolutions.
    """
    source = _sha256_of_source(mnn, features, shape, with_blocks=with_blocks)
    with tempfile.TemporaryDirectory(prefix="triage-") as temporary:
        folder = cache if cache and _can_be_written(cache) else Path(temporary)
        yield _find(folder, source) or _make(mnn, features, shape, folder, source, with_blocks=with_blocks)


def _sha256_of_source(mnn: Any, features: nn.Sequential, shape: tuple[int, ...], *, with_blocks: bool) -> str:
    tensors = {name: tensor.cpu().contiguous() for name, tensor in features.state_dict().items()}
    blocks = " blocks" if with_blocks else ""
    # one entry: safetensors does not write several in a fixed order
    return hashlib.sha256(save(tensors, {"for": f"MNN {mnn.version()} {shape}{blocks}"})).hexdigest()


def _can_be_written(folder: Path) -> bool:
    try:
        make_folder(folder)
    except OSError:
        return False
    return os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def _find(folder: Path, source: str) -> Path | None:
    for file in folder.glob(f"{source}-*.mnn"):
        if file.name == _name(source, file):
            return file
        file.unlink(missing_ok=True)  # damaged
    return None


def _make(
    mnn: Any, features: nn.Sequential, shape: tuple[int, ...], folder: Path, source: str, *, with_blocks: bool
) -> Path:
    """Converts into a temporary folder and moves the file once it is complete."""
    with tempfile.TemporaryDirectory(dir=folder) as unfinished:
        file = Path(unfinished, "convolutions.mnn")
        _write(mnn, features, shape, file, with_blocks=with_blocks)
        if file.stat().st_size < sum(parameter.nbytes for parameter in features.parameters()):
            raise OSError("no space left for a model in MNN's format")  # MNN reports no error
        grant(file)
        return file.replace(folder / _name(source, file))


def _name(source: str, file: Path) -> str:
    return f"{source}-{hashlib.sha256(file.read_bytes()).hexdigest()}.mnn"


def _write(mnn: Any, features: nn.Sequential, shape: tuple[int, ...], file: Path, *, with_blocks: bool) -> None:
    """Writes the operators one by one.

    `nn.conv` stores the weights in the operator; with `expr.conv2d` they are inputs, and MNN does not use Winograd.
    `MNN.tools` is avoided: its converter reports its use to its vendor.
    """
    expr = mnn.expr
    x = expr.placeholder(list(shape), expr.NCHW, expr.float)
    x.name = "patches"
    x = expr.convert(x, expr.NC4HW4)
    side, blocks = shape[-1], []
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            convolution = mnn.nn.conv(layer.in_channels, layer.out_channels, (3, 3), padding_mode=expr.SAME)
            if not convolution.load_parameters([_constant(mnn, layer.bias), _constant(mnn, layer.weight)]):
                raise RuntimeError("MNN did not accept the weights")
            convolution.train(False)
            x = convolution.forward(x)
        elif isinstance(layer, nn.ReLU):
            x = expr.relu(x)
        else:
            x = expr.max_pool(x, [2, 2], [2, 2])
            side //= 2
            if with_blocks:
                step = sampling_step(side)
                blocks.append(expr.convert(expr.max_pool(x, [1, 1], [step, step]), expr.NCHW))
                blocks[-1].name = f"block{len(blocks) - 1}"
    x = expr.convert(x, expr.NCHW)
    x.name = "features"
    expr.save([*blocks[:-1], x], str(file))


def _constant(mnn: Any, parameter: Tensor | None) -> Any:
    if parameter is None:
        raise RuntimeError("a convolution has no bias")
    values = parameter.detach().cpu().contiguous().numpy()
    return mnn.expr.const(values, list(values.shape), mnn.expr.NCHW)
