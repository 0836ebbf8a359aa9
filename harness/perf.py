"""`python -m harness.perf`: speed and equality against stock MetaDrive, training rate, attack latency, memory growth.

Ours and stock's blocks alternate on the same scenes with the same actions, so that whatever else the machine does
hits both; the ratios are medians over the blocks.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from harness import registry
from harness.commands.runs import provenance
from harness.engine.config import EngineConfig
from harness.errors import AdversaryError, ConfigError, GauntletError
from harness.files import write_json
from harness.interfaces import AttackContext, Trajectory
from scenarios import open_source
from scenarios.scenario import Scenario, ScenarioSource

_TARGETS: Final = {
    "step_ratio": "≥ 2.5",
    "reset_ratio": "≥ 5",
    "max_observation_difference": "≤ 1e-4",
    "max_reward_difference": "≤ 1e-4",
    "train_steps_per_s": "≥ 250",
    "rss_growth_mb": "≤ 100",
}
_WARM_UP: Final = 600
"""Environment steps before the clock of the training measurement starts."""


@dataclass(frozen=True)
class PerfConfig:
    """What to measure, on which scenes."""

    data: str = "procedural"
    """Folder of ScenarioNet pickles, or `procedural` for generated scenes."""
    split: str | None = None
    """Split of the folder; all of it by default."""
    json: Path | None = None
    """File for the numbers."""
    scenes: int = 20
    """Scenes to compare on, spread evenly over the source."""
    blocks: int = 5
    """Alternating passes over the scenes for the speed ratios."""
    exact_scenes: int = 40
    """Scenes for the differences in observation and reward."""
    horizon: int = 90
    """Steps per episode, 0.1 s each."""
    train_steps: int = 3_000
    """Environment steps (one TD3 update each) for the training rate; 0 skips it."""
    attack_scenes: int = 20
    """Scenes to attack per adversary; 0 skips it."""
    episodes: int = 2_000
    """Episodes for the memory growth; 0 skips it."""
    episode_steps: int = 20
    """Steps of each of those episodes."""
    seed: int = 0
    """Of everything random."""


class _Picked:
    """Some scenes of a source, in a given order."""

    def __init__(self, scenes: Sequence[Scenario]) -> None:
        self._scenes = list(scenes)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"{number}:{scene.id}" for number, scene in enumerate(self._scenes))

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> Scenario:
        return self._scenes[index]


def pick(source: ScenarioSource, count: int) -> list[Scenario]:
    """`count` scenes spread evenly over the source (all, if it has fewer)."""
    if len(source) == 0:
        raise ConfigError("there are no scenes to measure on")
    places = np.unique(np.linspace(0, len(source) - 1, min(count, len(source))).round().astype(int))
    return [source[int(place)] for place in places]


def measure_speed(scenes: list[Scenario], config: PerfConfig) -> dict[str, Any]:
    """Steps and resets (scene seen before) against stock, in alternating blocks."""
    from harness.engine.env import GauntletEnv
    from harness.engine.stock import StockProcess, drive

    stock = StockProcess(scenes, "speed", config.horizon)
    places = list(range(len(scenes)))
    env = GauntletEnv(_Picked([scenes[n] for n in stock.order]), EngineConfig(horizon=config.horizon))
    rows = []
    try:
        for block in range(config.blocks + 1):
            theirs = stock.run(places)
            ours = [
                drive(env, stock.order[place], config.horizon, lambda place=place: _reset(env, place))
                for place in places
            ]
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


def _reset(env: Any, place: int) -> Any:
    return env.reset(options={"scenario": place})[0]


def _rates(results: list[dict[str, Any]]) -> tuple[float, float]:
    """Seconds per step and per reset."""
    steps = sum(result["steps"] for result in results)
    return sum(result["step_s"] for result in results) / steps, float(np.mean([r["reset_s"] for r in results]))


def measure_differences(scenes: list[Scenario], config: PerfConfig) -> dict[str, Any]:
    """Largest differences in observation and reward up to the first contact, and where the contacts are."""
    from harness.engine.env import GauntletEnv
    from harness.engine.stock import StockProcess, drive

    stock = StockProcess(scenes, "exact", config.horizon)
    try:
        theirs = stock.run(range(len(scenes)))
    finally:
        stock.close()
    source = _Picked([scenes[n] for n in stock.order])
    env = GauntletEnv(source, EngineConfig(horizon=config.horizon, reward="metadrive"))
    observation = reward = 0.0
    contacts = disagreements = compared = unequal = 0
    try:
        for place, theirs_here in enumerate(theirs):
            ours = drive(env, stock.order[place], config.horizon, lambda place=place: _reset(env, place))
            first = [_first_contact(result["flags"]) for result in (theirs_here, ours)]
            contacts += first[0] is not None
            disagreements += first[0] != first[1]
            rows = min(len(theirs_here["rewards"]), len(ours["rewards"]), *(n for n in first if n is not None))
            gap = np.abs(theirs_here["observations"][: rows + 1] - ours["observations"][: rows + 1])
            observation, compared = max(observation, float(gap.max())), compared + gap.size
            unequal += int((gap > 1e-4).sum())
            if rows:
                reward = max(reward, float(np.abs(theirs_here["rewards"][:rows] - ours["rewards"][:rows]).max()))
    finally:
        env.close()
    return {
        "max_observation_difference": observation,
        "max_reward_difference": reward,
        "observation_numbers_compared": compared,
        "observation_numbers_beyond_1e-4": unequal,
        "contacts": contacts,
        "contact_disagreements": disagreements,
    }


def _first_contact(flags: Any) -> int | None:
    steps = np.flatnonzero(flags.any(axis=1)) if len(flags) else np.array([])
    return int(steps[0]) if len(steps) else None


def measure_training(scenes: list[Scenario], config: PerfConfig) -> dict[str, Any]:
    """Environment steps per second with one TD3 update each, as `train_ego` does them."""
    from harness.engine.env import GauntletEnv
    from harness.training.config import TD3Config
    from harness.training.learner import Learner

    env = GauntletEnv(_Picked(scenes), EngineConfig(horizon=50, seed=config.seed))
    # Nothing else runs while this is measured.
    td3 = TD3Config(warmup=_WARM_UP, threads=min(2, os.cpu_count() or 1))
    total = _WARM_UP + config.train_steps
    learner = Learner(env.observation_space, env.action_space, td3, 2 * total, config.seed)  # type: ignore[arg-type]
    rng = np.random.default_rng(config.seed)
    step, begin = 0, 0.0
    try:
        for place in range(len(scenes)):  # Parsing scenes is no training.
            _reset(env, place)
        while step < total:
            observation, _ = env.reset()
            learner.memory.begin(observation)
            done = False
            while not done and step < total:
                action = learner.explore(observation, step, rng)
                if step > _WARM_UP:
                    learner.update(rng)
                elif step == _WARM_UP:
                    begin = time.perf_counter()
                observation, reward, terminated, truncated, _ = env.step(action)
                learner.memory.add(action, reward, terminated, observation)
                done = terminated or truncated
                step += 1
            learner.flush(rng)
            learner.memory.end()
        return {"train_steps_per_s": config.train_steps / (time.perf_counter() - begin)}
    finally:
        env.close()


def measure_attacks(source: ScenarioSource, config: PerfConfig) -> dict[str, Any]:
    """Milliseconds per attack on one core, for every registered adversary (median, slowest; parsing not counted)."""
    import torch

    torch.set_num_threads(1)
    scenes = [scene for scene in pick(source, 2 * config.attack_scenes) if scene.opponent is not None]
    found: dict[str, Any] = {}
    for name in registry.names("adversary"):
        try:
            adversary = registry.make("adversary", name)
        except (GauntletError, TypeError) as error:
            found[name] = {"error": str(error)}
            continue
        times = []
        for number, scene in enumerate(scenes[: config.attack_scenes + 1]):
            begin = time.perf_counter()
            try:
                adversary.plan(_context(scene, config.seed))
            except AdversaryError:
                continue
            if number:  # The first call loads weights.
                times.append(1e3 * (time.perf_counter() - begin))
        if times:
            found[name] = {"median": float(np.median(times)), "slowest": max(times), "scenes": len(times)}
    return {"attack_ms": found}


def _context(scene: Scenario, seed: int) -> AttackContext:
    assert scene.opponent is not None, "only scenes with an opponent are attacked"
    logged = Trajectory(scene.states(scene.ego), scene.valid[scene.ego])
    rng = np.random.default_rng(seed)
    return AttackContext(scene, scene.opponent, (logged,), 1.0, rng, scene.box(scene.ego))


def measure_memory(scenes: list[Scenario], config: PerfConfig) -> dict[str, Any]:
    """Growth of resident memory over many episodes, after every scene has been seen."""
    from harness.engine.env import GauntletEnv

    env = GauntletEnv(_Picked(scenes), EngineConfig(horizon=config.horizon, seed=config.seed))
    rng = np.random.default_rng(config.seed)
    try:
        for place in range(len(scenes)):
            _reset(env, place)
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
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def run(config: PerfConfig, console: Console) -> dict[str, Any]:
    """Measure everything; return the numbers.

    Raises:
        GauntletError: Unusable data or options.
    """
    source = open_source(config.data, split=config.split)
    scenes = pick(source, config.scenes)
    result: dict[str, Any] = {"config": asdict(config), "provenance": provenance(), "scenes": len(scenes)}
    stages = [
        ("speed against stock", True, lambda: measure_speed(scenes, config)),
        ("equality with stock", config.exact_scenes > 0, lambda: measure_differences(_exact(source, config), config)),
        ("training", config.train_steps > 0, lambda: measure_training(scenes, config)),
        ("attacks", config.attack_scenes > 0, lambda: measure_attacks(source, config)),
        ("memory", config.episodes > 0, lambda: measure_memory(scenes, config)),
    ]
    for name, wanted, stage in stages:
        if wanted:
            console.print(f"{name} …")
            result.update(stage())
            if config.json is not None:
                write_json(config.json, result)
    return result


def _exact(source: ScenarioSource, config: PerfConfig) -> list[Scenario]:
    return pick(source, config.exact_scenes)


def table(result: dict[str, Any]) -> Table:
    """The numbers for a terminal."""
    shown = Table("measurement", "value", "goal")
    for key, value in result.items():
        if isinstance(value, float | int) and not isinstance(value, bool):
            shown.add_row(key, f"{value:.3g}" if isinstance(value, float) else str(value), _TARGETS.get(key, ""))
    for name, times in result.get("attack_ms", {}).items():
        shown.add_row(
            f"attack_ms {name}", times.get("error") or f"{times['median']:.1f}", "≤ 40" if name == "cat" else ""
        )
    return shown


def main(argv: Sequence[str] | None = None) -> None:
    """Parse options, measure, print the table."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    console = Console(width=None if sys.stdout.isatty() else 120)
    config = tyro.cli(PerfConfig, args=argv, description=__doc__)
    try:
        console.print(table(run(config, console)))
    except GauntletError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(2)
    if config.json is not None:
        console.print(f"numbers: {config.json.resolve()}", highlight=False)


if __name__ == "__main__":
    main()
