"""When an attack becomes visible, on straight drives that deviate by a known amount from a known step on."""

import numpy as np
import pytest

from harness.interfaces import Trajectory
from harness.metrics.visibility import visible_step

STEPS = 30


def calm(heading: float = 0.7) -> np.ndarray:
    along = np.arange(STEPS)[:, None] * np.array([np.cos(heading), np.sin(heading)])
    velocity = np.broadcast_to(10 * np.array([np.cos(heading), np.sin(heading)]), (STEPS, 2))
    return np.column_stack([along, np.full(STEPS, heading), velocity])


def seen(change: dict[int, float], start: int = 0, heading: float = 0.7) -> int | None:
    """Visible step where columns are changed (ahead 0, left 1, heading 2, speed 3) from step 12 on."""
    logged, attacked = calm(heading), calm(heading)
    ahead, left = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])
    attacked[12:, :2] += change.get(0, 0.0) * ahead + change.get(1, 0.0) * left
    attacked[12:, 2] += change.get(2, 0.0)
    attacked[12:, 3:] += change.get(3, 0.0) * ahead
    every = np.ones(STEPS, bool)
    return visible_step(Trajectory(logged, every), Trajectory(attacked, every), start)


@pytest.mark.parametrize(("column", "limit"), [(0, 1.0), (1, 0.375), (2, np.radians(5.0)), (3, 1.0)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_each_deviation_is_seen_above_its_limit_only(column, limit, sign):
    assert seen({column: sign * limit * 0.99}) is None
    assert seen({column: sign * limit * 1.01}) == 12


def test_a_full_turn_is_no_deviation():
    assert seen({2: 2 * np.pi}) is None


def test_steps_before_the_attack_do_not_count():
    assert seen({1: 2.0}, start=20) == 20


def test_a_vehicle_that_only_the_attack_shows_is_visible_and_one_that_is_gone_is_not():
    states, every = calm(), np.ones(STEPS, bool)
    late = np.arange(STEPS) >= 5
    assert visible_step(Trajectory(states, ~late), Trajectory(states, every)) == 5
    assert visible_step(Trajectory(states, every), Trajectory(states + 9.0, ~every)) is None
