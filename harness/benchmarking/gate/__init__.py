"""A gate: whether the numbers of a benchmark are good enough, and whether any episode is worse than expected."""
