"""Reproduces the starter model from its data: about 40 minutes on two cores, 20 GB of memory.

python -m recipes.starter DATA OUT

DATA holds `clive/` (LIVE In the Wild: images/, and labels.csv with image, mos, mos_std, votes),
`pad-ufes-20/images/` and `squeezenet-imagenet/squeezenet_v1.0_f32.npz`.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recipes.starter.describing import describe
from recipes.starter.distillation import CROPS, distil
from recipes.starter.finetuning import FinetuningConfig, finetune, lower_features
from recipes.starter.photos import degrade_photo, read_photo, read_rated, read_skin
from recipes.starter.teacher import SqueezeNet
from triage.dataset.manifest import Split
from triage.imaging.degradation import Degradation
from triage.model.artifact import write_artifact
from triage.model.network import draw_network
from triage.model.weights import weights_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    started = time.monotonic()

    def report(text: str) -> None:
        print(f"{time.monotonic() - started:5.0f} s  {text}", flush=True)

    torch.manual_seed(0)
    config = FinetuningConfig()
    rated = read_rated(arguments.data / "clive")
    skin_paths, held_out_paths = read_skin(arguments.data / "pad-ufes-20")
    skin = torch.stack([read_photo(path) for path in skin_paths])
    report(f"{len(rated.votes)} rated photos, {len(skin)} of skin, {len(held_out_paths)} of skin held out")

    network = draw_network(seed=0)
    teacher = SqueezeNet(arguments.data / "squeezenet-imagenet" / "squeezenet_v1.0_f32.npz", torch.device("cpu"))
    distil(network, teacher, draw_crops(torch.cat([rated.photos[rated.of(Split.TRAIN)], skin])))
    report("fitted the convolutions to the teacher's layers")
    features = lower_features(network, rated, skin, config)
    report("computed the features of the lower convolutions")
    finetune(network, features, config)
    report("trained the upper convolutions on the votes")

    for weights in network.parameters():
        weights.data = weights.data.half().float()  # evaluated as shipped, in half precision
    held_out = torch.stack([read_photo(path) for path in held_out_paths])
    card = write_artifact(arguments.out, describe(network, rated, held_out, config), weights_of(network.half()))
    report(f"wrote model {card.name} {card.weights_sha256[:12]} to {arguments.out}")
    for split in ("validation", "test"):
        metrics = card.metrics[split]
        srcc = metrics["correlation"]["srcc"]
        print(f"{split}: AUC {metrics['auc']:.3f} {metrics['auc_ci']['delong']}, SRCC {srcc:.3f}")
    print(card.metrics["skin"])


def draw_crops(photos: Tensor) -> Tensor:
    """Random windows of 224 x 224, four in ten of them degraded, for the distillation."""
    random = np.random.default_rng(0)
    crops = []
    for index in random.choice(len(photos), CROPS, replace=False):
        photo = photos[index]
        if random.random() < 0.4:
            kind = tuple(Degradation)[random.integers(len(Degradation))]
            photo = degrade_photo(photo, kind, random.uniform(0.1, 1.0), int(random.integers(2**31)))
        top, left = random.integers(0, 225, 2)
        crops.append(photo[:, top : top + 224, left : left + 224])
    return torch.stack(crops)


if __name__ == "__main__":
    main()
