"""One system against another over the same scenes and attacks: what of two benchmarks differs, and by how much."""
