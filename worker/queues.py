"""Names of tasks and queues, and which worker serves which queue."""

from typing import Final

DRAIN: Final = "inbox.drain"
SUBMIT: Final = "inbox.submit"
SWEEP: Final = "inbox.sweep"
RESCORE: Final = "rescoring.start"
PURGE: Final = "retention.purge"
TRAIN: Final = "training.run"

INBOX: Final = "inbox"
INTAKE: Final = "intake"
MAINTENANCE: Final = "maintenance"
TRAINING: Final = "training"

ROUTES: Final = {
    DRAIN: INBOX,
    SUBMIT: INTAKE,
    SWEEP: MAINTENANCE,
    RESCORE: MAINTENANCE,
    PURGE: MAINTENANCE,
    TRAIN: TRAINING,
}

WORKERS: Final = {
    "scoring": (INBOX,),
    "intake": (INTAKE, MAINTENANCE),
    "training": (TRAINING,),
}
"""Kinds of worker and the queues of each. Scoring and training have one child per device; intake needs no device."""
