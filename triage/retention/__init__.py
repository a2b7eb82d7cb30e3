"""Retention: purging photos, archiving threads, forgetting messages."""
