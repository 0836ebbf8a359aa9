"""When an episode ends: training and evaluation differ, but one process has one engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EndRules:
    """Attributes:
    horizon: Steps after which an episode is truncated, if the engine does not end it before; None: as the engine does.
    crash_ends: Whether a contact between ego and vehicle terminates it.
    """

    horizon: int | None
    crash_ends: bool


class RuledEnv:
    """An environment whose end rules can be changed between episodes; everything else is passed through.

    The engine itself must be configured with the longest horizon and without ending at crashes.
    """

    def __init__(self, env: Any, rules: EndRules) -> None:
        """Wrap `env` (see `harness.engine.GauntletEnv`)."""
        self.env = env
        self.rules = rules
        self._steps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode."""
        self._steps = 0
        options = dict(options or {})
        if self.rules.horizon is not None:
            # So that an observation which holds the time left tells the truth.
            options["until"] = options.get("start", 0) + self.rules.horizon
        return self.env.reset(seed=seed, options=options)

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One step under the present rules."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        if self.rules.crash_ends and info.get("crash_vehicle", False):
            terminated = True
        horizon = self.rules.horizon
        if horizon is not None and self._steps >= horizon and not terminated:
            truncated = True
        return observation, float(reward), bool(terminated), bool(truncated), info
