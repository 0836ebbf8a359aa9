"""Our engine against stock MetaDrive: the same scenes, the same actions, one after the other in alternating blocks.

Whatever else the machine does hits both; the ratios are medians over the blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.engine.config import EngineConfig
from harness.engine.env import GauntletEnv
from harness.engine.stock import StockProcess, drive
from harness.files import Json
from harness.performance.config import PerfConfig
from scenarios.scenario import LoadedScenes, Scenario

Drive = Json
"""What `harness.engine.stock.drive` returns."""
TOLERANCE: Final = 1e-4
"""Numbers that differ by more are counted."""


def measure_speed(scenes: Sequence[Scenario], config: PerfConfig) -> dict[str, float]:
    """Steps and resets (scene seen before) against stock.

    Returns:
        `step_ratio` and `reset_ratio` (stock's seconds over ours), `steps_per_s` and `reset_ms`, and both of stock.
    """
    stock = StockProcess(scenes, "speed", config.horizon)
    places = list(range(len(scenes)))
    env = GauntletEnv(LoadedScenes([scenes[n] for n in stock.order]), EngineConfig(horizon=config.horizon))
    rows = []
    try:
        for block in range(config.blocks + 1):
            theirs = stock.run(places)
            ours = [_drive(env, place, stock.order[place], config.horizon) for place in places]
            if block:  # The first pass loads every scene.
                rows.append([_rates(theirs), _rates(ours)])
    finally:
        stock.close()
        env.close()
    table = np.array(rows)
    return {
        "step_ratio": float(np.median(table[:, 0, 0] / table[:, 1, 0])),
        "reset_ratio": float(np.median(table[:, 0, 1] / table[:, 1, 1])),
        "steps_per_s": float(1 / np.median(table[:, 1, 0])),
        "stock_steps_per_s": float(1 / np.median(table[:, 0, 0])),
        "reset_ms": float(1e3 * np.median(table[:, 1, 1])),
        "stock_reset_ms": float(1e3 * np.median(table[:, 0, 1])),
    }


def measure_differences(scenes: Sequence[Scenario], config: PerfConfig) -> dict[str, float]:
    """Largest differences in observation and reward up to the first contact, and where the contacts are.

    Returns:
        `max_observation_difference`, `max_reward_difference`, `observation_numbers_compared`,
        `observation_numbers_beyond_1e-4`, `contacts` of stock, and `contact_disagreements`.
    """
    stock = StockProcess(scenes, "exact", config.horizon)
    try:
        theirs = stock.run(range(len(scenes)))
    finally:
        stock.close()
    source = LoadedScenes([scenes[n] for n in stock.order])
    env = GauntletEnv(source, EngineConfig(horizon=config.horizon, reward="metadrive"))
    observations, rewards = [np.zeros(0)], [np.zeros(0)]
    contacts = disagreements = 0
    try:
        for place, stock_drive in enumerate(theirs):
            own_drive = _drive(env, place, stock.order[place], config.horizon)
            first = [_first_contact(result["flags"]) for result in (stock_drive, own_drive)]
            contacts += first[0] is not None
            disagreements += first[0] != first[1]
            lengths = [len(stock_drive["rewards"]), len(own_drive["rewards"])]
            steps = min(*lengths, *(step for step in first if step is not None))
            observations.append(_gaps(stock_drive, own_drive, "observations", steps + 1))
            rewards.append(_gaps(stock_drive, own_drive, "rewards", steps))
    finally:
        env.close()
    gaps = np.concatenate(observations)
    return {
        "max_observation_difference": float(gaps.max(initial=0.0)),
        "max_reward_difference": float(np.concatenate(rewards).max(initial=0.0)),
        "observation_numbers_compared": gaps.size,
        "observation_numbers_beyond_1e-4": int((gaps > TOLERANCE).sum()),
        "contacts": contacts,
        "contact_disagreements": disagreements,
    }


def _drive(env: GauntletEnv, place: int, scene: int, horizon: int) -> Drive:
    """One episode of ours in the scene at `place`, with the actions of `scene`."""
    return drive(env, scene, horizon, lambda: env.reset(options={"scenario": place})[0])


def _rates(results: Sequence[Drive]) -> tuple[float, float]:
    """Seconds per step and per reset."""
    steps = sum(result["steps"] for result in results)
    step_seconds = sum(result["step_s"] for result in results)
    return step_seconds / steps, float(np.mean([result["reset_s"] for result in results]))


def _gaps(one: Drive, two: Drive, key: str, rows: int) -> NDArray[np.float64]:
    """Absolute differences of two drives' first rows, flat."""
    return np.abs(one[key][:rows] - two[key][:rows]).ravel()


def _first_contact(flags: NDArray[np.bool_]) -> int | None:
    """First step of [steps, 3] at which any flag is raised."""
    steps = np.flatnonzero(flags.any(axis=1)) if len(flags) else np.zeros(0, np.intp)
    return int(steps[0]) if len(steps) else None
