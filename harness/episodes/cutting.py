"""An episode as it would have been with a shorter horizon.

Where neither observation nor reward depends on the horizon, an episode that is cut off after n steps is the beginning
of the longer one, number by number: nothing is played twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.interfaces import Episode, Trajectory
from harness.metrics.driving import mean_jerk, mean_speed


class Mark(NamedTuple):
    """What an episode had come to after some step.

    Attributes:
        reward, cost: Sums until then.
        completion: Share of the logged path that was driven, 0 … 1.
    """

    reward: float
    cost: float
    completion: float


class MarkedEnv:
    """An environment that remembers what its episode had come to after given steps; all else is passed through."""

    def __init__(self, env: Any, steps: Sequence[int]) -> None:
        """Wrap `env` (see `harness.engine.GauntletEnv`)."""
        self.env = env
        self.marks: dict[int, Mark] = {}
        self._wanted = frozenset(steps)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode, and forget the last one."""
        self.marks = {}
        self._steps, self._reward, self._cost = 0, 0.0, 0.0
        return self.env.reset(seed=seed, options=options)  # type: ignore[no-any-return]

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        self._reward += float(reward)
        self._cost += float(info["cost"])
        if self._steps in self._wanted:
            completion = float(np.clip(info["route_completion"], 0.0, 1.0))
            self.marks[self._steps] = Mark(self._reward, self._cost, completion)
        return observation, reward, terminated, truncated, info


def cut_off(episode: Episode, steps: int, mark: Mark | None, dt: float) -> Episode:
    """The first `steps` steps of an episode that began at step 0; the episode itself where it was over by then.

    What the others do later stays in the record.

    Args:
        episode: As it was played.
        steps: Where it is cut off.
        mark: What it had come to there; None only where it never got there.
        dt: Seconds a step.
    """
    if episode.error or episode.steps <= steps:
        return episode
    assert mark is not None, "whoever got there has left a mark"
    states, valid = episode.ego.states, episode.ego.valid & (np.arange(len(episode.ego.valid)) <= steps)

    def until(step: int | None) -> int | None:
        return step if step is not None and step <= steps else None

    return replace(
        episode,
        ego=Trajectory(states, valid),
        steps=steps,
        reward=mark.reward,
        cost=mark.cost,
        route_completion=mark.completion,
        # Arriving and leaving the road end an episode: who went on has done neither.
        arrived=False,
        off_road=False,
        end_of_map=False,
        truncated=True,
        crash_contact=until(episode.crash_contact),
        crash_geometry=until(episode.crash_geometry),
        crash_opponent=until(episode.crash_opponent),
        mean_speed=float(mean_speed(states, valid)),
        mean_jerk=float(mean_jerk(states, valid, dt)),
    )
