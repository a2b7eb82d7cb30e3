"""Celery tasks. Each validates its input, calls a use case with the services of its process, and logs the result."""

from worker.tasks import arrivals, child, deliveries, inbox, rescoring, retakes, retention, training

__all__ = ["arrivals", "child", "deliveries", "inbox", "rescoring", "retakes", "retention", "training"]
