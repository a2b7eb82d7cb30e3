"""What the sections of `benchmarks.gpu` share: the device, the time left, the network, photos, and timing."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final, TypeAlias

import torch

from benchmarks.gpu.camera import draw_heic, draw_jpeg
from triage.domain.architecture import Layers
from triage.domain.card import Card
from triage.model.artifact import read_artifact
from triage.model.network import OrdinalVGG16, ReasonLayer, draw_network
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network

Value: TypeAlias = str | int | float | bool | None
Row: TypeAlias = Mapping[str, Value]
Result: TypeAlias = dict[str, Value | Sequence[Row]]

SMALL_LAYERS: Final[Layers] = ((2,), (2,), (2,), (2,), (2,))
PRECISIONS: Final[Mapping[str, torch.dtype]] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}


@dataclass
class Run:
    """
    Attributes:
        device: to measure.
        small: a tiny network, small photos and one round, to run every line on any machine.
        cores: decode threads and processes at most.
        deadline: time of the monotonic clock at which the section ends.
        jpegs, heics: photos of a phone, 12 megapixels unless `small`.
    """

    device: torch.device
    small: bool
    cores: int
    deadline: float = float("inf")
    jpegs: Sequence[bytes] = ()
    heics: Sequence[bytes] = ()

    def draw(self) -> None:
        """Draws the photos, in several processes: one takes ten seconds."""
        height, width = (480, 640) if self.small else (3000, 4000)
        n_jpegs, n_heics = (2, 1) if self.small else (8, 2)
        # spawned, because a forked process cannot use the card
        with ProcessPoolExecutor(self.cores, mp_context=get_context("spawn")) as processes:
            jpegs = [processes.submit(draw_jpeg, seed, (height, width)) for seed in range(n_jpegs)]
            heics = [processes.submit(draw_heic, seed, (height, width)) for seed in range(n_heics)]
            self.jpegs, self.heics = [job.result() for job in jpegs], [job.result() for job in heics]

    def has_time(self) -> bool:
        return time.monotonic() < self.deadline

    @property
    def is_card(self) -> bool:
        return self.device.type == "cuda"

    @property
    def rounds(self) -> int:
        return 1 if self.small else 10

    @property
    def batches(self) -> Sequence[int]:
        """Photos in a call, from few to many."""
        return (1, 2, 4) if self.small else (1, 2, 4, 8, 16, 32, 64, 128)

    @property
    def threads(self) -> Sequence[int]:
        """Numbers of decode threads, from one to all cores."""
        return [n for n in (1, 2, 4, 8, 16, 32, 64) if n < self.cores] + [self.cores]

    def network(self) -> OrdinalVGG16:
        """The starter model, as each engine needs it: alone."""
        return _small_network(self.card()) if self.small else load_network(*read_artifact(STARTER_FOLDER))

    @staticmethod
    def card() -> Card:
        return read_artifact(STARTER_FOLDER)[0]

    def seconds(self, work: Callable[[], object]) -> float:
        """Median duration of a call on the device, after two that warm up."""
        times = []
        for number in range(-2 if self.is_card else -1, self.rounds):
            self.synchronise()
            started = time.perf_counter()
            work()
            self.synchronise()
            if number >= 0:
                times.append(time.perf_counter() - started)
        return statistics.median(times)

    def synchronise(self) -> None:
        if self.is_card:
            torch.cuda.synchronize(self.device)


def _small_network(card: Card) -> OrdinalVGG16:
    """A random network with the outputs of the card, the same in each call."""
    network = draw_network(0, layers=SMALL_LAYERS)
    if card.reasons is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network.reasons = ReasonLayer(network.layers, len(card.reasons.reasons))
    return network
