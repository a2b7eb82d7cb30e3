"""A data scientist's way on this machine: `make demo-training`, from a REDCap export of drawn photos to a live model.

Embedded services and a training worker start in a state folder of their own. Each step is a command, printed as a user
types it. The network is narrow, so that an epoch takes seconds; the model knows drawn photos only.
"""

import csv
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from recipes.steps import step
from triage.domain.architecture import Layers
from triage.domain.card import Card
from triage.errors import TriageError
from triage.imaging.degradation import Degradation, degrade
from triage.model.artifact import write_artifact
from triage.model.network import draw_network
from triage.model.weights import weights_of
from triage.samples.drawing import SkinTone, draw_skin_photo
from worker.cli.demonstration import demo_settings
from worker.cli.tables import print_line
from worker.embedded.stack import EmbeddedStack

N_PATIENTS: Final = 200
_PHOTOS_EACH: Final = 2
_SIZE: Final = (336, 448)
_LAYERS: Final[Layers] = ((4,), (8,), (16,), (32,), (32,))
_STRICTNESS: Final = {"anna": 0.35, "ben": 0.42, "cleo": 0.5, "dan": 0.58}
"""The strength of a degradation from which each of the four drawn reviewers finds a photo insufficient, about."""

COMMANDS: Final = (
    ("the export becomes a manifest", "dataset import-redcap export.csv --photos photos -o all.csv"),
    ("defects, unreadable photos and doubles", "dataset check all.csv --photos"),
    ("training, validation and test photos, by patient", "dataset split all.csv -o split.csv"),
    ("how far the reviewers agree", "dataset describe split.csv"),
    (
        "a short training of a narrow network",
        (
            "train --manifest split.csv --name drawn-1 --init ./narrow --epochs 5 --learning-rate 0.02 "
            "--frozen-convolutions 0 --wait"
        ),
    ),
    (
        "its evaluation on the test photos, as a page",
        "evaluate --model drawn-1 --manifest split.csv --split test --record --html evaluation.html",
    ),
    ("the model goes live", "models promote drawn-1"),
    ("and scores photos from now on", "models list"),
)
"""What each command of the demo does, and the command without `triage`."""


def main() -> None:
    """Starts everything, shows each step and ends everything that it started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stops the services in order, as Ctrl-C does
    settings = demo_settings("demo-training")
    state = settings.embedded
    folder = state.root / "data"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        n_photos = draw_export(folder)
        write_start(folder / "narrow")
        step(
            "a REDCap export of drawn photos, with the votes of four drawn reviewers", f"{n_photos} photos in {folder}"
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")}
        with EmbeddedStack(state, kept | {"TRIAGE_TRAINING__THREADS": "1"}) as stack:  # enough for a narrow network
            stack.start_services()
            stack.recreate_database()
            stack.migrate()
            state.prepare()
            stack.start_workers(["training"])
            step("this product is up", "Postgres, Redis and a training worker")
            for what, command in COMMANDS:
                step(what, f"triage {command}")
                _run(command, folder, kept | {"TRIAGE_HOME": str(state.root)})
    except TriageError as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        raise SystemExit("interrupted; everything stopped") from None
    print_line()
    print_line(f"everything stopped; the evaluation page: {folder / 'evaluation.html'}")


def draw_export(folder: Path, *, n_patients: int = N_PATIENTS) -> int:
    """Draws photos, most of them degraded, and writes `photos/` and `export.csv` as REDCap does in long format.

    Returns:
        The number of photos.
    """
    random = np.random.default_rng(0)
    photos = folder / "photos"
    photos.mkdir(parents=True)
    rows = []
    for record in range(1, n_patients * _PHOTOS_EACH + 1):
        patient = f"p{(record - 1) // _PHOTOS_EACH + 1}"
        tone = SkinTone(1 + (record - 1) // _PHOTOS_EACH % len(SkinTone))
        photo = draw_skin_photo(record, tone=tone, size=_SIZE)
        # few perfect photos: a promotion needs 20 bad ones among the test photos
        strength = 0.0 if random.random() < 0.15 else float(random.uniform(0.1, 1))
        if strength:
            photo = degrade(photo, random.choice([Degradation.DEFOCUS, Degradation.MOTION]), strength)
        photo.save(photos / f"{record}.jpg", quality=92)
        for reviewer, limit in _STRICTNESS.items():
            is_sufficient = strength < limit + random.normal(0, 0.1)
            rows.append((record, patient, tone.name, reviewer, "Yes" if is_sufficient else "No"))
    with (folder / "export.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("record_id", "patient", "fitzpatrick", "reviewer", "quality"))
        writer.writerows(rows)
    return n_patients * _PHOTOS_EACH


def _run(command: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Runs a command of the product and shows what it prints.

    Raises:
        TriageError: the command fails; it has printed why.
    """
    triage = Path(sys.executable).with_name("triage")
    done = subprocess.run(
        [triage, *shlex.split(command)], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    for line in done.stdout.splitlines():
        print_line(f"    {line}")
    if done.returncode:
        raise TriageError("a command of the demo failed")


def write_start(folder: Path) -> None:
    """Writes a narrow network with random weights, for `train --init`."""
    network = draw_network(seed=1, layers=_LAYERS)
    card = Card(
        name="narrow",
        architecture=network.architecture,
        threshold=0.5,
        threshold_chosen_by="never trained",
        trained=False,
        created_at=datetime.now(UTC),
    )
    write_artifact(folder, card, weights_of(network))


if __name__ == "__main__":
    main()
