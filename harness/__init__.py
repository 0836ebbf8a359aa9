"""Gauntlet's machine: contracts, engine, Gymnasium suite, rollouts, training, metrics, reports and commands."""

from harness.commands.signals import guard_start
from harness.moved import install

guard_start()
install()
