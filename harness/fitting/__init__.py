"""Supervised learning: one loop for every network, one way to go on with it, one set of events that tell of it."""
