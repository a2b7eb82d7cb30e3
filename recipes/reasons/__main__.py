"""Fits the reason head of the starter model, and writes it into the artifact, and its figures into the documentation.

python -m recipes.reasons DATA CACHE

DATA is as for `recipes.findings`. CACHE is a folder for what the network computes for degraded photos: half a second a
photo on one core. A second call continues there; `--rounds 0` fits to what there is. CACHE/errors.png shows the photos
whose reason is wrong in a labeller's eyes.
"""

import argparse
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load, save

from recipes.findings.report import write_tables
from recipes.reasons.collecting import collect, measure_names, read_originals
from recipes.reasons.fitting import fit, read_collected, read_looks
from recipes.reasons.no_skin import fit_no_skin, with_no_skin
from recipes.reasons.no_skin_report import NoSkinReport
from recipes.reasons.passing import Passes
from recipes.reasons.pictures import draw_errors, draw_reliability
from recipes.reasons.report import HeldOut, LookedAt, reliability, tables
from triage.domain.architecture import layers_of
from triage.model.artifact import read_artifact, write_artifact
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network

_ROOT: Final = Path(__file__).parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--rounds", type=int, default=4, help="of degraded copies of each photo")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    card, weights = read_artifact(STARTER_FOLDER)
    arguments.cache.mkdir(parents=True, exist_ok=True)
    originals = read_originals(arguments.data)
    looks = read_looks(originals)
    if arguments.rounds:
        passes = Passes(card, load_network(card, weights).eval(), arguments.cache)
        collect(originals, passes, card.threshold, arguments.cache, arguments.rounds, looks)
    collected = read_collected(arguments.cache, card.threshold, measure_names(), looks)
    about_reasons, layers = collected.about_reasons(), layers_of(card.architecture)
    fitted = fit(card, about_reasons, originals)
    no_skin = fit_no_skin(collected, originals, layers, fitted.head)
    head, layer = with_no_skin(fitted.head, fitted.layer, no_skin, layers)
    gate = NoSkinReport(head, layer, collected, originals, no_skin)
    tensors = {name: tensor for name, tensor in load(weights).items() if not name.startswith("reasons.")}
    tensors |= {f"reasons.{name}": tensor.contiguous() for name, tensor in layer.state_dict().items()}
    settings = {**card.training_settings, "reasons_from": f"{len(collected.samples)} photos, see docs/findings.md"}
    metrics = {**card.metrics, "no_skin": gate.figures()}
    described = card.model_copy(update={"reasons": head, "training_settings": settings, "metrics": metrics})
    write_artifact(STARTER_FOLDER, described, save(tensors))
    held_out = HeldOut(fitted, about_reasons)
    looked = LookedAt(fitted, held_out, looks)
    by_name = tables(held_out, looked) | gate.tables()
    for name, table in by_name.items():
        print(f"\n{name}\n{table}")
    write_tables(_ROOT / "docs" / "findings.md", by_name)
    (_ROOT / "docs" / "reasons-reliability.svg").write_text(draw_reliability(reliability(held_out)), encoding="utf-8")
    draw_errors(looked, originals).save(arguments.cache / "errors.png")


if __name__ == "__main__":
    main()
