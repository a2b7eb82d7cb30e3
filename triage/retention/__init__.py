"""Purging photos, archiving threads, forgetting messages."""
