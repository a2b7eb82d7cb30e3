"""What a reason head costs: CPU time of a pass with it and without it, as a ratio.

python -m benchmarks.reasons

Passes of one photo alternate, without, with, with, without, so that the load of the machine cancels in the ratio
of each round. The steps in PyTorch that only a head needs are measured apart too.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Final

import torch
from scipy.stats import binom

from triage.domain.photos import PhotoScore
from triage.domain.reasons import Reason, ReasonHead
from triage.domain.states import FindingKind
from triage.findings.reasons import findings_by
from triage.findings.rules import load_models
from triage.model.artifact import read_artifact
from triage.model.engines.engine import PlainEngine
from triage.model.engines.mnn import MnnEngine
from triage.model.engines.tolerance import draw_pictures
from triage.model.engines.torch_cuda import TorchCudaEngine
from triage.model.engines.torch_exact import TorchEngine
from triage.model.network import OrdinalVGG16, ReasonLayer
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network

_KINDS: Final = tuple(kind for kind in FindingKind if kind is not FindingKind.NO_CLEAR_REASON)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    engines: dict[str, Callable[[OrdinalVGG16], PlainEngine]] = {"mnn": MnnEngine, "torch": TorchEngine}
    if torch.cuda.is_available():
        engines["cuda"] = lambda network: TorchCudaEngine(network, torch.device("cuda"))
    for name, load in engines.items():
        clock = time.perf_counter if name == "cuda" else time.process_time
        _compare(name, load(_network(has_reasons=False)), load(_network(has_reasons=True)), clock, arguments.rounds)
    network = _network(has_reasons=True)
    print(f"statistics and layer: {_seconds_of_layer(network) * 1e3:.2f} ms a photo, in PyTorch on the CPU")
    print(f"probabilities and findings of a photo, after the pass: {_seconds_of_findings() * 1e6:.0f} microseconds")


def _compare(
    name: str, without: PlainEngine, with_reasons: PlainEngine, clock: Callable[[], float], rounds: int
) -> None:
    ratios, passes = [], []
    for _ in range(rounds + 1):
        first, second, third, fourth = (
            _seconds(engine, clock) for engine in (without, with_reasons, with_reasons, without)
        )
        ratios.append((second + third) / (first + fourth))
        passes.append((first + fourth) / 2)
    ratios = sorted(ratios[1:])  # the first round warms up
    rank = int(binom.ppf(0.025, rounds, 0.5))
    middle, low, high = statistics.median(ratios), ratios[rank], ratios[-1 - rank]
    print(
        f"{name}: {middle:.4f} times the pass without reasons, median of {rounds} rounds (95 % interval {low:.4f} to "
        f"{high:.4f}); a pass takes {statistics.median(passes) * 1e3:.0f} ms"
    )


def _network(*, has_reasons: bool) -> OrdinalVGG16:
    card, weights = read_artifact(STARTER_FOLDER)
    network = load_network(card, weights).eval()
    network.reasons = ReasonLayer(network.layers, len(_KINDS)) if has_reasons else None
    return network


def _seconds(engine: PlainEngine, clock: Callable[[], float]) -> float:
    photo = draw_pictures()[:1]
    started = clock()
    engine.logits(photo)
    return clock() - started


@torch.inference_mode()
def _seconds_of_layer(network: OrdinalVGG16) -> float:
    blocks = network.blocks_of(draw_pictures()[:1])
    seconds = []
    for _ in range(100):
        started = time.process_time()
        network.outputs_of(blocks)
        middle = time.process_time()
        network.logits_of(blocks[-1])
        seconds.append(2 * middle - started - time.process_time())
    return statistics.median(seconds)


def _seconds_of_findings() -> float:
    names = [*load_models().by_kind, *map(str, range(36))]
    reason = Reason(intercept=0, weights=dict.fromkeys(names, 0.01), named_from=0.3, advised_from=0.9)
    head = ReasonHead(reasons=dict.fromkeys(_KINDS, reason), limits=dict.fromkeys(names, (-9.0, 9.0)))
    score = PhotoScore((0.4,) * 4, (0.4,) * 5, 0.4, 0, ((0.1,) * len(_KINDS),) * 5)
    started = time.process_time()
    for _ in range(200):
        findings_by(head, score, dict.fromkeys(names, 0.5), (), acceptable=False)
    return (time.process_time() - started) / 200


if __name__ == "__main__":
    main()
