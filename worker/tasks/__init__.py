"""Celery tasks: each validates, asks this process's services and calls the core."""

from worker.tasks import inbox, rescoring, retention, training

__all__ = ["inbox", "rescoring", "retention", "training"]
