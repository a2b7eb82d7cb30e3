"""Reproduces the starter model from its data: about 40 minutes on two cores, 20 GB of memory.

python -m recipes.starter DATA OUT

DATA holds `clive/` (LIVE In the Wild: images/, and labels.csv with image, mos, mos_std, votes),
`pad-ufes-20/images/` and `squeezenet-imagenet/squeezenet_v1.0_f32.npz`.
"""

import argparse
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from recipes.starter.distillation import distil
from recipes.starter.finetuning import FinetuningConfig, finetune, lower_features
from recipes.starter.photos import (
    SPLIT_SEED,
    STRENGTHS,
    RatedPhotos,
    degrade_photo,
    draw_skin,
    read_photo,
    read_rated,
    read_skin,
    series,
)
from recipes.starter.teacher import SqueezeNet
from triage.dataset.manifest import Split
from triage.domain.card import Card, Recalibration
from triage.evaluation.calibration import fit_platt
from triage.evaluation.evaluate import evaluate
from triage.evaluation.operating_point import just_below, youden_threshold
from triage.evaluation.predictions import Predictions
from triage.imaging.degradation import Degradation
from triage.model.artifact import write_artifact
from triage.model.engines.torch_exact import TorchEngine
from triage.model.network import OrdinalVGG16, draw_network
from triage.model.scorer import Scorer
from triage.model.weights import weights_of

GOOD_VOTES: Final = 2
CROPS: Final = 600

LICENCE_NOTES: Final = (
    "For trying the product, not for care: it has never seen a photo that a dermatologist judged. Learned from photos "
    "and ratings of the LIVE In the Wild Image Quality Challenge Database, Laboratory for Image and Video Engineering, "
    "The University of Texas at Austin (Ghadiyaram and Bovik, Massive Online Crowdsourced Study of Subjective and "
    "Objective Picture Quality, IEEE Transactions on Image Processing 2016, and the database itself, 2015); from "
    "photos without ratings of PAD-UFES-20 (Pacheco et al. 2020, doi:10.17632/zr7vgbcyr2.1, CC BY 4.0); and by "
    "distillation from SqueezeNet v1.0 trained on ImageNet (Iandola et al. 2016, BSD)."
)


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


def describe(network: OrdinalVGG16, rated: RatedPhotos, held_out_skin: Tensor, config: FinetuningConfig) -> Card:
    """Fits recalibration and threshold on the validation photos, and evaluates on the test photos."""
    plain = Scorer(TorchEngine(network), good_votes=GOOD_VOTES)
    chosen_on = rated.of(Split.VALIDATION)
    scores = scores_of(plain, rated.photos[chosen_on])
    good = (rated.votes[chosen_on] >= GOOD_VOTES).numpy()
    platt = fit_platt(scores, good)
    threshold = just_below(youden_threshold(platt.apply(scores), good))
    metrics: dict[str, Any] = {}
    for split in (Split.VALIDATION, Split.TEST):
        members = rated.of(split)
        split_scores = scores if split is Split.VALIDATION else scores_of(plain, rated.photos[members])
        labels = rated.votes[members].numpy()
        ratings = np.array([rated.mos[i] for i in members.tolist()])
        metrics[split.value] = evaluate(Predictions(platt.apply(split_scores), labels, ratings), threshold=threshold)
        before = evaluate(Predictions(split_scores, labels), threshold=threshold)
        metrics[split.value]["calibration_before"] = before["calibration"]
    metrics["skin"] = evaluate_on_skin(plain, held_out_skin, lambda values: platt.apply(values) >= threshold)
    return Card(
        name="starter-1",
        trained=True,
        recalibration=Recalibration(slope=platt.slope, intercepts=(platt.intercept,) * len(network.head.bias)),
        threshold=threshold,
        threshold_chosen_by=f"Youden's index on {len(chosen_on)} validation photos",
        metrics=metrics,
        data_summary={
            "rated": "LIVE In the Wild, 821 of 1,162 photos; votes made from mean opinion scores, not by reviewers",
            "photos": {split.value: len(rated.of(split)) for split in Split},
            "split_seed": SPLIT_SEED,
            "skin": "PAD-UFES-20, 420 photos without ratings, half in other tones; 15 % of the patients held out",
            "drawn": "90 close-ups of skin in six tones, drawn by the project",
        },
        training_settings=asdict(config) | {"started_from": "distillation from SqueezeNet v1.0", "crops": CROPS},
        licence_notes=LICENCE_NOTES,
        created_at=datetime.now(UTC),
    )


def evaluate_on_skin(scorer: Scorer, photos: Tensor, accepts: Any) -> dict[str, Any]:
    """On skin of held-out patients: the share that passes, and the share of series whose score falls at each step."""
    random = np.random.default_rng(7)
    falls: dict[str, float] = {}
    accepted_at_worst: dict[str, float] = {}
    originals = scores_of(scorer, photos)
    for kind in Degradation:
        degraded = torch.stack([series(photo, kind, random)[1:] for photo in photos])  # (N, 3, 3, 448, 448)
        with torch.autocast("cpu", torch.bfloat16):  # for speed: only the order of the scores matters
            rows = scores_of(scorer, degraded.flatten(0, 1)).reshape(len(photos), -1)
        falls[kind.value] = float((np.diff(np.column_stack([originals, rows]), axis=1) < 0).all(axis=1).mean())
        accepted_at_worst[kind.value] = float(accepts(rows[:, -1]).mean())
    with torch.autocast("cpu", torch.bfloat16):
        drawn = {tone.name: accepts(scores_of(scorer, skin)) for tone, skin in draw_skin(range(100, 120)).items()}
    return {
        "n": len(photos),
        "drawn_accepted_by_tone": {tone: float(accepted.mean()) for tone, accepted in drawn.items()},
        "strengths": list(STRENGTHS),
        "accepted": float(accepts(originals).mean()),
        "accepted_at_worst": accepted_at_worst,
        "score_falls_at_every_step": falls | {"all": float(np.mean(list(falls.values())))},
    }


def scores_of(scorer: Scorer, photos: Tensor) -> Any:
    return np.array([score.score for score in scorer.score(list(photos))])


if __name__ == "__main__":
    main()
