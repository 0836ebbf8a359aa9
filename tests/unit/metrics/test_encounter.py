"""Distance, time to collision and impact of boxes whose numbers fit on an envelope."""

import numpy as np
import pytest
import shapely

from harness.geometry import box_corners, box_distances
from harness.interfaces import Trajectory
from harness.metrics.encounter import constant_velocity_contact, impact, minimum_distance, time_to_collision

CAR = (4.0, 2.0)


def drive(x: float, y: float, heading: float, speed: float, steps: int = 91) -> Trajectory:
    clock = np.arange(steps) * 0.1
    vx, vy = speed * np.cos(heading), speed * np.sin(heading)
    columns = [x + vx * clock, y + vy * clock, np.full(steps, heading), np.full(steps, vx), np.full(steps, vy)]
    return Trajectory(np.column_stack(columns), np.ones(steps, dtype=bool))


def test_box_distances_agree_with_shapely() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-6, 6, (400, 3)), rng.uniform(-6, 6, (400, 3))
    size_a, size_b = rng.uniform(0.5, 6, (400, 2)), rng.uniform(0.5, 6, (400, 2))
    expected = shapely.distance(shapely.polygons(box_corners(a, size_a)), shapely.polygons(box_corners(b, size_b)))
    assert (expected == 0).sum() > 50
    np.testing.assert_allclose(box_distances(a, size_a, b, size_b), expected, atol=1e-9)


def test_minimum_distance_is_between_boxes_not_centres() -> None:
    # Passing in the next lane: 3.5 m between centres, 1.5 m between flanks; corner to corner before that.
    found = minimum_distance(drive(0, 0, 0, 20), CAR, drive(50, 3.5, 0, 10), CAR)
    assert found == (pytest.approx(1.5), True)


def test_minimum_distance_from_a_start_on_and_without_common_steps() -> None:
    ego, other = drive(0, 0, 0, 10), drive(10, 0, 0, 20)
    assert minimum_distance(ego, CAR, other, CAR, start=20).value == pytest.approx(10 + 20 - 4)
    gone = Trajectory(other.states, np.zeros(91, dtype=bool))
    assert not minimum_distance(ego, CAR, gone, CAR).valid


def test_time_to_collision_in_a_lane() -> None:
    # Gap 30 - 4 = 26 m closes at 10 m/s.
    found = time_to_collision(drive(0, 0, 0, 20), CAR, drive(30, 0, 0, 10), CAR)
    assert found.values[0] == pytest.approx(2.6)
    assert found.values[10] == pytest.approx(1.6)
    assert found.minimum == (pytest.approx(0.0, abs=1e-9), True)


def test_time_to_collision_is_infinite_for_passing_and_parting() -> None:
    assert not time_to_collision(drive(0, 0, 0, 20), CAR, drive(30, 3.5, 0, 10), CAR).minimum.valid
    assert np.isinf(time_to_collision(drive(0, 0, 0, 10), CAR, drive(30, 0, 0, 20), CAR).values).all()
    same = drive(0, 0, 0, 10)
    assert (time_to_collision(same, CAR, same, CAR).values == 0).all()


def test_time_to_collision_at_a_crossing() -> None:
    # Other comes up x = 0 and its front (2 m ahead of the centre) reaches the ego's flank y = -1 from y = -21: 1.8 s.
    # The ego's front reaches x = -1 from x = -18 after 1.5 s, its rear leaves x = 1 only after 2.1 s: they meet at 1.8.
    ego, other = drive(-18, 0, 0, 10), drive(0, -21, np.pi / 2, 10)
    assert time_to_collision(ego, CAR, other, CAR).values[0] == pytest.approx(1.8)
    # Five metres further back the ego has passed.
    assert np.isinf(time_to_collision(ego, CAR, drive(0, -26, np.pi / 2, 10), CAR).values[0])


def test_constant_velocity_contact_agrees_with_marching() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.uniform(-10, 10, (300, 5)), rng.uniform(-10, 10, (300, 5))
    found = constant_velocity_contact(a, CAR, b, CAR)
    clock = np.arange(0, 6, 0.002)[:, None]
    poses = []
    for states in (a, b):
        moved = np.repeat(states[None, :, :3], len(clock), 0)
        moved[..., :2] += states[None, :, 3:] * clock[..., None]
        poses.append(moved)
    apart = box_distances(poses[0], np.array(CAR), poses[1], np.array(CAR)) > 0
    meets = ~apart
    first = np.where(meets.any(0), clock[meets.argmax(0), 0], np.inf)
    clear = np.isfinite(first) | (found > 6)
    assert clear.mean() > 0.97  # marching misses contacts shorter than its step
    np.testing.assert_allclose(found[np.isfinite(first)], first[np.isfinite(first)], atol=0.003)
    assert (np.isfinite(first)).sum() > 50


def test_impact_uses_velocities_before_the_crash() -> None:
    ego, other = drive(0, 0, 0, 20), drive(30, 0, 0, 5)
    ego.states[18:, 3] = 3.0  # what the crash did to it
    found = impact(ego, other, 18)
    assert found.step == 17
    assert (found.ego_speed, found.other_speed) == (20.0, 5.0)
    assert found.relative_speed == found.closing_speed == pytest.approx(15.0)


def test_impact_of_a_crossing() -> None:
    found = impact(drive(-4, 0, 0, 3), drive(0, -4, np.pi / 2, 4), 5)
    assert found.relative_speed == pytest.approx(5.0)
    assert found.heading_difference == pytest.approx(np.pi / 2)
