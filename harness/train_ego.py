"""Train an ego under a curriculum of attacks, and evaluate it on normal and attacked test scenes."""

from __future__ import annotations

import os

from harness.commands.scaffold import Session, command
from harness.training.config import MAY_DIFFER, PRESETS, TrainConfig

RENAMED = {"--run": "--out", "--prior-weights": "--prior"}


@command(TrainConfig, __doc__, presets=PRESETS, renamed=RENAMED, may_differ=MAY_DIFFER)
def main(config: TrainConfig, session: Session) -> int:
    """Train or go on with a run, print the tables and where everything lies."""
    # One thread per matrix product; the simulator has the other core. Set before torch is imported where possible.
    os.environ.setdefault("OMP_NUM_THREADS", str(config.td3.threads))
    # Imported late: `--help` should not wait for torch and the simulator.
    from harness.training.run import train

    return train(config, session)


if __name__ == "__main__":
    main()
