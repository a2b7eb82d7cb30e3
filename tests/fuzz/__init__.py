"""Damaged photos against the decoders: `python -m tests.fuzz --inputs 20000`. What is promised: docs/hardening.md."""
