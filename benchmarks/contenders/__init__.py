"""Contenders of `benchmarks.throughput`; `score(photos, n)` returns the end-to-end seconds for n photos."""
