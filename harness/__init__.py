"""Gauntlet's machine: contracts, engine, Gymnasium suite, rollouts, training, metrics, reports and commands."""

from harness.moved import install

install()
