"""Names of tasks and queues, the queue of each task, and the queues that each kind of worker consumes."""

from enum import StrEnum
from typing import Final


class TaskName(StrEnum):
    """The tasks that workers accept. All other names are rejected."""

    DRAIN = "inbox.drain"
    SUBMIT = "inbox.submit"
    SWEEP = "inbox.sweep"
    RESCORE = "rescoring.start"
    PURGE = "retention.purge"
    TRAIN = "training.run"


class QueueName(StrEnum):
    """The queues in Redis, without the key prefix."""

    INBOX = "inbox"
    INTAKE = "intake"
    MAINTENANCE = "maintenance"
    TRAINING = "training"


ROUTES: Final = {
    TaskName.DRAIN: QueueName.INBOX,
    TaskName.SUBMIT: QueueName.INTAKE,
    TaskName.SWEEP: QueueName.MAINTENANCE,
    TaskName.RESCORE: QueueName.MAINTENANCE,
    TaskName.PURGE: QueueName.MAINTENANCE,
    TaskName.TRAIN: QueueName.TRAINING,
}

WORKERS: Final = {
    "scoring": (QueueName.INBOX,),
    "intake": (QueueName.INTAKE, QueueName.MAINTENANCE),
    "training": (QueueName.TRAINING,),
}
"""Kinds of worker and their queues. Run one scoring and one training worker per device; intake needs no device."""
