"""What SAGE asks of a trajectory: threat, realism, feasibility; batched over candidates.

Paper: Nie et al., "Steerable Adversarial Scenario Generation through Test-Time Preference Alignment", section 3.2 and
appendix B.2. R_adv (eq. 11), P_kin (eq. 12) and P_beh (eq. 13) themselves live in `harness.metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adversaries.common.candidates import Drawn
from adversaries.common.plans import EgoFutures
from harness.interfaces import HEADING
from harness.metrics.adversarial import adversarial_reward, encounter_reward
from harness.metrics.collision import overlaps
from harness.metrics.compliance import off_road_steps
from harness.metrics.meeting import meet
from harness.metrics.realism import behavioural_penalty, kinematic_penalty
from scenarios.map_index import MapIndex, has_road_edges
from scenarios.scenario import CURRENT_STEP, Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

EDGE_FLAG: Final = 50.0
"""Map penalty of a trajectory that crosses a road boundary (published code, `sage/rewards.py`)."""
OBJECT_FLAG: Final = 10.0
"""Map penalty of a trajectory that meets another vehicle's track (published code)."""
WINDOW: Final = 8
"""Steps per window of the broad phase."""
COARSE: Final = 6
"""Every so many steps in the coarse pass over road boundaries."""


@dataclass(frozen=True, slots=True)
class Values:
    """Objectives of K trajectories, each field [K].

    Attributes:
        adversarial: R_adv, eq. 11, mean over the ego trajectories; 0 where they never coincide in time.
        kinematic: P_kin, eq. 12.
        behavioural: P_beh, eq. 13.
        off_road: Whether the box crosses a road boundary at any future step; False where the map has none: the term
            is zero there, and the tracks of others alone decide feasibility.
        contact: Whether the box meets the logged track of an agent other than the ego at any future step.
        hits: Whether the box meets the ego in at least one of its trajectories.
        edges: Whether the map has road boundaries at all, so that `off_road` and `feasible` are judgements.
    """

    adversarial: Floats
    kinematic: Floats
    behavioural: Floats
    off_road: Bools
    contact: Bools
    hits: Bools
    edges: Bools

    @property
    def realism(self) -> Floats:
        """P_real = P_kin + P_beh."""
        return self.kinematic + self.behavioural

    @property
    def feasible(self) -> Bools:
        """F(τ, M): no road boundary crossed and no other agent touched."""
        return ~(self.off_road | self.contact)

    @property
    def map_penalty(self) -> Floats:
        """P_map of eq. 2, with the flags of the published code: 50 for a boundary, 10 for an object."""
        return EDGE_FLAG * self.off_road + OBJECT_FLAG * self.contact

    def preference(self, w_adv: float, w_real: float) -> Floats:
        """R_pref = w_adv R_adv - w_real P_real (eq. 3; eq. 5 with the experts' weights)."""
        return w_adv * self.adversarial - w_real * self.realism

    def total(self, w_adv: float, w_real: float, w_map: float) -> Floats:
        """R_total = R_pref - w_map P_map (eq. 2): the scalarisation that HGPO replaces."""
        return self.preference(w_adv, w_real) - w_map * self.map_penalty

    def take(self, index: object) -> Values:
        """The chosen rows."""
        return Values(*(getattr(self, field.name)[index] for field in fields(self)))


def concatenate(parts: list[Values]) -> Values:
    """Rows of several `Values` after one another."""
    return Values(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Values)))


class Threat(NamedTuple):
    """What K trajectories mean to the ego: the fields of `Values` that depend on it, each [K]."""

    adversarial: Floats
    hits: Bools


class Style(NamedTuple):
    """How K trajectories are driven: the fields of `Values` that do not depend on the ego, each [K]."""

    kinematic: Floats
    behavioural: Floats
    off_road: Bools
    contact: Bools
    edges: Bools


def judged(threat: Threat, style: Style) -> Values:
    """Both halves together."""
    return Values(**threat._asdict(), **style._asdict())


def known_mean(rewards: Floats) -> Floats:
    """Mean over the ego trajectories of R_adv [K, N], without those that say nothing (NaN); 0 where none does; [K]."""
    known = np.isfinite(rewards)
    return np.where(known, rewards, 0.0).sum(-1) / np.maximum(known.sum(-1), 1)


def threat_of(drawn: Drawn, egos: EgoFutures, ego_size: tuple[float, float], start: int) -> Threat:
    """`Objectives.threat` of candidates against future ego trajectories, compiled; equal to it.

    Args:
        drawn: Candidates.
        egos: Ego trajectories that are valid from `start` on only: no contact can have begun before.
        ego_size: Length and width, m.
        start: First absolute step that counts.
    """
    met = meet(drawn.states, drawn.valid, drawn.size, egos.states, egos.valid, ego_size, start)
    horizon = max(len(drawn.valid) - start, 1)
    rewards = encounter_reward(met.first >= 0, (met.first - start + 1) / horizon, met.nearest)
    rewards = np.where(np.isfinite(met.nearest), rewards, np.nan)
    return Threat(known_mean(rewards[:, egos.places]), np.asarray((met.first >= 0).any(-1), dtype=np.bool_))


class Objectives:
    """Judges an opponent's trajectories in one scene; what depends on the scene alone is prepared once.

    Args:
        scenario: The recorded scene.
        opponent: Index of the vehicle that attacks.
        step: Last observed step; trajectories count from `step + 1` (the seam at `step` counts for realism).
        published: Repeat the public code: R_adv over common steps with a cut-off at 20 m, central differences and
            headings from positions, and map checks on boxes turned by minus the heading.
    """

    def __init__(self, scenario: Scenario, opponent: int, step: int = CURRENT_STEP, *, published: bool = False) -> None:
        self.scenario, self.opponent, self.step, self.published = scenario, opponent, step, published
        self.size = scenario.box(opponent)
        self._map, self._edges = MapIndex.of(scenario), has_road_edges(scenario)
        others = [
            agent
            for agent in range(scenario.num_agents)
            if agent not in (opponent, scenario.ego) and scenario.valid[agent, step + 1 :].any()
        ]
        heading = scenario.heading[others][:, :, None]
        poses = np.concatenate([scenario.position[others][:, :, :2], -heading if published else heading], axis=-1)
        self._valid = scenario.valid[others] & np.isfinite(poses).all(-1)
        self._valid[:, : step + 1] = False
        self._poses = np.where(self._valid[..., None], poses, 0.0)
        self._sizes = np.array([scenario.box(agent) for agent in others]).reshape(-1, 2)
        self._low, self._high = _bounds(self._poses, self._valid, np.hypot(*self._sizes.T) / 2)

    def __call__(
        self, states: Floats, valid: Bools, ego: Floats, ego_valid: Bools, ego_size: tuple[float, float]
    ) -> Values:
        """Objectives of trajectories.

        Args:
            states: [K, T, 5] by absolute step with T = `scenario.num_steps`, world frame.
            valid: [T] or [K, T].
            ego: [N, T, 5] what the ego did, and `ego_valid` [N, T].
            ego_valid: See `ego`.
            ego_size: Length and width, m.
        """
        threat = self.threat(states, valid, ego, ego_valid, ego_size)
        return judged(threat, self.style(states, valid))

    def threat(
        self, states: Floats, valid: Bools, ego: Floats, ego_valid: Bools, ego_size: tuple[float, float]
    ) -> Threat:
        """What trajectories mean to the ego; arguments as for a call."""
        valid = np.broadcast_to(valid, states.shape[:-1])[:, None]
        pair = states[:, None], valid, self.size, ego[None], ego_valid[None], ego_size, self.step + 1
        hits = overlaps(*pair)
        rewards = adversarial_reward(*pair, as_published=self.published)
        return Threat(known_mean(rewards), np.asarray(hits.any((-1, -2)), dtype=np.bool_))

    def style(self, states: Floats, valid: Bools) -> Style:
        """How trajectories are driven, whatever the ego does; arguments as for a call."""
        valid = np.broadcast_to(valid, states.shape[:-1])
        style: dict[str, Any] = {"differences": "gradient", "headings": "path"} if self.published else {}
        moving, seen = states[:, self.step :], valid[:, self.step :]
        boxes = states
        if self.published:
            boxes = states.copy()
            boxes[..., HEADING] *= -1.0
        return Style(
            kinematic=kinematic_penalty(moving, seen, self.scenario.dt, **style),
            behavioural=behavioural_penalty(moving, seen, self.scenario.dt, **style),
            off_road=self._off_road(boxes, valid),
            contact=self._contact(boxes, valid),
            edges=np.full(len(states), self._edges),
        )

    def _off_road(self, states: Floats, valid: Bools) -> Bools:
        """[K]: whether the box crosses a road boundary at any future step."""
        start, size = self.step + 1, self.size
        crossed = np.zeros(len(states), dtype=bool)
        # A trajectory that leaves the road mostly stays outside: a coarse pass spares most steps of those.
        for rows in (slice(start, None, COARSE), slice(start, None)):
            left = np.flatnonzero(~crossed)
            off = off_road_steps(self._map, states[left, rows], valid[left, rows], size)
            crossed[left] = off.any(-1)
        return crossed

    def _contact(self, states: Floats, valid: Bools) -> Bools:
        """[K]: whether the box meets another agent's track at any future step."""
        future = valid.copy()
        future[:, : self.step + 1] = False
        low, high = _bounds(states[..., :2], future, np.full(len(states), np.hypot(*self.size) / 2))
        apart = (low[:, None] > self._high[None]) | (high[:, None] < self._low[None])
        row, other, window = np.nonzero(~apart.any(-1))
        hit = np.zeros(len(states), dtype=bool)
        if len(row) == 0:
            return hit

        def cut(values: NDArray, agent: Ints) -> NDArray:
            return _windows(values)[agent, window]

        meets = overlaps(
            cut(states[..., :3], row),
            cut(future, row),
            self.size,
            cut(self._poses, other),
            cut(self._valid, other),
            self._sizes[other],
        )
        hit[row[meets.any(-1)]] = True
        return hit


def _windows(values: NDArray) -> NDArray:
    """[N, T, …] as [N, W, WINDOW, …], zero-padded at the end."""
    count, steps = values.shape[:2]
    full = -(-steps // WINDOW) * WINDOW
    if full != steps:
        values = np.concatenate([values, np.zeros((count, full - steps, *values.shape[2:]), values.dtype)], 1)
    return values.reshape(count, full // WINDOW, WINDOW, *values.shape[2:])


def _bounds(positions: Floats, valid: Bools, radius: Floats) -> tuple[Floats, Floats]:
    """Bounding boxes [N, W, 2] (low, high) per window, grown by `radius` [N]; empty where nothing is valid."""
    points, seen = _windows(positions[..., :2]), _windows(valid)[..., None]
    low = np.where(seen, points, np.inf).min(2) - radius[:, None, None]
    high = np.where(seen, points, -np.inf).max(2) + radius[:, None, None]
    return low, high
