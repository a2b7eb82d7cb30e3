"""Watching the running product: progress of its parts and integrity of its audit trail."""
