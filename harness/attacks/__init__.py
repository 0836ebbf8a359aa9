"""Attacks without a training run: open loop, closed loop, every candidate, export."""
