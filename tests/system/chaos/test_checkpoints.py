"""A process that trains is killed again and again while checkpoints are written."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from triage.training.checkpoint import read_checkpoint

pytestmark = pytest.mark.long

KILLS = 6

WRITER = """
import sys
from pathlib import Path
import torch
from triage.training.checkpoint import CheckpointWriter, Epoch, TrainingState, read_checkpoint

path = Path(sys.argv[1])
found = read_checkpoint(path, run="r")
epochs = found.epochs if found else ()
with CheckpointWriter(path, run="r") as writer:
    while True:
        epochs = (*epochs, Epoch(len(epochs) + 1, 1.0, None, None, 0.1, 8.0, 1.0, is_best=True))
        weights = {"a": torch.full((1000, 1000), float(len(epochs)))}
        writer.save(TrainingState(weights, weights, "random", momentum=weights, epochs=epochs))
        print(len(epochs), flush=True)
"""


def test_checkpoint_is_the_last_or_the_one_before_when_the_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "run" / "checkpoint.safetensors"
    random.seed(1)
    last = 0
    for _ in range(KILLS):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [int(process.stdout.readline()) for _ in range(random.randint(2, 4))]
            assert lines[0] == last + 1  # it resumed
            time.sleep(random.random() * 0.2)  # a moment, not a secret
            process.kill()
            started = [*lines, *map(int, process.stdout.readlines())][-1]
        found = read_checkpoint(path, run="r")
        assert found is not None
        last = len(found.epochs)
        # `save` starts a write once the one before is durable, and the print after the last save may be missing
        assert started - 1 <= last <= started + 1
        assert {float(weights.unique()) for weights in (found.network["a"], found.momentum["a"])} == {float(last)}
