"""Labels from logs: who enters and leaves at every decision, and how far the log can tell why.

A track that begins in the midst of a scene is an arrival (a car leaves a garage) or was hidden before. Logs do not say
which. What they can tell is told apart (`Passage`): whoever was seen outside before, or appears at the border of what
is observed, has come; whoever stands where it first appears was there; and somebody in whose line of sight another
agent stood a step before was hidden by it. Houses, hedges and trees are in no log: who appears from behind one is
`UNKNOWN`, as is who truly comes out of a garage. Where the observer is not the sensor (cameras on masts, a drone,
generated scenes) there is no line of sight, and `HIDDEN` is never given.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.geometry import segments_cross_boxes
from harness.traffic.tokens.layout import END, GRID_RADIUS, layout_tokens
from harness.traffic.tokens.shapes import TOKEN_KINDS, TOKEN_STEPS, token_kinds
from harness.traffic.tokens.tracks import clean_tracks
from scenarios.scenario import Kind, Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

BORDER: Final = 10.0
"""Who appears or vanishes within this of the border of what is observed comes or goes there, m: .5 s at 20 m/s."""
STANDING_SPEED: Final = 0.5
"""Who is slower than this stands, m/s."""


class Passage(IntEnum):
    """How somebody enters; read backwards in time, how somebody leaves."""

    DROVE = 0
    """It was seen on the other side of the border at the decision before (after)."""
    BORDER = 1
    """Its track begins (ends) near the border."""
    HIDDEN = 2
    """Its track begins (ends) inside, moving; another agent stood between it and the observer a step before (after)."""
    STANDING = 3
    """Its track begins (ends) inside, while it stands: it had been (stays) there, unseen."""
    UNKNOWN = 4
    """Its track begins (ends) inside, moving, and nothing in the log hides it."""


@dataclass(frozen=True, slots=True, eq=False)
class ObservedTraffic:
    """A log around an observer. A agents, T steps of 0.1 s.

    Attributes:
        poses: [A, T, 3] x, y (m), heading (rad), world; anything where invalid.
        velocity: [A, T, 2] m/s, world.
        valid: [A, T]; gaps within tracks filled, else they count as leaving and entering.
        sizes: [A, 2] length and width, m.
        kinds: [A] token kinds.
        observer: [T, 3] pose of the ego, or of a fixed place.
        first: [A] step at which each was first seen; before it, tracks are continued back to a decision. 0 for never.
        own: Row of the observer, who neither enters nor leaves nor hides anybody; None where it is no agent.
        sees: Whether the observer is where the sensor is.
        area: [P, 2] polygon of what is observed, world, m; None for everything within the grid's radius.
    """

    poses: Floats
    velocity: Floats
    valid: Bools
    sizes: Floats
    kinds: Ints
    observer: Floats
    first: Ints
    own: int | None = None
    sees: bool = True
    area: Floats | None = None

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises:
            ConfigError: They do not belong together, or are too short for a decision.
        """
        agents, steps = self.valid.shape
        expected = {
            "poses": (agents, steps, 3),
            "velocity": (agents, steps, 2),
            "sizes": (agents, 2),
            "kinds": (agents,),
            "observer": (steps, 3),
            "first": (agents,),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ConfigError(f"ObservedTraffic: {name} has the shape {getattr(self, name).shape}, not {shape}.")
        if steps <= TOKEN_STEPS:
            raise ConfigError(f"ObservedTraffic: {steps} steps; a decision needs more than {TOKEN_STEPS}.")


@dataclass(frozen=True, slots=True, eq=False)
class PopulationLabels:
    """S newcomers (or leavers) of a log. Decision n is at step 5n.

    Newcomers are in the order in which they are to be generated: by decision, then by distance from the observer.

    Attributes:
        decision: [S] the first decision at which a newcomer is there, from 1 on; of a leaver, the last one.
        agent: [S] row.
        kind: [S] type token.
        grid, yaw: [S] layout tokens then, in the observer's frame of that decision.
        passage: [S] `Passage`.
        there: [A, N + 1] who is there at every decision.
    """

    decision: Ints
    agent: Ints
    kind: Ints
    grid: Ints
    yaw: Ints
    passage: Ints
    there: Bools

    def sequence(self, decision: int) -> Ints:
        """What is to be generated at a decision: type, grid and yaw of each newcomer, then `END`: [3J + 1]."""
        rows = np.flatnonzero(self.decision == decision)
        tokens = np.stack([self.kind[rows], self.grid[rows], self.yaw[rows]], -1).reshape(-1)
        return np.concatenate([tokens, [END]]).astype(np.int64)


def observed_traffic(
    scenario: Scenario, observer: Floats | None = None, *, sees: bool = True, area: Floats | None = None
) -> ObservedTraffic:
    """The log of a scene around its ego or a fixed place, tracks made ready as for tokens (`clean_tracks`).

    Args:
        scenario: At 10 Hz. Vehicles, pedestrians and cyclists count.
        observer: [3] world pose (m, rad) of a fixed observer, among whose traffic the ego is one as others are; None
            for the ego, which waits where it was seen last while the log has lost it.
        sees: Whether a sensor is where the observer is.
        area: [P, 2] polygon of what is observed, world, m.
    """
    agents = np.arange(scenario.num_agents)
    tracks = clean_tracks(scenario, agents)
    first = np.where(scenario.valid.any(1), scenario.valid.argmax(1), 0)
    steps = np.maximum(np.arange(scenario.num_steps), first[:, None])
    road_users = scenario.kinds <= Kind.CYCLIST
    where = np.asarray(observer, dtype=np.float64) if observer is not None else ego_states(scenario)[:, :3]
    return ObservedTraffic(
        poses=tracks.poses,
        velocity=np.take_along_axis(scenario.velocity, steps[..., None], 1),
        valid=tracks.valid & road_users[:, None],
        sizes=np.array([scenario.box(agent) for agent in range(scenario.num_agents)]).reshape(-1, 2),
        kinds=token_kinds(scenario.kinds),
        observer=np.broadcast_to(where, (scenario.num_steps, 3)),
        first=first,
        own=scenario.ego if observer is None else None,
        sees=sees,
        area=area,
    )


def ego_states(scenario: Scenario) -> Floats:
    """States [T, STATE] of the ego, world frame; while it is not there those of where it was seen last."""
    valid = scenario.valid[scenario.ego]
    seen = np.maximum.accumulate(np.where(valid, np.arange(len(valid)), int(valid.argmax())))
    return scenario.states(scenario.ego)[seen]


def arrivals(log: ObservedTraffic) -> PopulationLabels:
    """Who enters at every decision."""
    inside, border = _inside(log)
    there = inside[:, ::TOKEN_STEPS]
    agent, before = np.nonzero(there[:, 1:] & ~there[:, :-1])
    return _labels(log, border, there, agent, before, backwards=False)


def departures(log: ObservedTraffic) -> PopulationLabels:
    """Who leaves after every decision; who is there at the last one is not known to leave."""
    inside, border = _inside(log)
    there = inside[:, ::TOKEN_STEPS]
    agent, last = np.nonzero(there[:, :-1] & ~there[:, 1:])
    return _labels(log, border, there, agent, last, backwards=True)


def median_sizes(sizes: Floats, kinds: Ints) -> Floats:
    """Sizes [3, 3] of newcomers: median length, width and height (m) of each kind; NaN for one that never occurs.

    Args:
        sizes: [S, 3] of agents of the training data, m.
        kinds: [S] token kinds.
    """
    result = np.full((TOKEN_KINDS, 3), np.nan)
    for kind in range(TOKEN_KINDS):
        if (kinds == kind).any():
            result[kind] = np.median(sizes[kinds == kind], axis=0)
    return result


def border_distances(places: Floats, valid: Bools, observer: Floats, area: Floats | None = None) -> Floats:
    """How far agents are from the border of what is observed, m: negative beyond it, NaN where invalid. [A, T].

    Args:
        places: [A, T, 2] world, m; anything where invalid.
        valid: [A, T].
        observer: [T, 2+] world, m: what is farther than the grid's radius is not observed.
        area: [P, 2] polygon of what is observed, world, m; None for no other limit.
    """
    known = np.where(valid[..., None], places, np.nan)
    border = GRID_RADIUS - np.hypot(*np.moveaxis(known - observer[:, :2], -1, 0))
    if area is not None:
        polygon = shapely.Polygon(area)
        # Of long logs most agents are there for a short time: the others make no points.
        points = shapely.points(places[valid])
        away = shapely.distance(polygon.exterior, points)
        border[valid] = np.minimum(border[valid], np.where(shapely.contains_properly(polygon, points), away, -away))
    return np.asarray(border)


def _inside(log: ObservedTraffic) -> tuple[Bools, Floats]:
    """Who is there [A, T], and `border_distances`."""
    border = border_distances(log.poses[..., :2], log.valid, log.observer, log.area)
    there = log.valid & (border > 0)
    if log.own is not None:
        there[log.own] = False
    return there, border


def _labels(
    log: ObservedTraffic, border: Floats, there: Bools, agent: Ints, decision: Ints, *, backwards: bool
) -> PopulationLabels:
    """Labels of agents that are there after (backwards: at) a decision, and not at (after) it."""
    inner = decision if backwards else decision + 1
    step = inner * TOKEN_STEPS
    pose, observer = log.poses[agent, step], log.observer[step]
    tokens = layout_tokens(pose, observer)
    passage = _passages(log, border, agent, decision * TOKEN_STEPS, backwards=backwards)
    order = np.lexsort((np.hypot(*(pose - observer)[:, :2].T), inner))
    return PopulationLabels(
        decision=inner[order].astype(np.int64),
        agent=agent[order].astype(np.int64),
        kind=log.kinds[agent][order].astype(np.int64),
        grid=tokens.grid[order],
        yaw=tokens.yaw[order],
        passage=passage[order],
        there=there,
    )


def _passages(log: ObservedTraffic, border: Floats, agents: Ints, starts: Ints, *, backwards: bool) -> Ints:
    """`Passage` of each agent between the decision at a step and the next one."""
    found = np.full(len(agents), Passage.UNKNOWN, dtype=np.int64)
    for row, (agent, start) in enumerate(zip(agents.tolist(), starts.tolist(), strict=True)):
        outer = start + TOKEN_STEPS if backwards else start
        if log.valid[agent, outer]:
            found[row] = Passage.DROVE
            continue
        seen = start + np.flatnonzero(log.valid[agent, start : start + TOKEN_STEPS + 1])
        at = seen[-1] if backwards else max(seen[0], log.first[agent])
        unseen = at + 1 if backwards else at - 1
        if border[agent, at] < BORDER:
            found[row] = Passage.BORDER
        elif np.hypot(*log.velocity[agent, at]) < STANDING_SPEED:
            found[row] = Passage.STANDING
        elif log.sees and _hidden(log, agent, at, unseen):
            found[row] = Passage.HIDDEN
    return found


def _hidden(log: ObservedTraffic, agent: int, seen: int, unseen: int) -> bool:
    """Whether another agent's box stood between the observer and where an agent must have been a step off its track."""
    place = log.poses[agent, seen, :2] + (unseen - seen) * 0.1 * log.velocity[agent, seen]
    others = log.valid[:, unseen].copy()
    others[[agent] if log.own is None else [agent, log.own]] = False
    poses, sizes = log.poses[others, unseen], log.sizes[others]
    if len(poses) == 0:
        return False
    eye = np.broadcast_to(log.observer[unseen, :2], (len(poses), 2))
    return bool(segments_cross_boxes(eye, np.broadcast_to(place, eye.shape), poses, sizes).any())
