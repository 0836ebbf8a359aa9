"""Road edges as obstacles: what lies far away neither allocates nor changes what lies near."""

import tracemalloc

import numpy as np
import pytest

from harness.metrics.obstacles import MAX_REACH, EdgeField, build_obstacles

NEAR = np.array([[[-50.0, 3.0], [50.0, 3.0]]])
LOW, HIGH = np.array([-20.0, -20.0]), np.array([20.0, 20.0])
POSES = np.array([[0.0, 0.0, 0.0], [0.0, 1.5, 0.0], [0.0, 2.5, 0.0], [0.0, 6.0, 0.0]])
SIZE = np.array([4.0, 2.0])


def crossed(edges):
    field = EdgeField.around(np.asarray(edges, dtype=np.float64), LOW, HIGH)
    return None if field is None else field.crossed(POSES, SIZE).tolist()


def test_an_edge_is_crossed_within_half_the_width():
    assert crossed(NEAR) == [False, False, True, False]


@pytest.mark.parametrize("far", [1e5, 1e9, 1e12])
def test_a_long_edge_is_cut_to_the_field(far):
    tracemalloc.start()
    assert crossed([[[-far, 3.0], [far, 3.0]]]) == crossed(NEAR)
    # Upwards along x = 15, and past the field at x = 30.
    assert crossed([*NEAR, [[15.0, -far], [15.0, far]], [[30.0, -far], [30.0, far]]]) == crossed(NEAR)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_long_edge_whose_bounds_alone_meet_the_field_is_none():
    assert crossed([[[-1e6, 0.0], [0.0, 1e6]]]) is None


@pytest.mark.parametrize("reach", [1e9, np.inf])
def test_the_field_is_bounded_whatever_the_reach(reach):
    ego = np.zeros((20, 5))
    ego[:, 0] = np.arange(20)
    others, valid = np.zeros((1, 20, 5)), np.ones((1, 20), dtype=bool)
    others[0, :, 0] = 1e9
    found = build_obstacles(ego, SIZE, others, valid, np.array([[4.0, 2.0]]), (0, 19), 30, 0.1, NEAR, reach)
    assert len(found.poses) == 0
    assert max(found.edges.distance.shape) < 2 * MAX_REACH + 30
