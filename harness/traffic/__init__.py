"""Learned and simple traffic: tokens, models, roll-outs, baselines."""
