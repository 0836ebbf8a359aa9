"""All tags of a scene, by the rules of `scenarios.tagging.vocabulary`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.geometry import interpolate_polyline, wrap_angle
from scenarios.opponents import path_lengths
from scenarios.scenario import CURRENT_STEP, Kind, Scenario
from scenarios.tagging.meetings import Motion, driven_path, follows, meeting, nearest_to_conflict, passers
from scenarios.tagging.roads import light_tags, road_tags, rule_tags
from scenarios.tagging.vocabulary import TAGS, SceneTags
from scenarios.tagging.way import Way, ego_way

Floats = NDArray[np.float64]

AROUND: Final = 50.0
"""Vehicles that near to the ego make the density, m."""
SPARSE: Final = 5.0
DENSE: Final = 15.0
"""Below the one traffic is sparse, from the other on dense."""
TURN: Final = np.radians(45.0)
U_TURN: Final = np.radians(135.0)
FAST: Final = 2.0
SLOW: Final = 0.5
"""Who falls from the one speed to the other stops, m/s."""
LOOK_S: Final = 0.5
"""Who is ahead of the ego is asked that often, s."""
BEND: Final = 5.0
"""Curvature is taken over so much of the path, m."""
PEOPLE: Final = {"pedestrian": Kind.PEDESTRIAN, "cyclist": Kind.CYCLIST}


def motion_of(scenario: Scenario, agent: int) -> Motion:
    """The recorded motion of an agent."""
    return Motion(scenario.states(agent), scenario.valid[agent], scenario.box(agent))


def tags_of(scenario: Scenario) -> SceneTags:
    """The tags of a scene that was read, checked, and given its opponent; none where the ego is never there."""
    ego = motion_of(scenario, scenario.ego)
    if not ego.valid.any():
        return SceneTags()
    line = driven_path(ego)
    way = ego_way(scenario, ego, line[1:-1])
    roads = road_tags(scenario, ego, way)
    lights = light_tags(scenario, way)
    numbers = quantities(scenario, ego, line)
    density = numbers["density"]
    found = {
        "road": roads,
        "traffic": ["sparse" if density < SPARSE else "moderate" if density < DENSE else "dense"],
        "manoeuvre": manoeuvres(ego, way, "curve" in roads),
        "type": _types(scenario, ego, way),
        "lights": lights,
        "rule": rule_tags(scenario, way, roads, bool(lights), _followed(scenario, ego, line)),
    }
    ordered = {tag.name: tuple(value for value in tag.values if value in found[tag.name]) for tag in TAGS}
    return SceneTags({name: values for name, values in ordered.items() if values}, numbers)


def manoeuvres(ego: Motion, way: Way, curve: bool) -> list[str]:
    """Values of the tag `manoeuvre`."""
    headings = np.unwrap(ego.states[ego.valid, 2])
    turn = float(headings[-1] - headings[0])
    found = []
    if abs(turn) >= U_TURN:
        found.append("u-turn")
    elif abs(turn) >= TURN and not curve:
        found.append("left-turn" if turn > 0 else "right-turn")
    if way.changes:
        found.append("lane-change")
    if not found:
        found.append("follow-lane")
    speed = _speeds(ego)
    fast, slow = speed > FAST, speed < SLOW
    if (slow & np.logical_or.accumulate(fast)).any():
        found.append("stop")
    if (fast & np.logical_or.accumulate(slow)).any():
        found.append("start")
    return found


def quantities(scenario: Scenario, ego: Motion, line: Floats) -> dict[str, float]:
    """Numbers of a scene by name; what is not known is missing."""
    speed, vehicle = _speeds(ego), scenario.kinds == Kind.VEHICLE
    found = {"speed": float(speed.mean()), "top_speed": float(speed.max())}
    if scenario.opponent is not None and scenario.valid[scenario.opponent].any():
        found["opponent_speed"] = float(_speeds(motion_of(scenario, scenario.opponent)).mean())
    others = vehicle & (np.arange(scenario.num_agents) != scenario.ego)
    gap = scenario.position[others, :, :2] - ego.states[:, :2]
    near = scenario.valid[others] & (np.hypot(gap[..., 0], gap[..., 1]) <= AROUND)
    found["density"] = float(near[:, ego.valid].sum(0).mean())
    found["curvature"] = _curvature(line[1:-1])
    found["path"] = float(path_lengths(scenario)[scenario.ego])
    found["vehicles"] = float(vehicle.sum())
    found["pedestrians"] = float((scenario.kinds == Kind.PEDESTRIAN).sum())
    found["cyclists"] = float((scenario.kinds == Kind.CYCLIST).sum())
    return found


def _types(scenario: Scenario, ego: Motion, way: Way) -> list[str]:
    """Values of the tag `type`."""
    found = []
    if scenario.opponent is not None and scenario.kinds[scenario.opponent] == Kind.VEHICLE:
        other = motion_of(scenario, scenario.opponent)
        start = min(CURRENT_STEP, scenario.num_steps - 1)
        steps = nearest_to_conflict(ego, other, start, scenario.dt)
        if steps is not None:
            found.append(meeting(ego, other, steps, scenario.dt, way.changes))
    places = ego.states[ego.valid, :2]
    low, high = places.min(0) - AROUND, places.max(0) + AROUND
    for name, kind in PEOPLE.items():
        who = np.flatnonzero((scenario.kinds == kind) & scenario.valid.any(1))
        own = scenario.opponent in who
        where, there = scenario.position[who, :, :2], scenario.valid[who]
        close = (there & ((where >= low) & (where <= high)).all(-1)).any(-1)
        if own or passers(ego, where[close], there[close], scenario.dt).any():
            found.append(name)
    return found


def _followed(scenario: Scenario, ego: Motion, line: Floats) -> bool:
    """Whether the ego has a vehicle ahead in its path, every half second looked at."""
    rows = np.arange(0, scenario.num_steps, max(round(LOOK_S / scenario.dt), 1))
    where, there = scenario.position[:, rows, :2], scenario.valid[:, rows]
    low, high = line.min(0), line.max(0)
    inside = ((where >= low) & (where <= high)).all(-1) & there & (scenario.kinds == Kind.VEHICLE)[:, None]
    inside[scenario.ego] = False
    who = np.flatnonzero(inside.any(1))
    if len(who) == 0:
        return False
    cut = np.ix_(who, rows)
    states = np.concatenate([where[who], scenario.heading[cut][..., None], scenario.velocity[cut]], axis=-1)
    own = Motion(ego.states[rows], ego.valid[rows], ego.size)
    return bool(follows(own, states, inside[who], scenario.size[cut][..., 1], line).any())


def _speeds(motion: Motion) -> Floats:
    """Speeds at valid steps, m/s."""
    return np.hypot(*motion.states[motion.valid, 3:5].T)


def _curvature(line: Floats) -> float:
    """Largest change of direction of a line [N, 2] over `BEND` m, per metre."""
    length = float(np.hypot(*np.diff(line, axis=0).T).sum()) if len(line) > 1 else 0.0
    if length < 2 * BEND:
        return 0.0
    points, _ = interpolate_polyline(line, np.arange(0.0, length, BEND))
    delta = np.diff(points, axis=0)
    turns = wrap_angle(np.diff(np.arctan2(delta[:, 1], delta[:, 0])))
    return float(np.abs(turns).max(initial=0.0) / BEND)
