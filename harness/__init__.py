"""Gauntlet's machine: contracts, engine, Gymnasium suite, rollouts, training, metrics, reports and commands."""

from harness.commands.signals import guard_start

# Before anything else is imported: Ctrl-C may come at any moment.
guard_start()

from harness.moved import install  # noqa: E402

install()
