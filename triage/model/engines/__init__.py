"""Engines: a loaded network behind one interface."""
