"""Fits the reason head of the starter model."""
