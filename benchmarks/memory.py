"""Memory of a scoring process over many photos.

Fetch, decode, record and decide are real. A network of one weight replaces VGG16, whose memory is constant per batch.

    python -m benchmarks.memory
"""

import argparse
from concurrent.futures import ThreadPoolExecutor

import psutil
import torch
from torch import Tensor, nn

from benchmarks.clinic import Clinic, clinic, draw_jpegs
from triage.imaging.decode import Decoder
from triage.model.engines.torch_exact import TorchEngine
from triage.model.patches import five_patches
from triage.model.scorer import Scorer
from triage.scoring.assessor import PhotoAssessor, ScoringModel
from triage.scoring.drain import DrainLimits, drain


class BrightnessNetwork(nn.Module):
    """Computes logits from the mean brightness of a patch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1 / 255))

    def forward(self, photos: Tensor) -> Tensor:
        brightness = five_patches(photos).float().mean(dim=(2, 3, 4))  # (N, 5)
        return (brightness * self.weight).unsqueeze(-1) - torch.arange(4)  # (N, 5, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=10, help="number of memory readings")
    arguments = parser.parse_args()
    with clinic() as site, ThreadPoolExecutor(2) as decoders:
        scorer = Scorer(TorchEngine(BrightnessNetwork()), good_votes=2)
        assessor = PhotoAssessor(
            ScoringModel(site.model, threshold=0.5, scorer=scorer),
            source=site.source,
            decoder=Decoder(),
            threads=decoders,
        )
        measure(site, assessor, arguments.photos, arguments.points)


def measure(site: Clinic, assessor: PhotoAssessor, n_photos: int, points: int) -> None:
    process, jpegs = psutil.Process(), draw_jpegs(50)
    share = n_photos // points
    first = 0.0
    for point in range(points):
        site.send_bytes(jpegs, share, first=point * share)
        drained = drain(site.inbox, lambda: assessor, DrainLimits(32, seconds=3600))
        if drained.recorded.scored != share:
            raise SystemExit(f"expected {share} photos scored, got {drained.recorded}")
        resident = process.memory_info().rss / 2**20
        first = first or resident
        print(f"{(point + 1) * share:>7,} photos: {resident:,.0f} MiB ({resident / first:.3f} of the first reading)")


if __name__ == "__main__":
    main()
