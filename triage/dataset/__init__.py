"""Labelled photos: manifests, their import from REDCap, and their split."""
