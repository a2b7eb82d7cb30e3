"""Damaged photos against the decoders: `python -m tests.system.fuzz --inputs 20000` (see docs/hardening.md)."""
