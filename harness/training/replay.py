"""Replay memory for one environment: float32 arrays, every observation stored once, incremental files.

Stable-Baselines3's buffer stores each observation twice (as observation and as next observation); here a
transition's next observation is the following row, and an episode of n steps takes n + 1 rows. Rows without a
transition are never sampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError, RunError

Floats32 = NDArray[np.float32]
COLUMNS: Final = ("observation", "action", "reward", "terminal", "usable")


class ReplayMemory:
    """A ring of rows.

    Attributes:
        capacity: Rows: transitions plus one row per episode.
        written: Rows ever closed (written and never to change until overwritten); row r lives at r % capacity.
    """

    def __init__(self, capacity: int, observation_size: int, action_size: int) -> None:
        """Reserve (not yet touch) memory.

        Raises:
            ConfigError: Too small.
        """
        if capacity < 2:
            raise ConfigError(f"replay memory of {capacity} rows: expected at least 2.")
        self.capacity = int(capacity)
        # numpy's zeros are lazily mapped pages: memory is used as rows are written.
        self._observation = np.zeros((capacity, observation_size), np.float32)
        self._action = np.zeros((capacity, action_size), np.float32)
        self._reward = np.zeros(capacity, np.float32)
        self._terminal = np.zeros(capacity, np.bool_)
        self._usable = np.zeros(capacity, np.bool_)
        self.written = 0
        self._transitions = 0

    def __len__(self) -> int:
        """Transitions that can be sampled."""
        return self._transitions

    def begin(self, observation: Floats32) -> None:
        """Start an episode with its first observation [O]."""
        self._write_open_row(observation)

    def add(self, action: Floats32, reward: float, terminal: bool, next_observation: Floats32) -> None:
        """Complete the open row with what happened, and open the next.

        Args:
            action: [A].
            reward: Reward of the step.
            terminal: Whether the episode truly ended (a time-out is no end: the value goes on).
            next_observation: [O].
        """
        row = self.written % self.capacity
        self._action[row] = action
        self._reward[row] = reward
        self._terminal[row] = terminal
        self._usable[row] = True
        self._transitions += 1
        self.written += 1
        self._write_open_row(next_observation)

    def end(self) -> None:
        """Close the episode: its last row holds an observation and no transition."""
        self.written += 1

    def _write_open_row(self, observation: Floats32) -> None:
        row = self.written % self.capacity
        self._transitions -= int(self._usable[row])
        self._usable[row] = False
        self._observation[row] = observation

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Floats32, Floats32, Floats32, Floats32, Floats32]:
        """Uniformly drawn transitions (with replacement), as copies.

        Returns:
            Observations [count, O], actions [count, A], rewards [count], terminal flags [count] (0 or 1), next
            observations [count, O]; float32.
        """
        size = min(self.written + 1, self.capacity)
        rows = rng.integers(size, size=count)
        wrong = np.flatnonzero(~self._usable[rows])
        while len(wrong):
            rows[wrong] = rng.integers(size, size=len(wrong))
            wrong = wrong[~self._usable[rows[wrong]]]
        following = rows + 1
        following[following == self.capacity] = 0
        return (
            self._observation[rows],
            self._action[rows],
            self._reward[rows],
            self._terminal[rows].astype(np.float32),
            self._observation[following],
        )

    def rows(self, start: int, end: int) -> dict[str, NDArray[np.generic]]:
        """Closed rows `start` … `end` (counted since the beginning) as plain arrays, for a file.

        Call between episodes, when no row is open.
        """
        index = np.arange(start, end) % self.capacity
        return {name: getattr(self, f"_{name}")[index] for name in COLUMNS}

    def restore(self, start: int, rows: Mapping[str, NDArray[np.generic]]) -> None:
        """Put back what `rows` returned, at the same place, in ascending order of `start`.

        Raises:
            RunError: The arrays belong to another memory.
        """
        index = np.arange(start, start + len(rows["usable"])) % self.capacity
        for name in COLUMNS:
            own = getattr(self, f"_{name}")
            if rows[name].shape[1:] != own.shape[1:] or rows[name].dtype != own.dtype:
                raise RunError(
                    f"replay checkpoint, {name}: expected rows of shape {own.shape[1:]} {own.dtype}, found "
                    f"{rows[name].shape[1:]} {rows[name].dtype}. It belongs to another configuration."
                )
            own[index] = rows[name]
        self.written = start + len(index)
        self._transitions = int(self._usable.sum())
