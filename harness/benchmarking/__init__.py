"""The benchmark: every adversary against every system under test (configuration, work, records, numbers)."""
