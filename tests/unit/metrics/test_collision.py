"""Contact between trajectories: validity, batching, and what the published check misses."""

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.metrics.collision import (
    AS_PUBLISHED,
    EVERY_STEP,
    OverlapCheck,
    closest_approach,
    first_contact,
    first_overlap,
    near_contact,
    overlaps,
)

CAR = (4.0, 2.0)
STEPS = 91
ALL = np.ones(STEPS, dtype=bool)


def drive(x: float, y: float, heading: float, speed: float) -> np.ndarray:
    clock = np.arange(STEPS) * 0.1
    vx, vy = speed * np.cos(heading), speed * np.sin(heading)
    columns = [x + vx * clock, y + vy * clock, np.full(STEPS, heading), np.full(STEPS, vx), np.full(STEPS, vy)]
    return np.column_stack(columns)


def test_containment_is_seen_by_boxes_and_missed_by_edges() -> None:
    bus, child = drive(0, 0, 0, 10), drive(0, 0, 0, 10)
    assert first_overlap(bus, ALL, (12.0, 3.0), child, ALL, (1.0, 1.0), 11, EVERY_STEP) == 11
    assert first_overlap(bus, ALL, (12.0, 3.0), child, ALL, (1.0, 1.0), 11, AS_PUBLISHED) == -1


def test_touching_is_seen_by_boxes_and_missed_by_edges() -> None:
    left = drive(0, 2.0, 0, 10)
    assert first_overlap(drive(0, 0, 0, 10), ALL, CAR, left, ALL, CAR, 11, EVERY_STEP) == 11
    assert first_overlap(drive(0, 0, 0, 10), ALL, CAR, left, ALL, CAR, 11, AS_PUBLISHED) == -1


def test_a_contact_that_began_before_and_goes_on_is_none() -> None:
    # Two cars of 4 m, one of which stands at 0; the other's place is listed step by step: within 4 m they overlap.
    def begins(places: list[float], start: int, gone: tuple[int, ...] = ()) -> int:
        standing, other = np.zeros((len(places), 5)), np.zeros((len(places), 5))
        other[:, 0] = places
        there = np.isin(np.arange(len(places)), gone, invert=True)
        return int(first_contact(standing, np.ones(len(places), bool), CAR, other, there, CAR, start))

    assert begins([9, 6, 3, 3, 3, 9], start=2) == 2
    assert begins([9, 6, 3, 3, 3, 9], start=3) == -1
    assert begins([9, 6, 3, 3, 9, 3], start=3) == 5  # they parted, and met again
    assert begins([9, 6, 3, 9, 3, 9], start=3, gone=(3,)) == -1  # a row that is missing does not part them
    assert begins([3, 3, 3, 3, 3, 9], start=3, gone=(0, 1, 2)) == 3  # who appears on top of another meets it there
    assert begins([3, 3], start=0) == 0
    assert begins([9, 9, 9], start=5) == -1


def test_a_clear_contact_is_seen_by_both_at_their_own_steps() -> None:
    # Contact of a crossing pair lasts from the fifth second for long: both find it, the published one on its grid.
    ego, other = drive(-50, 0, 0, 10), drive(0, -20.0, np.pi / 2, 3.5)
    exact = first_overlap(ego, ALL, CAR, other, ALL, CAR, 11)
    grid = first_overlap(ego, ALL, CAR, other, ALL, CAR, 11, AS_PUBLISHED)
    assert exact >= 11
    assert grid >= exact
    assert (grid - 11) % 5 == 0
    assert grid - exact < 5


def test_a_standing_car_points_east_in_the_published_check() -> None:
    # A parked car facing north at x = 2.5 is 2 m wide along x: 0.5 m clear of the ego's side at x = 1.
    parked, passing = drive(2.5, 0, np.pi / 2, 0), drive(0, -30, np.pi / 2, 10)
    assert first_overlap(parked, ALL, CAR, passing, ALL, CAR, 11) == -1
    assert first_overlap(parked, ALL, CAR, passing, ALL, CAR, 11, AS_PUBLISHED) > 0


def test_invalid_steps_never_count() -> None:
    ego, other = drive(0, 0, 0, 10), drive(0, 0, 0, 10)
    late = ALL.copy()
    late[:40] = False
    other[:40] = np.nan
    assert first_overlap(ego, ALL, CAR, other, late, CAR) == 40
    assert first_overlap(ego, ALL, CAR, other, np.zeros(STEPS, bool), CAR) == -1
    assert not overlaps(ego, ALL, CAR, other, late, CAR)[:40].any()


def test_a_trajectory_that_ends_early_is_judged_up_to_its_end() -> None:
    ego, other = drive(0, 0, 0, 10), drive(100.05, 0, np.pi, 10)
    short = ALL.copy()
    short[49:] = False
    assert first_overlap(ego, ALL, CAR, other, ALL, CAR) == 49
    assert first_overlap(ego, short, CAR, other, ALL, CAR) == -1


@pytest.mark.parametrize("check", [EVERY_STEP, AS_PUBLISHED])
def test_batches_equal_single_pairs(check: OverlapCheck) -> None:
    rng = np.random.default_rng(3)
    a = np.stack([drive(*rng.uniform(-20, 20, 2), rng.uniform(-3, 3), rng.uniform(0, 12)) for _ in range(12)])
    b = np.stack([drive(*rng.uniform(-20, 20, 2), rng.uniform(-3, 3), rng.uniform(0, 12)) for _ in range(4)])
    valid_a, valid_b = rng.random((12, STEPS)) > 0.02, rng.random((4, STEPS)) > 0.02
    sizes = rng.uniform(1, 5, (4, 2))
    batch = first_overlap(a[:, None], valid_a[:, None], CAR, b[None], valid_b[None], sizes, 11, check)
    assert batch.shape == (12, 4)
    assert 0 < (batch >= 0).sum() < 48
    for i in range(12):
        for j in range(4):
            single = first_overlap(a[i], valid_a[i], CAR, b[j], valid_b[j], sizes[j], 11, check)
            assert batch[i, j] == single


def test_closest_approach() -> None:
    ego, other = drive(0, 0, 0, 10), drive(50, 3, np.pi, 10)
    assert closest_approach(ego, ALL, other, ALL) == pytest.approx(3.0)
    assert closest_approach(ego, ALL, other, ALL, start=35) == pytest.approx(np.hypot(20.0, 3.0))
    assert np.isinf(closest_approach(ego, ALL, other, np.zeros(STEPS, bool)))


def test_nothing_is_left_to_check_after_the_end() -> None:
    ego = drive(0, 0, 0, 10)
    assert first_overlap(ego, ALL, CAR, ego, ALL, CAR, start=STEPS) == -1


def test_a_stride_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="stride"):
        OverlapCheck(stride=0)


@pytest.mark.parametrize(
    ("gap_before", "gap", "near"),
    [(0.2, 5.0, True), (5.0, 0.29, True), (0.31, 0.31, False), (0.45, 0.45, False), (-1.0, 3.0, True)],
)
def test_a_reported_contact_is_that_of_boxes_that_are_near_in_either_step(gap_before, gap, near):
    """Two cars of 4 m × 2 m, one behind the other."""
    ego, other = np.zeros((3, 5)), np.zeros((3, 5))
    other[:, 0] = [50.0, 4.0 + gap_before, 4.0 + gap]
    there = np.ones(3, bool)
    assert near_contact(2, ego, there, (4.0, 2.0), other, there, (4.0, 2.0)) is near
    assert not near_contact(2, ego, there, (4.0, 2.0), other, np.array([True, False, False]), (4.0, 2.0))
