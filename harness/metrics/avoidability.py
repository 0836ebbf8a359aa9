"""Could the ego have avoided the contact? A bounded, deterministic search over what its vehicle can do.

From every step since the attack became visible, the ego may leave its recorded trajectory. All departures are searched
together, as one beam over a lattice of longitudinal accelerations and steerings: bicycle model, limited jerk, steering
rate and friction (`vehicle_model`), everyone else moving exactly as recorded. A departure succeeds if the ego touches
nobody and no road edge until some time after the recorded contact. Departing later implies that departing earlier was
possible (follow the recording until then), so the answer is monotone in time by construction.

`avoidable` is proven by a witness. `not avoidable` means that the search, whose resolution is stated in `Search`, found
none: it is a statement about the lattice. Nobody reacts to the ego's manoeuvre, and drivers need time to react: this
bounds any driver from above; `competent_driver` is the human measure.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.errors import ConfigError
from harness.interfaces import Trajectory
from harness.metrics.obstacles import Obstacles, build_obstacles
from harness.metrics.vehicle_model import (
    EgoLimits,
    VehicleStates,
    advance,
    curvature_bound,
    from_recording,
    join,
    poses,
)
from harness.metrics.visibility import visible_step

__all__ = ["Avoidability", "Search", "avoidability", "visible_step"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

HOLD: Final = np.nan
"""Steering entry that keeps the present curvature (how a bend is followed)."""

ACTIONS: Final = (
    *((-1.0, steering) for steering in (0.0, HOLD)),
    *((-0.75, steering) for steering in (-1.0, 1.0)),
    *((-0.4, steering) for steering in (-1.0, -0.4, HOLD, 0.4, 1.0)),
    *((0.0, steering) for steering in (-1.0, -0.4, 0.0, HOLD, 0.4, 1.0)),
    *((1.0, steering) for steering in (-1.0, -0.4, 0.0, HOLD, 0.4, 1.0)),
)
"""Controls tried at every decision: acceleration as share of full braking (negative) or full drive (positive), steering
as share of the largest curvature that this acceleration leaves possible (full braking leaves none)."""
SETTLING: Final = tuple(row for row, action in enumerate(ACTIONS) if action[0] in (-1.0, 0.0) and action[1] is HOLD)
"""Rows of `ACTIONS` that must do after the last decision."""
COARSE: Final = 4.0
"""Cells of the beam's spread, as multiples of the fine cells."""
_NONE: Final = np.zeros(0, dtype=np.intp)
_SHARES: Final = np.array(ACTIONS)
_ALL: Final = np.arange(len(ACTIONS))
_SETTLE: Final = np.array(SETTLING)


@dataclass(frozen=True, slots=True)
class Search:
    """Extent and resolution of the search.

    Attributes:
        limits: What the vehicle can do.
        after: Time after the recorded contact until which the ego may act and must stay clear, s.
        settle: Time after that during which it must still stay clear, holding its steering and either braking fully or
            keeping its speed, s: a contact that is merely put off is not avoided.
        hold: Steps for which a control is held.
        beam: States kept from one decision to the next.
        position, heading, speed: Size of the cells (m, rad, m/s) in which one state stands for all.
    """

    limits: EgoLimits = field(default_factory=EgoLimits)
    after: float = 1.5
    settle: float = 2.5
    hold: int = 3
    beam: int = 300
    position: float = 0.3
    heading: float = 0.06
    speed: float = 0.5


@dataclass(frozen=True, slots=True)
class Avoidability:
    """Whether and until when a contact could have been avoided.

    Attributes:
        avoidable: Whether a manoeuvre that begins at or after `visible_step` avoids it.
        visible_step: First step at which the ego could act.
        contact_step: The recorded contact.
        unavoidable_from_step: First step from which no manoeuvre was found any more; None if there was none at all.
        seconds_before_impact: From that step to the contact, s; None if there was none at all.
        witness: [n, 5] states of the latest successful manoeuvre; row 0 is the recorded state at `witness_step`.
        witness_step: Absolute step of its first row (the last step at which the contact was avoidable).
        manoeuvre: The witness in words; empty without one.
    """

    avoidable: bool
    visible_step: int
    contact_step: int
    unavoidable_from_step: int | None
    seconds_before_impact: float | None
    witness: Floats | None
    witness_step: int | None
    manoeuvre: str

    def time_to_react(self, dt: float) -> float | None:
        """How long a driver may do nothing new once the contact is visible, s; None if nothing avoids it."""
        return None if self.witness_step is None else (self.witness_step - self.visible_step) * dt


def avoidability(
    ego: Trajectory,
    ego_size: ArrayLike,
    others: Floats,
    others_valid: Bools,
    other_sizes: ArrayLike,
    contact_step: int,
    visible_step: int,
    dt: float = 0.1,
    edges: Floats | None = None,
    search: Search | None = None,
    latest: bool = True,
) -> Avoidability:
    """Whether any feasible ego motion from `visible_step` on avoids the contact at `contact_step`.

    Args:
        ego: What the ego did; valid from `visible_step` to `contact_step - 1`.
        ego_size: [2] length and width, m.
        others: [A, T, 5] what everyone else truly did (the ego left out); where the recording ends they are carried on
            at constant velocity. Give the opponent's whole plan where it is known.
        others_valid: [A, T].
        other_sizes: [A, 2], m.
        contact_step: First step at which the ego touched somebody.
        visible_step: First step at which the ego could know (`visible_step`).
        dt: s.
        edges: Road edges [S, 2, 2] that must not be crossed, or None.
        search: Extent and resolution.
        latest: Whether the latest departure is sought; without it the first one found stands, and takes less time.

    Raises:
        ConfigError: The ego is not valid where it must be.
    """
    search = search or Search()
    first = max(int(visible_step), 0)
    if contact_step >= len(ego.valid) or not ego.valid[first:contact_step].all():
        raise ConfigError(f"avoidability: the ego must be valid in steps {first} to {contact_step - 1}.")
    if first >= contact_step:
        return Avoidability(False, first, contact_step, None, None, None, None, "")
    problem = _problem(ego, ego_size, others, others_valid, other_sizes, (first, contact_step), dt, edges, search)
    # A short search near the contact usually succeeds and saves the long one. Nothing is called unavoidable before a
    # search in cells of half the size has failed, too.
    near = max(first, contact_step - round(2.0 / dt))
    best = (_sweep(problem, near) if near > first else None) or _sweep(problem, first)
    if best is None:
        problem = problem._replace(search=_finer(search))
        best = _sweep(problem, first)
    found = best if latest else None
    while found is not None:
        best = found
        found = _sweep(problem, best.step + 1) if best.step + 1 < contact_step else None
    if best is None:
        return Avoidability(False, first, contact_step, None, None, None, None, "")
    witness = _witness(problem, best)
    lost = best.step + 1
    return Avoidability(
        True, first, contact_step, lost, (contact_step - lost) * dt, witness, best.step, _in_words(witness, dt)
    )


# ---- the search


def _finer(search: Search) -> Search:
    """Cells of half the size, and twice as many states."""
    halves = {name: getattr(search, name) / 2 for name in ("position", "heading", "speed")}
    return replace(search, beam=2 * search.beam, **halves)


class _Problem(NamedTuple):
    recorded: VehicleStates  # rows from `first` to `contact - 1`
    first: int
    contact: int
    horizon: int
    end: int
    base: float
    dt: float
    obstacles: Obstacles
    search: Search


class _Escape(NamedTuple):
    step: int
    actions: tuple[tuple[int, int], ...]  # (absolute step, row of `ACTIONS`), in order of time


class _Particles(NamedTuple):
    motion: VehicleStates
    targets: Floats  # [N, 2] acceleration (m/s²) and curvature (1/m)
    birth: Ints  # step at which they left the recording
    node: Ints  # in the tree of decisions

    def take(self, index: Ints | Bools) -> _Particles:
        return _Particles(self.motion.take(index), self.targets[index], self.birth[index], self.node[index])


class _Tree:
    """Decisions and what they followed from, to read a winner's manoeuvre back."""

    def __init__(self) -> None:
        self.blocks: list[tuple[int, Ints, Ints]] = []
        self.starts = [0]

    def add(self, step: int, parents: Ints, actions: Ints) -> Ints:
        """Nodes for new decisions."""
        begin = self.starts[-1]
        self.blocks.append((step, parents, actions))
        self.starts.append(begin + len(parents))
        return np.arange(begin, begin + len(parents))

    def manoeuvre(self, node: int) -> tuple[tuple[int, int], ...]:
        """(step, action) pairs that lead to a node, in order of time."""
        found = []
        while node >= 0:
            block = int(np.searchsorted(self.starts, node, side="right")) - 1
            step, parents, actions = self.blocks[block]
            row = node - self.starts[block]
            found.append((step, int(actions[row])))
            node = int(parents[row])
        return tuple(reversed(found))


def _problem(
    ego: Trajectory,
    ego_size: ArrayLike,
    others: Floats,
    others_valid: Bools,
    other_sizes: ArrayLike,
    window: tuple[int, int],
    dt: float,
    edges: Floats | None,
    search: Search,
) -> _Problem:
    first, contact = window
    size = np.asarray(ego_size, dtype=np.float64)
    length, horizon = float(size[0]), contact + round(search.after / dt)
    # One row more, where there is one, gives the first acceleration and yaw rate.
    begin = first - 1 if first > 0 and ego.valid[first - 1] else first
    recorded = from_recording(ego.states[begin:contact], length, dt, search.limits)
    recorded = recorded.take(np.arange(first - begin, contact - begin))
    end = horizon + round(search.settle / dt)
    ahead = (end - first) * dt
    travel = np.hypot(*np.diff(ego.states[first:contact, :2], axis=0).T).sum()
    beyond = max(float(recorded.speed.max()) * ahead + search.limits.drive * ahead**2 / 2 - travel, 0.0)
    sizes = np.asarray(other_sizes, dtype=np.float64).reshape(-1, 2)
    obstacles = build_obstacles(
        ego.states, size, others, others_valid, sizes, window, end + 1, dt, edges, beyond + 2 * length
    )
    base = search.limits.wheelbase * length
    return _Problem(recorded, first, contact, horizon, end, base, dt, obstacles, search)


def _sweep(problem: _Problem, begin: int) -> _Escape | None:
    """The latest departure at or after `begin` that the beam finds, or None."""
    tree, search = _Tree(), problem.search
    live = _branch(problem, tree, problem.recorded.take(_NONE), _NONE, _NONE, begin, _ALL)
    for step in range(begin, problem.end):
        acting = step < problem.horizon
        if (acting and (step - begin) % search.hold == 0) or step == problem.horizon:
            live = live.take(_thin(live, search))
            live = _branch(problem, tree, live.motion, live.birth, live.node, step, _ALL if acting else _SETTLE)
        if step < problem.contact:
            here = problem.recorded.take(np.array([step - problem.first]))
            live = _joined(live, _branch(problem, tree, here, np.array([step]), np.array([-1]), step, _ALL))
        elif len(live.birth) == 0:
            return None
        live = live._replace(motion=_moved(problem, live.motion, live.targets))
        live = live.take(~problem.obstacles.hit(poses(live.motion), step + 1))
    if len(live.birth) == 0:
        return None
    winner = int(live.birth.argmax())
    return _Escape(int(live.birth[winner]), tree.manoeuvre(int(live.node[winner])))


def _branch(
    problem: _Problem, tree: _Tree, motion: VehicleStates, birth: Ints, node: Ints, step: int, actions: Ints
) -> _Particles:
    """Every one of `actions` from every state."""
    count = len(birth)
    owner, rows = np.repeat(np.arange(count), len(actions)), np.tile(actions, count)
    motion = motion.take(owner)
    targets = _targets(problem, motion, rows)
    return _Particles(motion, targets, birth[owner], tree.add(step, node[owner], rows))


def _targets(problem: _Problem, motion: VehicleStates, rows: Ints) -> Floats:
    """Acceleration (m/s²) and curvature (1/m) [N, 2] that the actions ask for."""
    limits, share = problem.search.limits, _SHARES[rows]
    acceleration = share[:, 0] * np.where(share[:, 0] < 0, limits.friction, limits.drive)
    bound = curvature_bound(motion.speed, acceleration, problem.base, limits)
    curvature = np.where(np.isnan(share[:, 1]), motion.curvature, share[:, 1] * bound)
    return np.stack([acceleration, curvature], -1)


def _moved(problem: _Problem, motion: VehicleStates, targets: Floats) -> VehicleStates:
    return advance(motion, targets[:, 0], targets[:, 1], problem.base, problem.dt, problem.search.limits)


def _joined(a: _Particles, b: _Particles) -> _Particles:
    return _Particles(
        join([a.motion, b.motion]),
        np.concatenate([a.targets, b.targets]),
        np.concatenate([a.birth, b.birth]),
        np.concatenate([a.node, b.node]),
    )


def _thin(live: _Particles, search: Search) -> Ints:
    """Which states to go on with: one per cell, the latest departure first, then spread over coarser cells."""
    if len(live.birth) == 0:
        return _NONE
    motion = live.motion
    fine = np.stack(
        [
            motion.x / search.position,
            motion.y / search.position,
            motion.heading / search.heading,
            motion.speed / search.speed,
        ]
    )
    order = np.argsort(-live.birth, kind="stable")
    _, first = np.unique(_cells(fine[:, order]), return_index=True)
    kept = order[np.sort(first)]
    if len(kept) <= search.beam:
        return kept
    coarse = _cells(fine[:, kept] / COARSE)
    by_cell = np.argsort(coarse, kind="stable")
    _, begins, sizes = np.unique(coarse[by_cell], return_index=True, return_counts=True)
    rank = np.empty(len(kept), dtype=int)
    rank[by_cell] = np.arange(len(kept)) - np.repeat(begins, sizes)
    return kept[np.argsort(rank, kind="stable")[: search.beam]]


def _cells(values: Floats) -> Ints:
    """One number per column of `values` [D, N]: equal exactly where all rounded values are."""
    rows = np.floor(values).astype(np.int64)
    rows -= rows.min(1, keepdims=True)
    key = rows[0]
    for row in rows[1:]:
        key = key * (int(row.max()) + 1) + row
    return key


def _witness(problem: _Problem, escape: _Escape) -> Floats:
    """The states [n, 5] of a manoeuvre, from the recorded state at its first step to the end."""
    motion = problem.recorded.take(np.array([escape.step - problem.first]))
    decisions = dict(escape.actions)
    rows, targets = [_state(motion)], np.zeros((1, 2))
    for step in range(escape.step, problem.end):
        if step in decisions:
            targets = _targets(problem, motion, np.array([decisions[step]]))
        motion = _moved(problem, motion, targets)
        rows.append(_state(motion))
    return np.stack(rows)


def _state(motion: VehicleStates) -> Floats:
    speed, heading = float(motion.speed[0]), float(motion.heading[0])
    return np.array([motion.x[0], motion.y[0], heading, speed * np.cos(heading), speed * np.sin(heading)])


def _in_words(witness: Floats, dt: float) -> str:
    """What a manoeuvre does, relative to driving on straight at its first speed."""
    start = witness[0]
    speed = np.hypot(witness[:, 3], witness[:, 4])
    rate = np.diff(speed) / dt
    cos, sin = np.cos(start[2]), np.sin(start[2])
    offset = witness[:, :2] - start[:2]
    across = cos * offset[:, 1] - sin * offset[:, 0]
    parts = []
    if rate.min() < -1.0:
        parts.append(f"brakes at up to {-rate.min():.1f} m/s² to {speed.min():.1f} m/s")
    if rate.max() > 1.0:
        parts.append(f"accelerates to {speed.max():.1f} m/s")
    far = across[np.abs(across).argmax()]
    if abs(far) > 0.5:
        parts.append(f"moves {abs(far):.1f} m to the {'left' if far > 0 else 'right'}")
    return ", ".join(parts) or "drives on"
