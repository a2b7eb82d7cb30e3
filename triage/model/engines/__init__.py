"""Engines: one interface to a loaded network on any kind of machine."""
