"""What `benchmarks.throughput` compares, each with `score(photos, n)`: seconds for n photos, whole way."""
