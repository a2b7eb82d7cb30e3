"""Share of wall time that a scoring worker spends in the network, on 500 x 500 JPEGs.

python -m benchmarks.network
"""

import argparse
from concurrent.futures import ThreadPoolExecutor

import torch

from benchmarks.clinic import clinic, draw_jpegs
from triage.imaging.decode import Decoder
from triage.model.engines.choose import choose_device, choose_engine
from triage.model.network import draw_network
from triage.model.scorer import Scorer
from triage.scoring.assessor import PhotoAssessor, ScoringModel
from triage.scoring.drain import DrainLimits, drain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--engine", default="auto", choices=("auto", "torch", "mnn", "cuda"))
    arguments = parser.parse_args()
    device = choose_device(arguments.device, arguments.engine)
    photos_per_batch = 4 if device.type == "cpu" else 64
    engine = choose_engine(draw_network(seed=0), engine=arguments.engine, device=device)
    scorer = Scorer(engine, good_votes=2)
    scorer.score([torch.zeros(3, 448, 448, dtype=torch.uint8)])  # warms up
    with clinic() as site, ThreadPoolExecutor(2) as decoders:
        site.send_bytes(draw_jpegs(arguments.photos), arguments.photos)
        assessor = PhotoAssessor(
            ScoringModel(site.model, threshold=0.5, scorer=scorer),
            source=site.source,
            decoder=Decoder(),
            threads=decoders,
        )
        drained = drain(site.inbox, lambda: assessor, DrainLimits(photos_per_batch, seconds=3600))
    if drained.recorded.scored != arguments.photos:
        raise SystemExit(f"expected {arguments.photos} photos scored, got {drained.recorded}")
    print(
        f"{engine.name}: {arguments.photos} photos in {drained.seconds:.1f} s, "
        f"{drained.network_seconds / drained.seconds:.1%} of it inside the network"
    )


if __name__ == "__main__":
    main()
