"""What a reason head costs: CPU time of a pass with it and without it, as a ratio.

python -m benchmarks.reasons
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Final

import torch

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
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    engines: dict[str, Callable[[OrdinalVGG16], PlainEngine]] = {"mnn": MnnEngine, "torch": TorchEngine}
    if torch.cuda.is_available():
        engines["cuda"] = lambda network: TorchCudaEngine(network, torch.device("cuda"))
    for name, load in engines.items():
        without, with_reasons = (load(_network(has_reasons=has_reasons)) for has_reasons in (False, True))
        clock = time.perf_counter if name == "cuda" else time.process_time
        ratios = []
        for _ in range(arguments.rounds):
            first = _seconds(without, clock)
            second = _seconds(with_reasons, clock)
            ratios.append(second / ((first + _seconds(without, clock)) / 2))  # the load of the machine drifts
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name}: {middle:.4f} times the pass without reasons (quartiles {low:.4f} to {high:.4f})")
    print(f"probabilities and findings of a photo, after the pass: {_seconds_of_findings() * 1e6:.0f} microseconds")


def _network(*, has_reasons: bool) -> OrdinalVGG16:
    card, weights = read_artifact(STARTER_FOLDER)
    network = load_network(card, weights).eval()
    network.reasons = ReasonLayer(network.layers, len(_KINDS)) if has_reasons else None
    return network


def _seconds(engine: PlainEngine, clock: Callable[[], float]) -> float:
    photos = draw_pictures()
    started = clock()
    engine.logits(photos)
    return clock() - started


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
