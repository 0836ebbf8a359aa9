"""Work for spawned processes: must be importable by name."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from scenarios.procedural.config import ProceduralConfig
from scenarios.procedural.pool import SimulationResult, SimulationTask


def dies_once(config: ProceduralConfig, task: SimulationTask) -> SimulationResult:
    """Task 2 kills its worker the first time it runs; a marker file remembers."""
    marker = Path(os.environ["GAUNTLET_TEST_MARKER"])
    if task.number == 2 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return SimulationResult(task, [(f"{task.number}.pkl", b"", {})], "")


def always_dies(config: ProceduralConfig, task: SimulationTask) -> SimulationResult:
    """Task 1 always kills its worker."""
    if task.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return SimulationResult(task, [(f"{task.number}.pkl", b"", {})], "")
