"""The messages of external policies, by the format of `docs/test_a_policy.md`: what is sent, and what is understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness.interfaces import STATE, EgoView
from scenarios.scenario import Scenario

VERSION: Final = 1
"""Version of the format; both sides say it in their first message."""
Answer = Literal["action", "trajectory"]
"""What a program answers a step with."""
ANSWERS: Final[tuple[Answer, ...]] = get_args(Answer)
POSE: Final = 3
"""Numbers of a pose: x, y (m), heading (rad)."""
MAX_ROWS: Final = 1000
"""Rows of a trajectory."""
DIGITS: Final = 6
"""Digits behind the point that are sent."""


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a program says of itself in its first message.

    Attributes:
        name: Its name in tables.
        observation: Observation preset that it wants, or `none`.
        view: Whether it wants the true states of everybody present.
        map: Whether it wants the map at the start of each scene.
        answer: Whether its answers are actions or trajectories.
    """

    name: str
    observation: str = "none"
    view: bool = False
    map: bool = False
    answer: Answer = "action"

    @classmethod
    def read(cls, message: Mapping[str, Any]) -> Introduction:
        """Out of a message.

        Raises:
            ValueError: Says what it lacks.
        """
        if message.get("protocol") != VERSION:
            raise ValueError(f'expected "protocol": {VERSION}, got {message.get("protocol")!r:.40}')
        found = cls(
            name=message.get("name", ""),
            observation=message.get("observation", "none"),
            view=message.get("view", False),
            map=message.get("map", False),
            answer=message.get("answer", "action"),
        )
        if not isinstance(found.name, str) or not found.name:
            raise ValueError(f'expected a "name", got {found.name!r:.40}')
        if not isinstance(found.view, bool) or not isinstance(found.map, bool):
            raise ValueError('expected "view" and "map" to be true or false')
        if found.answer not in ANSWERS:
            raise ValueError(f'expected "answer" to be one of {", ".join(ANSWERS)}, got {found.answer!r:.40}')
        if not isinstance(found.observation, str):
            raise ValueError(f'expected "observation" to be the name of a preset, got {found.observation!r:.40}')
        if found.observation == "none" and not found.view:
            raise ValueError('it sees nothing; ask for "view": true, or for an "observation" such as "cat"')
        return found


def hello() -> dict[str, Any]:
    """The first message."""
    return {"type": "hello", "protocol": VERSION}


def reset_message(scenario: Scenario, seed: int, *, with_map: bool) -> dict[str, Any]:
    """The message at the start of an episode; `seed` is for whoever draws random numbers."""
    message: dict[str, Any] = {
        "type": "reset",
        "scene": scenario.id,
        "dt": scenario.dt,
        "seed": seed,
        "ego_size": [round(float(number), DIGITS) for number in scenario.box(scenario.ego)],
    }
    if with_map:
        message["map"] = [
            {"type": feature.type, "points": _listed(feature.points[:, :2])} for feature in scenario.features
        ]
    return message


def step_message(observation: NDArray[np.float32] | None, view: EgoView, *, with_view: bool) -> dict[str, Any]:
    """The message of a step; None for an observation leaves it out."""
    message: dict[str, Any] = {"type": "step", "step": view.step}
    if observation is not None:
        message["observation"] = _listed(observation)
    if with_view:
        message |= {
            "ego": _listed(view.ego),
            "ego_size": _listed(np.asarray(view.ego_size)),
            "route": _listed(view.route),
            "agents": _listed(view.agents),
            "agent_sizes": _listed(view.agent_sizes),
            "speed_limit": view.speed_limit,
        }
    return message


def read_action(answer: Mapping[str, Any]) -> NDArray[np.float32]:
    """The action [2] of an answer.

    Raises:
        ValueError: It is no two finite numbers.
    """
    found = _numbers(answer, "action")
    if found.shape != (2,):
        raise ValueError(f"expected an action of two numbers (steering, throttle), got shape {found.shape}")
    return np.clip(found, -1.0, 1.0).astype(np.float32)


def read_trajectory(answer: Mapping[str, Any]) -> NDArray[np.float64]:
    """The trajectory [H, 3] or [H, STATE] of an answer.

    Raises:
        ValueError: It is no such table of finite numbers.
    """
    found = _numbers(answer, "trajectory")
    if found.ndim != 2 or found.shape[1] not in (POSE, STATE) or not 1 < len(found) <= MAX_ROWS:
        raise ValueError(
            f"expected a trajectory of 2 to {MAX_ROWS} rows [x, y, heading] or [x, y, heading, vx, vy], got shape "
            f"{found.shape}"
        )
    return found


def _numbers(answer: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    if name not in answer:
        raise ValueError(f'expected "{name}", got {", ".join(map(repr, answer)) or "nothing"}')
    try:
        found = np.array(answer[name], dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f'expected "{name}" to be numbers, got {answer[name]!r:.60}') from error
    if not np.isfinite(found).all():
        raise ValueError(f'"{name}" has a number that is not finite: {answer[name]!r:.60}')
    return found


def _listed(values: NDArray[Any]) -> list[Any]:
    """Numbers as lists, with as many digits as are worth sending."""
    rounded: list[Any] = np.round(np.asarray(values, dtype=np.float64), DIGITS).tolist()
    return rounded
