"""A rival of RosettaSim after InfGen: queries on SMART's scene encoder say who enters, a head who leaves.

Peng et al., "InfGen" (ICCV 2025, arXiv 2506.17213), its public code and the facts that RosettaSim reports of it. Its
trunk, its map, its grid and its data are those of `harness.traffic.rosetta`, so that the two differ in how they decide
who comes and goes. What of InfGen is followed, and what is not, stands in `network`, `losses` and `decoding`.
"""
