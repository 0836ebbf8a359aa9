"""A system under test that is a program of its own: Gauntlet asks, and it answers within a deadline."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from ego_policies.external.channel import ADDRESS, Channel, words_of
from ego_policies.external.messages import (
    VERSION,
    Introduction,
    hello,
    read_action,
    read_trajectory,
    reset_message,
    step_message,
)
from harness.errors import PolicyError
from harness.interfaces import EgoView
from scenarios.scenario import Scenario

TIMEOUT_S: Final = 1.0
"""Longest time for the answer to a step."""
START_S: Final = 30.0
"""Longest time for a program's first message, and for its answer to the start of an episode."""
_EXAMPLES: Final = {
    "hello": f'{{"protocol": {VERSION}, "name": "mine", "view": true}}',
    "action": '{"action": [0.0, 0.2]}',
    "trajectory": '{"trajectory": [[10.0, 2.0, 0.1], [11.0, 2.1, 0.1]]}',
}
Read = TypeVar("Read")


class ExternalPolicy:
    """Drives by a program's answers; the program says what it sees and whether it answers actions or trajectories.

    Whoever answers trajectories is driven by the tracker (`ego_policies/tracked.py`). After a failure the program is
    started anew at the next `reset`.
    """

    privileged: bool

    def __init__(
        self, path: str, *, timeout: float = TIMEOUT_S, start: float = START_S, name: str | None = None
    ) -> None:
        """Start the program and hear what it is.

        Args:
            path: A command, which is run without a shell, or `tcp://HOST:PORT`.
            timeout: Longest time for the answer to a step, s.
            start: Longest time for its first message, and for its answer to the start of an episode, s.
            name: Label in tables; what the program calls itself by default.

        Raises:
            PolicyError: It cannot be started, does not answer, or does not speak this version of the format.
        """
        for label, seconds in (("timeout", timeout), ("start", start)):
            if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
                raise PolicyError(f"external policy `{path}`: {label} is {seconds!r}, expected seconds above 0.")
        self._target, self._timeout, self._start = path, float(timeout), float(start)
        self._channel: Channel | None = None
        self._answered: list[float] = []
        about = self._connect()
        self._about = about
        self.name = name or about.name
        self.observation, self.privileged = about.observation, about.view
        self.control: Literal["action", "trajectory"] = about.answer

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that the command names: with another content it is another system."""
        words = () if self._target.startswith(ADDRESS) else words_of(self._target)
        return tuple(Path(word) for word in words if os.path.isfile(word))

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Tell the program that an episode begins.

        Raises:
            NoAnswerError: It does not answer, or has become another one since it was first asked.
        """
        if self._channel is None and self._connect() != self._about:
            self.close()
            raise PolicyError(
                f"external policy `{self._target}` says something else of itself than before. Start the run anew."
            )
        self._answered = []
        message = reset_message(scenario, int(rng.integers(1 << 53)), with_map=self._about.map)
        self._ask(message, self._start, f"the start of scene {scenario.id}", lambda answer: None)

    def act(self, observation: NDArray[np.float32], view: EgoView) -> NDArray[np.floating]:
        """The program's action [2], or its trajectory [H, 3] or [H, STATE].

        Raises:
            NoAnswerError: It has ended, is late, or answers something else.
        """
        seen = None if self.observation == "none" else observation
        message = step_message(seen, view, with_view=self.privileged)
        read: Callable[[Mapping[str, Any]], NDArray[Any]]
        read = read_action if self.control == "action" else read_trajectory
        began = time.perf_counter()
        found: NDArray[np.floating] = self._ask(message, self._timeout, f"step {view.step}", read)
        self._answered.append(time.perf_counter() - began)
        return found

    def measured(self) -> dict[str, float]:
        """Mean and longest time of an answer in the episode, s."""
        times = self._answered
        return {"answer_mean": float(np.mean(times)), "answer_max": max(times)} if times else {}

    def close(self) -> None:
        """End the program."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _connect(self) -> Introduction:
        self._channel = Channel(self._target, self._start)
        return self._ask(hello(), self._start, "the first message (hello)", Introduction.read)

    def _ask(
        self, message: Mapping[str, Any], seconds: float, what: str, read: Callable[[Mapping[str, Any]], Read]
    ) -> Read:
        """The answer to a message; after any failure the program is gone."""
        channel = self._channel
        if channel is None:
            raise PolicyError(f"external policy `{self._target}` was asked for {what} before an episode began.")
        try:
            answer = channel.ask(message, seconds, what)
            try:
                return read(answer)
            except ValueError as error:
                example = _EXAMPLES["hello" if message["type"] == "hello" else self.control]
                channel.fail(f"answered {what}, but {error}. An example is {example}.", error)
        except PolicyError:
            self.close()
            raise
