"""Drawn photos for the demo, tests and recipes."""
