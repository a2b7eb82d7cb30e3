"""Names of tasks and queues, the queue of each task, and the queues that each kind of worker consumes."""

from enum import StrEnum
from typing import Final


class TaskName(StrEnum):
    """The tasks that workers accept. All other names are rejected."""

    COLLECT = "arrivals.collect"
    DECISIONS = "decisions.list"
    DELIVER = "deliveries.send"
    DRAIN = "inbox.drain"
    SUBMIT = "inbox.submit"
    SWEEP = "inbox.sweep"
    RESCORE = "rescoring.start"
    ACKNOWLEDGE = "retakes.acknowledge"
    CLAIM = "retakes.claim"
    WITHDRAW = "retakes.withdraw"
    PURGE = "retention.purge"
    OPT_OUT = "threads.opt_out"
    TRAIN = "training.run"


class QueueName(StrEnum):
    """The queues in Redis, without the key prefix."""

    ARRIVALS = "arrivals"
    DELIVERIES = "deliveries"
    INBOX = "inbox"
    INTAKE = "intake"
    MAINTENANCE = "maintenance"
    TRAINING = "training"


SENDER_TASKS: Final = (
    TaskName.SUBMIT,
    TaskName.CLAIM,
    TaskName.ACKNOWLEDGE,
    TaskName.WITHDRAW,
    TaskName.OPT_OUT,
    TaskName.DECISIONS,
)
"""The tasks that a sender calls with one document and that answer with one. All others take no arguments."""

ROUTES: Final = {
    **dict.fromkeys(SENDER_TASKS, QueueName.INTAKE),  # its workers answer at once, while those of others may be busy
    TaskName.DRAIN: QueueName.INBOX,
    TaskName.SWEEP: QueueName.MAINTENANCE,
    TaskName.RESCORE: QueueName.MAINTENANCE,
    TaskName.PURGE: QueueName.MAINTENANCE,
    TaskName.DELIVER: QueueName.DELIVERIES,
    TaskName.COLLECT: QueueName.ARRIVALS,
    TaskName.TRAIN: QueueName.TRAINING,
}

WORKERS: Final = {
    "scoring": (QueueName.INBOX,),
    "intake": (QueueName.INTAKE, QueueName.MAINTENANCE),
    "delivery": (QueueName.DELIVERIES, QueueName.ARRIVALS),  # waits for other systems, which may be slow
    "training": (QueueName.TRAINING,),
}
"""Kinds of worker and their queues. Run one scoring and one training worker per device; the others need no device."""

PARTS: Final = ("beat", *WORKERS)
"""The parts whose progress `triage health`, `triage doctor` and the alert `TriageStalled` report."""
