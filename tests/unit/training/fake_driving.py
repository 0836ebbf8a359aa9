"""A driving task small enough to be learnt in seconds, with the interface of the engine's environment, and a worker on
it; without torch, so that processes with such workers start quickly."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from gymnasium import spaces

from harness.engine.config import EngineConfig
from harness.engine.recording import Recording
from harness.episodes.rules import EndRules, RuledEnv
from harness.interfaces import AttackContext, AttackPlan, Trajectory
from harness.training.config import TrainConfig
from harness.training.episode_worker import EpisodeJob, EpisodeWorker
from scenarios.scenario import Scenario
from tests.scenes import straight_road

TRAIN: Final = [0, 1, 2]
"""Indices of the training scenes."""
GOAL = 12.0
"""Distance to drive, m; full throttle covers 1 m per step."""


class FakeSource:
    """Straight roads with different names."""

    def __init__(self, count: int) -> None:
        self.scenes = [replace(straight_road(), id=f"scene-{index}") for index in range(count)]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(scene.id for scene in self.scenes)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Scenario:
        return self.scenes[index]


class FakeEnv:
    """Drive `GOAL` metres without leaving a strip. Observation: [lateral, progress, attacked, 1]."""

    def __init__(self, source: FakeSource, width: float = 3.0) -> None:
        self.source = source
        self.width = width
        self.options = EngineConfig(ego_size=(4.5, 1.8))
        self.observation_space = spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        self.rng = np.random.default_rng(seed)
        self.plan, self.until = (options or {}).get("plan"), (options or {}).get("until")
        self.scenario = self.source[(options or {})["scenario"]]
        self.lateral, self.progress, self.steps = float(self.rng.uniform(-1, 1)), 0.0, 0
        self.trace = [(0.0, self.lateral, 0.0, 0.0, 0.0)]
        return self._observation(), self._info(False)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.steps += 1
        self.lateral += float(action[0]) * 0.5
        gain = max(float(action[1]), 0.0)
        self.progress += gain
        self.trace.append((self.progress, self.lateral, 0.0, gain * 10, 0.0))
        off = abs(self.lateral) > self.width
        arrived = self.progress >= GOAL
        reward = -5.0 if off else 5.0 if arrived else gain
        return self._observation(), reward, off or arrived, False, self._info(off)

    def _observation(self) -> np.ndarray:
        values = [self.lateral / self.width, self.progress / GOAL, float(self.plan is not None), 1.0]
        return np.clip(np.array(values, np.float32), -1.0, 1.0)

    def _info(self, off: bool) -> dict[str, Any]:
        crashed = self.plan is not None and self.steps == 5
        return {
            "cost": float(off or crashed),
            "crash_vehicle": crashed,
            "route_completion": min(self.progress / GOAL, 1.0),
            "arrive_dest": self.progress >= GOAL,
            "out_of_road": off,
        }

    def view(self) -> None:
        """The tests' policies look at their observation only."""

    def recording(self) -> Recording:
        rows = 91
        states, never = np.zeros((rows, 5)), np.zeros(rows, bool)
        states[: len(self.trace)] = self.trace[:rows]
        ego = Trajectory(states, np.arange(rows) <= self.steps)
        contact = never.copy()
        contact[5] = self.plan is not None and self.steps >= 5
        nobody = np.zeros((0, rows, 5)), np.zeros((0, rows), bool)
        return Recording(self.scenario.id, self.steps, ego, None, *nobody, contact, never, never)

    def close(self) -> None:
        pass


class FakeAdversary:
    """Repeats the opponent's log, and remembers what it was shown."""

    name = "fake"

    def __init__(self) -> None:
        self.contexts: list[AttackContext] = []

    def plan(self, context: AttackContext) -> AttackPlan | None:
        self.contexts.append(context)
        scene = context.scenario
        return AttackPlan(scene.states(context.opponent), scene.valid[context.opponent].copy())


def fake_worker(config: TrainConfig, folder: Path | None) -> Callable[[EpisodeJob], object]:
    """A worker on the fake task. With a folder, one dies at an episode that `folder/die-EPISODE` names: as many times
    as the file has letters."""
    ruled = RuledEnv(FakeEnv(FakeSource(5)), EndRules(config.train_horizon, crash_ends=False))
    worker = EpisodeWorker(ruled, TRAIN, FakeAdversary(), config)

    def work(job: EpisodeJob) -> object:
        marked = None if folder is None else folder / f"die-{job.episode}"
        if marked is not None and marked.exists() and (left := marked.read_text()):
            marked.write_text(left[1:])
            os.kill(os.getpid(), signal.SIGKILL)
        return worker(job)

    return work
