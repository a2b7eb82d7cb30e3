"""A training of the narrow network whose manifest and photos have a patient's name, with a copy in MLflow."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from triage.domain.ids import RunId
from triage.domain.runs import Run
from triage.imaging.limits import ImageLimits
from triage.runs import find_run
from triage.training.run import Trainer, TrainerOptions
from triage.training.start import start_training
from worker.services import Services

PATIENT = "Erika-Mustermann"
EPOCHS = 4


def queue_training(services: Services, folder: Path, jpeg: Callable[..., bytes], init: Path) -> RunId:
    """Queues a training of `EPOCHS` epochs on six photos."""
    rows = ["path,votes,split"]
    for seed, (votes, split) in enumerate(zip([0, 4, 3, 1, 0, 4], ["train"] * 4 + ["validation"] * 2, strict=True)):
        (folder / f"{PATIENT}-{seed}.jpg").write_bytes(jpeg(seed))
        rows.append(f"{PATIENT}-{seed}.jpg,{votes},{split}")
    manifest = folder / f"{PATIENT}.csv"
    manifest.write_text("\n".join(rows), encoding="utf-8")
    run, _ = start_training(
        services.sessions,
        services.registry,
        manifest=manifest,
        name="ours",
        init=str(init),
        settings={"epochs": EPOCHS, "patience": EPOCHS, "batch_photos": 2, "frozen_convolutions": 4},
        actor="d-1",
    )
    return run.id


def train_queued(
    services: Services,
    run_id: RunId,
    folder: Path,
    mlflow_uri: str,
    *,
    on_progress: Callable[[], object] = lambda: None,
) -> Run:
    """Trains the queued run as a worker does, and returns it."""
    options = TrainerOptions(
        folder / "runs",
        timedelta(seconds=60),
        5,
        ImageLimits(),
        "cpu",
        threads=1,
        decode_threads=1,
        mlflow_uri=mlflow_uri,
    )
    trainer = Trainer(
        services.engine, services.sessions, services.registry, options, source=services.source, on_progress=on_progress
    )
    trainer.train_next()
    return find_run(services.sessions, run_id)
