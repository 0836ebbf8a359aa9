"""A campaign of damaged and hostile files against everything that Gauntlet reads: `python -m tests.fuzz`."""
