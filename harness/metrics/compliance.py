"""Whether a trajectory respects the map and the other agents (F(τ, M) of SAGE, appendix B.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.metrics.collision import overlaps
from scenarios.map_index import has_road_edges
from scenarios.scenario import Kind, Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class EdgeIndex(Protocol):
    """The part of `scenarios.map_index.MapIndex` that is needed here."""

    def boxes_cross_edges(self, poses: Floats, size: tuple[float, float]) -> Bools:
        """Whether boxes at `poses` [..., 3] with one `size` (length, width; m) cross a road edge; [...]."""
        ...


def off_road_steps(index: EdgeIndex, states: Floats, valid: Bools, size: tuple[float, float], start: int = 0) -> Bools:
    """Steps at which the box crosses a road edge.

    Args:
        index: Road edges of the scene.
        states: [..., T, ≥3]; `valid` [..., T].
        valid: Steps that count.
        size: Length and width, m.
        start: First absolute step that counts.

    Returns:
        [..., T] bool; False at invalid steps and before `start`.
    """
    result = np.zeros(valid.shape, dtype=bool)
    considered = valid.copy()
    considered[..., :start] = False
    result[considered] = index.boxes_cross_edges(states[considered][:, :3], size)
    return result


def traffic_contact_steps(
    scenario: Scenario, states: Floats, valid: Bools, size: ArrayLike, ignore: tuple[int, ...], start: int = 0
) -> Bools:
    """Steps at which the box meets the logged track of any other agent.

    Args:
        scenario: The recorded scene.
        states: [..., T, ≥3] with T = `scenario.num_steps`; `valid` [..., T].
        valid: Steps that count.
        size: [2] length and width, m.
        ignore: Agents that do not count (the vehicle itself, and the ego where contact with it is the aim).
        start: First absolute step that counts.

    Returns:
        [..., T] bool.
    """
    others = [agent for agent in range(scenario.num_agents) if agent not in ignore and scenario.valid[agent].any()]
    if not others:
        return np.zeros(valid.shape, dtype=bool)
    poses = np.concatenate([scenario.position[others][:, :, :2], scenario.heading[others][:, :, None]], axis=-1)
    sizes = np.array([scenario.box(agent) for agent in others])
    meets = overlaps(states[..., None, :, :], valid[..., None, :], size, poses, scenario.valid[others], sizes, start)
    return np.asarray(meets.any(-2))


def map_checks(
    index: EdgeIndex,
    scenario: Scenario,
    agent: int,
    motion: tuple[Floats, Bools],
    start: int,
    *,
    mirrored: bool = False,
) -> tuple[bool | None, bool]:
    """Whether an agent leaves the road, and whether it meets anyone but the ego (as logged).

    The first is None where the map has no road edges: nobody can be said to stay on a road without an end. It is None
    for pedestrians and cyclists, too, who cross kerbs.

    Args:
        index: Road edges of the scene.
        scenario: The recorded scene.
        agent: Index of the agent.
        motion: States [T, ≥3] of the agent and `valid` [T], T = `scenario.num_steps`.
        start: First absolute step that counts.
        mirrored: Turn every box by minus its heading, as SAGE's evaluation script does.
    """
    states, valid = motion
    size, ignore = scenario.box(agent), (agent, scenario.ego)
    if mirrored:
        states, scenario = _mirrored(states), replace(scenario, heading=-scenario.heading)
    bound = scenario.kinds[agent] == Kind.VEHICLE and has_road_edges(scenario)
    off_road = bool(off_road_steps(index, states, valid, size, start).any()) if bound else None
    return off_road, bool(traffic_contact_steps(scenario, states, valid, size, ignore, start).any())


JUDGED_BY_EDGES: Final = "crossings, and what could have been avoided on the road,"
"""What of an episode rests on road edges."""


VULNERABLE_NOTE: Final = (
    "Opponents on foot and on bicycles: P_kin goes by the limits of their kind and cannot be compared with a "
    "vehicle's; P_beh of pedestrians, crossings of road edges and fault are not judged."
)
"""What tables say where the opponents are pedestrians and cyclists."""


def without_edges_note(without: int, total: int, what: str = "crossings") -> str:
    """Why dashes stand in a table, in one line; empty where every map has road edges.

    Args:
        without: Scenes whose map has no road edges.
        total: All scenes of the table.
        what: What cannot be judged there.
    """
    verb = "has" if without == 1 else "have"
    return f"{without} of {total} scenes {verb} no road edges: {what} cannot be judged there." if without else ""


def _mirrored(states: Floats) -> Floats:
    """States [..., ≥3] with headings negated."""
    turned = states.copy()
    turned[..., 2] *= -1.0
    return turned
