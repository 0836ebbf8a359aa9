"""`rule`: a Bézier curve that cuts into the ego's path and then rides along it.

Paper: the rule-based baseline of CAT (Zhang et al., CoRL 2023) and SAGE (tables 1 and 2).

Cost: Less than a millisecond a plan.

Limits: It has no dial. It meets the ego whatever that takes, so that of all adversaries its motion is the least
lifelike.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from adversaries.common.plans import check_context, current_state, ego_futures, recompute_motion, with_history
from harness.episodes.protocol import Protocol, protocol_of
from harness.errors import AdversaryError
from harness.geometry import arc_lengths
from harness.interfaces import HEADING, STATE, VX, VY, AttackContext, AttackPlan

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MEETING: Final = 0.75
"""Share of the ego's future after which the opponent reaches the ego's place (CAT's code)."""
CURVE_SAMPLES: Final = 200
"""Points of the curve for its arc length: under 0.1 % error on a turn."""
BRAKING: Final = 4.0
"""Deceleration (m/s²) once the ego trajectory has ended: firm, still comfortable for tyres."""


class RuleAdversary:
    """Meets the newest ego trajectory three quarters along its future, whatever that takes.

    Corrected against the published code: row k is absolute step k; the curve starts at the opponent's current
    state along its current heading (its logged future stays unread); speed follows a smooth profile from the
    opponent's speed to the ego's; headings are the curve's tangents; every step up to the end of the
    scene is filled (after the ego trajectory ends the opponent brakes in line); a late opponent keeps its `valid`.
    `intensity` is not used: the curve has no dial.
    """

    name = "rule"

    def __init__(self, protocol: str | Protocol = "corrected") -> None:
        """Choose the protocol: `corrected` or `as-published`.

        Raises:
            UnknownNameError: No such protocol.
        """
        self.protocol = protocol_of(protocol)

    def plan(self, context: AttackContext) -> AttackPlan:
        """Build the curve against the newest ego trajectory (the log, if every rollout is too short).

        Raises:
            AdversaryError: No opponent, no future, or an ego that is there for fewer than four future steps.
        """
        check_context(context)
        trajectories, valid = ego_futures(context)
        ego = _contiguous(trajectories[-1], valid[-1], context.step + 1)
        if len(ego) < 4:
            raise AdversaryError(
                f"scenario {context.scenario.id}: `rule` needs at least 4 steps of ego after step {context.step}, "
                f"found {len(ego)}."
            )
        if self.protocol.rule_as_written:
            states, valid_rows = _as_written(context, ego)
            states = recompute_motion(states, valid_rows, context.scenario.dt, headings=True, velocity=True)
        else:
            states, valid_rows = _corrected(context, ego)
        return AttackPlan(
            states,
            valid_rows,
            info={"protocol": self.protocol.name, "meeting_step": context.step + 1 + int(MEETING * len(ego))},
        )


def _contiguous(states: Floats, valid: Bools, start: int) -> Floats:
    """Rows of `states` [T, 5] from the first valid one at or after `start` up to the first gap."""
    rows = np.flatnonzero(valid)
    if len(rows) == 0 or rows[0] != start:
        return states[:0]
    gaps = np.flatnonzero(np.diff(rows) > 1)
    return states[start : rows[gaps[0]] + 1 if len(gaps) else rows[-1] + 1]


def _bezier(controls: Floats, parameter: Floats) -> tuple[Floats, Floats]:
    """Points [N, 2] and derivatives [N, 2] of the cubic with `controls` [4, 2] at `parameter` [N]."""
    s = parameter[:, None]
    a, b, c, d = controls
    points = (1 - s) ** 3 * a + 3 * (1 - s) ** 2 * s * b + 3 * (1 - s) * s**2 * c + s**3 * d
    slope = 3 * ((1 - s) ** 2 * (b - a) + 2 * (1 - s) * s * (c - b) + s**2 * (d - c))
    return points, slope


def _as_written(context: AttackContext, ego: Floats) -> tuple[Floats, Bools]:
    """Rows exactly as the published code lays them (see `harness.episodes.protocol`); headings follow later."""
    scene, start = context.scenario, context.step + 1
    meeting = int(MEETING * len(ego))
    log, seen = scene.states(context.opponent)[start:], scene.valid[context.opponent, start:]
    here = current_state(context)

    def logged(row: int) -> Floats:
        # The published code reads zero rows where the opponent is invalid; hold its last valid place instead.
        known = np.flatnonzero(seen[: row + 1])
        return log[known[-1], :2] if len(known) else here[:2]

    controls = np.stack([logged(0), logged(meeting // 3), ego[int(meeting * 2 / 3), :2], ego[meeting, :2]])
    curve, _ = _bezier(controls, np.linspace(0.0, 1.0, meeting))
    path = np.concatenate([curve, ego[meeting + 1 :, :2]])
    future = np.zeros((scene.num_steps, STATE))
    future[start : start + len(path), :2] = path
    return with_history(context, future, start + len(path) - 1)


def _corrected(context: AttackContext, ego: Floats) -> tuple[Floats, Bools]:
    """Rows of the corrected curve, every step up to the end of the scene."""
    scene, start = context.scenario, context.step + 1
    meeting = int(MEETING * len(ego))
    here, target = current_state(context), ego[meeting]
    duration = (meeting + 1) * scene.dt
    speed = float(np.hypot(here[VX], here[VY]))
    away = float(np.hypot(*(target[:2] - here[:2])))
    # The first control point keeps the opponent on its present course for a third of the time, as long as
    # that does not carry it past the meeting point; at least a metre, so that a parked car leaves nose first.
    reach = max(min(speed * duration / 3, away / 2), 1.0)
    ahead = here[:2] + reach * np.array([np.cos(here[HEADING]), np.sin(here[HEADING])])
    controls = np.stack([here[:2], ahead, ego[int(meeting * 2 / 3), :2], target[:2]])
    dense = np.linspace(0.0, 1.0, CURVE_SAMPLES)
    lengths = arc_lengths(_bezier(controls, dense)[0])
    times: Floats = np.arange(1.0, meeting + 2) * scene.dt
    travelled, pace = _speed_profile(lengths[-1], duration, speed, float(np.hypot(target[VX], target[VY])), times)
    points, slope = _bezier(controls, np.interp(travelled, lengths, dense))
    heading = _tangents(slope, float(here[HEADING]))
    future = np.zeros((scene.num_steps, STATE))
    future[start : start + meeting + 1] = np.column_stack(
        [points, heading, pace * np.cos(heading), pace * np.sin(heading)]
    )
    future[start + meeting : start + len(ego)] = ego[meeting:]
    _brake(future, start + len(ego) - 1, scene.dt)
    return with_history(context, future, scene.num_steps - 1)


def _speed_profile(length: float, duration: float, begin: float, end: float, times: Floats) -> tuple[Floats, Floats]:
    """Distance and speed at `times` [N] of a smooth, never reversing motion over `length` m in `duration` s.

    Cubic Hermite from speed `begin` to `end` (m/s), each limited to three times the mean speed: the
    Fritsch-Carlson bound under which the cubic is monotone.
    """
    limit = 3 * length / duration
    first, last = min(begin, limit), min(end, limit)
    u = times / duration
    distance = (u**3 - 2 * u**2 + u) * duration * first + (3 * u**2 - 2 * u**3) * length
    distance += (u**3 - u**2) * duration * last
    speed = (3 * u**2 - 4 * u + 1) * first + 6 * (u - u**2) * length / duration + (3 * u**2 - 2 * u) * last
    return np.clip(distance, 0.0, length), np.maximum(speed, 0.0)


def _tangents(slope: Floats, before: float) -> Floats:
    """Headings [N] along derivatives [N, 2], held (from `before`, rad) where the derivative vanishes."""
    heading = np.arctan2(slope[:, 1], slope[:, 0])
    known = np.hypot(slope[:, 0], slope[:, 1]) > 1e-6
    index = np.maximum.accumulate(np.where(known, np.arange(len(known)), -1))
    return np.where(index >= 0, heading[index], before)


def _brake(future: Floats, last: int, dt: float) -> None:
    """Fill rows after `last` of `future` [T, 5] in place: straight on, braking to a stand."""
    speed = float(np.hypot(future[last, VX], future[last, VY]))
    direction = np.array([np.cos(future[last, HEADING]), np.sin(future[last, HEADING])])
    time = np.arange(1, len(future) - last) * dt
    until = np.minimum(time, speed / BRAKING)
    distance = speed * until - BRAKING * until**2 / 2
    future[last + 1 :, :2] = future[last, :2] + distance[:, None] * direction
    future[last + 1 :, HEADING] = future[last, HEADING]
    future[last + 1 :, [VX, VY]] = np.maximum(speed - BRAKING * time, 0.0)[:, None] * direction
