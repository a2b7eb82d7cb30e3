"""The card of the starter model: settings, provenance, and what it reaches on photos that it has not seen."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from recipes.starter.distillation import CROPS
from recipes.starter.finetuning import FinetuningConfig
from recipes.starter.intervals import correlation_intervals, needless_in_demo, skin_intervals
from recipes.starter.photos import SPLIT_SEED, STRENGTHS, RatedPhotos, draw_skin, series
from triage.dataset.manifest import Split
from triage.domain.card import Card, Recalibration
from triage.evaluation.calibration import fit_platt
from triage.evaluation.evaluate import evaluate
from triage.evaluation.operating_point import just_below, youden_threshold
from triage.evaluation.predictions import Predictions
from triage.imaging.degradation import Degradation
from triage.model.engines.torch_exact import TorchEngine
from triage.model.network import OrdinalVGG16
from triage.model.scorer import Scorer

GOOD_VOTES: Final = 2
TRIED: Final = {
    "ceiling": (
        "Regressions on pooled features of the teacher, of MobileNetV2 and of both were cross-validated on the 657 "
        "photos that are not for the test. With support vectors both reach AUC .923 (.899 to .943), with ridge SRCC "
        ".776 (.740 to .810): short of the goals of .93 and .80. See docs/starter-model.md."
    ),
    "trainings_failed": (
        "On 263 photos of two folds: votes and ranking, as shipped but shorter, AUC .928 (.893 to .962) and SRCC .719 "
        "(.637 to .782); with the kind of degradation as a second task .923 and .711; with copies that both teachers "
        "rated .930 and .712; with half of each target from them .922 and .701; the head alone .927 and .705; the "
        "teachers .937 and .746. See docs/starter-model.md."
    ),
    "no_skin_failed": (
        "The reason as one of the others, with passing scenes among the photos without a reason, finds 1 % of scenes. "
        "Close-ups against all else, people among it, finds nine in ten scenes, and as many photos of people."
    ),
}
_DRAWN: Final = range(100, 120)

LICENCE_NOTES: Final = (
    "For trying the product, not for care: it has never seen a photo that a dermatologist judged. Learned from photos "
    "and ratings of the LIVE In the Wild Image Quality Challenge Database, Laboratory for Image and Video Engineering, "
    "The University of Texas at Austin (Ghadiyaram and Bovik, Massive Online Crowdsourced Study of Subjective and "
    "Objective Picture Quality, IEEE Transactions on Image Processing 2016, and the database itself, 2015); from "
    "photos without ratings of PAD-UFES-20 (Pacheco et al. 2020, doi:10.17632/zr7vgbcyr2.1, CC BY 4.0); and by "
    "distillation from SqueezeNet v1.0 trained on ImageNet (Iandola et al. 2016, BSD)."
)


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
        metrics[split.value]["correlation"] |= correlation_intervals(platt.apply(split_scores), ratings)
        is_good = labels >= GOOD_VOTES
        metrics[split.value]["demo"] = needless_in_demo(platt.apply(split_scores), is_good, threshold)
    metrics["skin"] = evaluate_on_skin(plain, held_out_skin, lambda values: platt.apply(values) >= threshold)
    return Card(
        name="starter-2",
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
        training_settings=asdict(config)
        | {"started_from": "distillation from SqueezeNet v1.0", "crops": CROPS, "tried": TRIED},
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
        drawn = {tone.name: accepts(scores_of(scorer, skin)) for tone, skin in draw_skin(_DRAWN).items()}
    found = {
        "n": len(photos),
        "drawn_accepted_by_tone": {tone: float(accepted.mean()) for tone, accepted in drawn.items()},
        "strengths": list(STRENGTHS),
        "accepted": float(accepts(originals).mean()),
        "accepted_at_worst": accepted_at_worst,
        "score_falls_at_every_step": falls | {"all": float(np.mean(list(falls.values())))},
    }
    return found | {"wilson": skin_intervals(found, drawn_per_tone=len(_DRAWN))}


def scores_of(scorer: Scorer, photos: Tensor) -> Any:
    return np.array([score.score for score in scorer.score(list(photos))])
