"""Retake requests: the decision on a message, its limits per thread, overrides, and the outbox of requests."""
