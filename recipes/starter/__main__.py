"""Reproduces the starter model from its data: about 40 minutes on two cores, 20 GB of memory.

python -m recipes.starter DATA OUT

DATA holds `clive/` (LIVE In the Wild: images/, and labels.csv with image, mos, mos_std, votes),
`pad-ufes-20/images/` and `squeezenet-imagenet/squeezenet_v1.0_f32.npz`.
"""

import argparse
import time
from pathlib import Path

import torch

from recipes.starter.describing import describe
from recipes.starter.distillation import distil, draw_crops
from recipes.starter.finetuning import FinetuningConfig, finetune, lower_features
from recipes.starter.photos import read_photo, read_rated, read_skin
from recipes.starter.teacher import SqueezeNet
from triage.dataset.manifest import Split
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


if __name__ == "__main__":
    main()
