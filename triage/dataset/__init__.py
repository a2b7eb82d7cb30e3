"""Labelled photos: manifests, imports, splits."""
