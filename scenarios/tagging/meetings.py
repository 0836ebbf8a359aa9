"""How a vehicle meets the ego: by the headings where the two are nearest to a conflict, and by who came from where."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from harness.geometry import arc_lengths, box_reach, interpolate_polyline, project_to_polyline, quarter_turn, wrap_angle
from scenarios.opponents import CLOSING_SPEED, NEAR

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BEYOND: Final = 20.0
"""The ego's path goes straight on by so much at both ends, m: there others are ahead of it or behind it, too."""
STEP: Final = 1.0
"""Points of the ego's path lie at least so far apart, m: at rest it has no direction."""
SHARED_S: Final = 0.5
"""Who is in the ego's path for so long, s, and heads along it, shares it."""
WAYS: Final = ("parallel", "crossing", "oncoming", "crossing")
"""What others do, by quarter turns between the headings where the two are nearest to a conflict."""
BEFORE_S: Final = 2.0
"""How long before a vehicle enters the ego's path its heading is compared with that of the path, as far back, s."""
CHANGING_S: Final = 3.0
"""Who comes into the ego's path at a place where the ego changes lanes, within so long, did not cut in, s."""
PASSING_S: Final = 3.0
"""People meet the ego where both pass one place within so long, s."""
AHEAD_S: Final = 3.0
"""Whoever is ahead of the ego by no more than this, s, is followed."""


class Motion(NamedTuple):
    """A vehicle over T steps.

    Attributes:
        states: [T, 5] x, y, heading, vx, vy (m, rad, m/s).
        valid: [T].
        size: Length and width, m.
    """

    states: Floats
    valid: Bools
    size: tuple[float, float]


class OnPath(NamedTuple):
    """Where others are with respect to a path; each field [...].

    Attributes:
        along: Arc length of the foot point, m.
        aside: Distance from the path, m; infinite beyond its ends.
        turn: Heading minus the path's direction, rad.
    """

    along: Floats
    aside: Floats
    turn: Floats


def driven_path(ego: Motion) -> Floats:
    """The line that the ego's centre follows, [N, 2] m, with `BEYOND` m straight on at both ends."""
    states = ego.states[ego.valid]
    places = [states[0, :2]]
    for place in states[1:, :2]:
        if np.hypot(*(place - places[-1])) >= STEP:
            places.append(place)
    line = np.array(places)
    first, last = (_direction(states[row, 2]) for row in (0, -1))
    return np.concatenate([line[:1] - BEYOND * first, line, line[-1:] + BEYOND * last])


def on_path(line: Floats, states: Floats) -> OnPath:
    """Where vehicles [..., 5] are with respect to a path [N, 2]."""
    along, offset, segment = project_to_polyline(states[..., :2], line)
    total = arc_lengths(line)[-1]
    within = (along > 0.0) & (along < total)
    delta = np.diff(line, axis=0)
    heading = np.arctan2(delta[:, 1], delta[:, 0])[segment]
    return OnPath(along, np.where(within, np.abs(offset), np.inf), wrap_angle(states[..., 2] - heading))


def nearest_to_conflict(ego: Motion, other: Motion, start: int, dt: float) -> tuple[int, int] | None:
    """Steps of the ego and of the other, from `start` on, at which the two are nearest to a conflict, or None.

    As in `scenarios.opponents.conflict`: the time between the two steps, plus the clearance of the places beyond 2.5 m
    at 5 m/s. Of equals, the first step of the ego counts.
    """
    mine, theirs = (np.flatnonzero(motion.valid[start:]) + start for motion in (ego, other))
    if len(mine) == 0 or len(theirs) == 0:
        return None
    gap = ego.states[mine, None, :2] - other.states[None, theirs, :2]
    clearance = np.maximum(np.hypot(gap[..., 0], gap[..., 1]) - NEAR, 0.0)
    score = np.abs(mine[:, None] - theirs[None]) * dt + clearance / CLOSING_SPEED
    row, column = np.unravel_index(score.argmin(), score.shape)
    return int(mine[row]), int(theirs[column])


def meeting(
    ego: Motion, other: Motion, steps: tuple[int, int], dt: float, changes: ArrayLike = (), contact: int | None = None
) -> str:
    """How a vehicle meets the ego, one of `vocabulary.MEETINGS`.

    Args:
        ego, other: Both over the same T steps, each valid at its step of `steps`.
        steps: Steps of the ego and of the other at which the two are nearest to a conflict.
        dt: Time between steps, s.
        changes: Steps at which the ego has changed lanes.
        contact: Step at which the two touch, or None; later steps do not count. Who heads the same way then is in the
            ego's path.
    """
    line = driven_path(ego)
    rows = np.flatnonzero(other.valid[: None if contact is None else contact + 1])
    place = on_path(line, other.states[rows])
    _, across = box_reach(place.turn, *(np.full(len(rows), side / 2) for side in other.size))
    inside = (place.aside <= ego.size[1] / 2 + across) & (quarter_turn(place.turn) == 0)
    way = int(quarter_turn(other.states[steps[1], 2] - ego.states[steps[0], 2]))
    inside[-1] |= contact is not None and way == 0
    touched = contact is not None and bool(inside[-1])
    if inside.sum() < round(SHARED_S / dt) and not touched:
        return WAYS[way]
    last = int(np.flatnonzero(inside)[-1])
    outside = np.flatnonzero(~inside[:last])
    if len(outside) == 0:
        return "rear-end"
    entered = int(outside[-1]) + 1
    before = int(np.searchsorted(rows, rows[entered] - round(BEFORE_S / dt)))
    travelled = np.hypot(*np.diff(other.states[rows[before : entered + 1], :2], axis=0).T).sum()
    _, direction = interpolate_polyline(line, np.asarray(place.along[entered] - travelled))
    if quarter_turn(other.states[rows[before], 2] - direction) != 0:
        return "merging"
    step = int(rows[entered])
    own = project_to_polyline(ego.states[ego.valid, :2], line)[0]
    there = np.flatnonzero(ego.valid)[np.abs(own - place.along[entered]).argmin()]
    moved = (np.abs(np.asarray(changes, dtype=np.intp) - there) <= round(CHANGING_S / dt)).any()
    now = own[np.abs(np.flatnonzero(ego.valid) - step).argmin()]
    behind = place.along[entered] < now - ego.size[0] / 2
    return "rear-end" if behind or moved else "cut-in"


def passers(ego: Motion, places: Floats, valid: Bools, dt: float) -> Bools:
    """Who comes within 2.5 m of a place where the ego is at most `PASSING_S` earlier or later, [K].

    Args:
        ego: The ego over T steps.
        places: [K, T, 2] of others, m.
        valid: [K, T].
        dt: Time between steps, s.
    """
    found = np.zeros(len(places), dtype=np.bool_)
    own = np.flatnonzero(ego.valid)
    who, when = np.nonzero(valid)
    nearest, _ = cKDTree(ego.states[own, :2]).query(places[who, when], distance_upper_bound=NEAR)
    close = nearest <= NEAR  # Few are: only for them it is asked when the ego was there.
    who, when = who[close], when[close]
    gap = places[who, when, None] - ego.states[own, :2]
    timely = np.abs(when[:, None] - own) * dt <= PASSING_S + 1e-9
    found[who[(timely & (np.hypot(gap[..., 0], gap[..., 1]) <= NEAR)).any(-1)]] = True
    return found


def follows(ego: Motion, others: Floats, valid: Bools, widths: Floats, line: Floats) -> Bools:
    """At which steps the ego has somebody ahead in its path, at most `AHEAD_S` away and heading the same way, [T].

    Args:
        ego: The ego over T steps.
        others: [K, T, 5] of vehicles.
        valid: [K, T].
        widths: [K, T] of their boxes, m.
        line: The ego's path, as `driven_path` gives it.
    """
    own = on_path(line, ego.states)
    place = on_path(line, others)
    gap = place.along - own.along
    speed = np.hypot(ego.states[:, 3], ego.states[:, 4])
    near = (gap > 0.0) & (gap <= AHEAD_S * speed)
    inside = (place.aside <= (ego.size[1] + widths) / 2) & (quarter_turn(place.turn) == 0)
    return np.asarray((near & inside & valid).any(0) & ego.valid)


def _direction(heading: float) -> Floats:
    return np.array([np.cos(heading), np.sin(heading)])
