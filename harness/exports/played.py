"""A played episode as a scene of its own: everybody where they truly were, those who entered included.

The scene can be written like any other (ScenarioNet's files, OpenSCENARIO). Lights stay as they are in their last row
where the episode is longer than the log. Heights are held from the log; who entered is as high as the ego was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import ScenarioError
from harness.interfaces import HEADING, VX, Episode
from harness.metrics.profiles import hold
from harness.traffic.slots import as_played
from scenarios.scenario import CURRENT_STEP, Kind, Scenario


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
        lights=_picked(scenario.lights, scenario.num_steps, np.minimum(np.arange(steps), scenario.num_steps - 1)),
        metadata={**scenario.metadata, "ts": np.arange(steps) * scenario.dt},
        source="",
    )


def later_part(scene: Scenario, first: int) -> Scenario:
    """The same scene from step `first` on, around somebody who is there then.

    The ego stays who it is where it is there from the new beginning to the step after the new current one. Elsewhere
    the vehicle that stays longest of those that are becomes the ego; of equal ones, that with the longest path. Nobody
    is the opponent. Whoever is never there any more is left out.

    Args:
        scene: The whole scene.
        first: Step that becomes step 0.

    Raises:
        ScenarioError: No vehicle is there from the new beginning to the new current step, so that none can be the ego.
    """
    valid = scene.valid[:, first:]
    here = np.flatnonzero(valid.any(1))
    able = np.flatnonzero(valid[:, : CURRENT_STEP + 2].all(1) & (scene.kinds == Kind.VEHICLE))
    # A scene ends with the last one who is there, which may be earlier.
    if valid.shape[1] < CURRENT_STEP + 2 or not len(able):
        raise ScenarioError(
            f"scene {scene.id}: no vehicle is there from step {first} to step {first + CURRENT_STEP + 1}, so that none "
            "can be the ego of what is exported. Expected traffic that goes on; use another warm-up or a higher inflow."
        )
    moves = np.hypot(*np.moveaxis(np.diff(scene.position[able, first:, :2], axis=1), -1, 0))
    moves[~(valid[able, 1:] & valid[able, :-1])] = 0.0
    stay = np.where(valid[able].all(1), valid.shape[1], valid[able].argmin(1))
    best = able[np.lexsort((moves.sum(1), stay))[-1]]
    ego = scene.ego if scene.ego in able else int(best)
    return replace(
        scene,
        agent_ids=tuple(scene.agent_ids[agent] for agent in here),
        kinds=scene.kinds[here],
        **{name: getattr(scene, name)[here, first:] for name in ("position", "heading", "velocity", "size", "valid")},
        ego=int(np.searchsorted(here, ego)),
        opponent=None,
        objects_of_interest=(),
        lights=_picked(scene.lights, scene.num_steps, np.arange(first, scene.num_steps)),
        metadata={**scene.metadata, "ts": np.arange(scene.num_steps - first) * scene.dt},
    )


def _picked(value: Any, rows: int, steps: NDArray[np.intp]) -> Any:
    """A part of a light: of every series of `rows` steps those that are named, in their order."""
    if isinstance(value, Mapping):
        return {key: _picked(item, rows, steps) for key, item in value.items()}
    if isinstance(value, np.ndarray) and value.ndim and len(value) == rows:
        return value[steps]
    if isinstance(value, list | tuple) and len(value) == rows:
        return [value[step] for step in steps]
    return value
