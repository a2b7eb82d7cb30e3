"""Measured reasons why a photo fails."""
