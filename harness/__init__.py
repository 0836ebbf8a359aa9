"""Gauntlet's machine: contracts, engine, Gymnasium suite, rollouts, training, metrics, reports and commands."""

from harness.commands.signals import guard_start

# Before anything else is imported: Ctrl-C may come at any moment.
guard_start()

from pathlib import Path  # noqa: E402

from harness.commands.siblings import check_siblings  # noqa: E402
from harness.moved import install  # noqa: E402

check_siblings(Path(__file__).resolve().parents[1])
install()
