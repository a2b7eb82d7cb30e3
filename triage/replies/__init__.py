"""Replies to patients: tips for a better photo."""
