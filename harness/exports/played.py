"""A played episode as a scene of its own: everybody where they truly were, those who entered included.

The scene can be written like any other (ScenarioNet's files, OpenSCENARIO). Lights stay as they are in their last row
where the episode is longer than the log. Heights are held from the log; who entered is as high as the ego was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from harness.interfaces import HEADING, VX, Episode
from harness.metrics.profiles import hold
from harness.traffic.slots import as_played
from scenarios.scenario import Scenario


def played_scene(scenario: Scenario, episode: Episode, name: str) -> Scenario:
    """The scene that an episode was.

    Args:
        scenario: The recorded scene.
        episode: What happened in it; not a failed one.
        name: Id of the new scene.
    """
    there = np.flatnonzero(episode.agents_valid.any(0))
    steps = int(there[-1]) + 1
    cast = as_played(scenario, episode.newcomers)
    states, valid = episode.agents[:, :steps], episode.agents_valid[:, :steps].copy()
    count, known = len(valid), scenario.num_agents
    position, size = np.zeros((count, steps, 3)), np.zeros((count, steps, 3))
    for agent in range(count):
        logged = scenario.valid[agent] if agent < known else np.zeros(0, bool)
        box = [*cast.box(agent), float(np.median(cast.size[agent, logged if logged.any() else slice(None), 2]))]
        size[agent, valid[agent]] = box
        row = agent if logged.any() else scenario.ego
        height = hold(scenario.position[row, :, 2], scenario.valid[row])
        position[agent, :, 2] = height[np.minimum(np.arange(steps), len(height) - 1)]
    position[..., :2] = states[..., :2]
    position[~valid] = 0.0
    return replace(
        cast,
        id=name,
        position=position,
        heading=np.where(valid, states[..., HEADING], 0.0),
        velocity=np.where(valid[..., None], states[..., VX:], 0.0),
        size=size,
        valid=valid,
        lights={key: _lasting(light, scenario.num_steps, steps) for key, light in scenario.lights.items()},
        metadata={**scenario.metadata, "ts": np.arange(steps) * scenario.dt},
        source="",
    )


def _lasting(value: Any, rows: int, steps: int) -> Any:
    """A part of a light with every series of `rows` steps cut to `steps`, or prolonged by its last row."""
    if isinstance(value, Mapping):
        return {key: _lasting(item, rows, steps) for key, item in value.items()}
    if isinstance(value, np.ndarray) and value.ndim and len(value) == rows:
        return value[np.minimum(np.arange(steps), rows - 1)]
    if isinstance(value, list | tuple) and len(value) == rows:
        return [value[min(step, rows - 1)] for step in range(steps)]
    return value
