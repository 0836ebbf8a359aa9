"""Growth of resident memory over many episodes."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.engine.config import EngineConfig
from harness.engine.env import GauntletEnv
from harness.performance.config import PerfConfig
from scenarios.scenario import LoadedScenes, Scenario


def measure_memory(scenes: Sequence[Scenario], config: PerfConfig) -> dict[str, float]:
    """Growth of resident memory after every scene has been seen.

    Returns:
        `rss_growth_mb`, `rss_mb` (at the end) and `rss_episodes`.
    """
    env = GauntletEnv(LoadedScenes(scenes), EngineConfig(horizon=config.horizon, seed=config.seed))
    rng = np.random.default_rng(config.seed)
    try:
        for place in range(len(scenes)):
            env.reset(options={"scenario": place})
            for _ in range(config.episode_steps):
                env.step(rng.uniform(-1, 1, 2))
        start = rss_mb()
        for _ in range(config.episodes):
            env.reset()
            for _ in range(config.episode_steps):
                env.step(rng.uniform(-1, 1, 2))
        return {"rss_growth_mb": rss_mb() - start, "rss_mb": rss_mb(), "rss_episodes": config.episodes}
    finally:
        env.close()


def rss_mb() -> float:
    """Resident memory of this process, MB (its peak, where the system has no /proc)."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
