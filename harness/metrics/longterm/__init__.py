"""Realism of traffic over minutes, in which agents enter and leave (RosettaSim): flow, behaviour, RMM-F1, retrieval.

Pure functions on arrays. The features of behaviour are those of `harness.metrics.wosac`, counted over windows.
"""
