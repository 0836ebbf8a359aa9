"""Features of the realism metrics, against numbers worked out by hand and against brute force."""

import math
from itertools import pairwise

import numpy as np
import pytest
import shapely
import torch

from harness.metrics.wosac import interaction
from harness.metrics.wosac.config import Histogram
from harness.metrics.wosac.estimators import (
    bernoulli_log_likelihood,
    histogram_bins,
    histogram_log_likelihood,
    masked_mean,
)
from harness.metrics.wosac.interaction import FAR, ROUNDING, box_distance, nearest_distance, time_to_collision
from harness.metrics.wosac.kinematics import central_and, kinematics
from harness.metrics.wosac.lights import RedLights
from harness.metrics.wosac.road_edges import Z_STRETCH, RoadEdges
from scenarios.scenario import MapFeature
from tests.scenes import Agent, make_scene

CAR = torch.tensor([[4.0, 2.0, 1.5]])


def pose(x: float, y: float, heading: float = 0.0) -> list[float]:
    return [x, y, 0.0, heading]


def test_histogram_counts_with_pseudocount_and_no_bin_width():
    estimator = Histogram(0.0, 10.0, 5)
    simulated = torch.tensor([[[1.0, 1.9, 5.0, 40.0]]])  # Bins 0, 0, 2 and (clipped) 4.
    bins = histogram_bins(torch.tensor([[0.0, 2.0, 4.5, 10.0]]), estimator)
    assert bins.tolist() == [[0, 1, 2, 4]]
    value = histogram_log_likelihood(bins, simulated, None, estimator, 1).exp()
    total = 4 + 5 * 0.1
    assert value[0, 0].tolist() == pytest.approx([2.1 / total, 0.1 / total, 1.1 / total, 1.1 / total])


def test_histogram_counts_nan_in_the_top_bin_unless_it_is_left_out():
    estimator = Histogram(0.0, 10.0, 5)
    simulated = torch.tensor([[[1.0, math.nan]]])
    bins = histogram_bins(torch.tensor([[9.0]]), estimator)
    counted = histogram_log_likelihood(bins, simulated, None, estimator, 1).exp()
    left_out = histogram_log_likelihood(bins, simulated, ~simulated.isnan(), estimator, 1).exp()
    assert counted.item() == pytest.approx(1.1 / 2.5)
    assert left_out.item() == pytest.approx(0.1 / 1.5)


def test_groups_of_rollouts_do_not_mix():
    estimator = Histogram(0.0, 2.0, 2)
    simulated = torch.tensor([[[0.5, 0.5]], [[1.5, 1.5]]])
    value = histogram_log_likelihood(torch.tensor([[0]]), simulated, None, estimator, 2).exp()
    assert value.flatten().tolist() == pytest.approx([2.1 / 2.2, 0.1 / 2.2])
    flags = torch.tensor([[True], [False]])
    assert bernoulli_log_likelihood(torch.tensor([True]), flags, 2).exp().flatten().tolist() == pytest.approx(
        [1.001 / 1.002, 0.001 / 1.002]
    )


def test_bernoulli_and_masked_mean():
    simulated = torch.tensor([[True], [True], [True], [False]])
    assert bernoulli_log_likelihood(torch.tensor([True]), simulated, 1).exp().item() == pytest.approx(3.001 / 4.002)
    assert bernoulli_log_likelihood(torch.tensor([False]), simulated, 1).exp().item() == pytest.approx(1.001 / 4.002)
    values = torch.tensor([[[1.0, math.nan], [3.0, 5.0]]])
    assert masked_mean(values, torch.tensor([[True, False], [True, True]])).item() == pytest.approx(3.0)


def test_kinematics_of_uniform_acceleration_and_a_turn_through_pi():
    time = torch.arange(9, dtype=torch.float64) * 0.1
    zero = torch.zeros_like(time)
    path = torch.stack([4 * time + time**2, zero, 3 * time, torch.remainder(3.0 + time, 2 * math.pi)], -1)
    path[:, 3] = torch.where(path[:, 3] > math.pi, path[:, 3] - 2 * math.pi, path[:, 3])
    found = kinematics(path, 0.1)
    assert found.linear_speed[1:-1] == pytest.approx(((4 + 2 * time).square() + 9).sqrt()[1:-1])
    assert found.angular_speed[1:-1] == pytest.approx(torch.ones(7, dtype=torch.float64))
    assert found.angular_acceleration[2:-2].abs().max() < 1e-9
    assert found.linear_speed.isnan().tolist() == [True] + 7 * [False] + [True]
    assert found.linear_acceleration.isnan().tolist() == 2 * [True] + 5 * [False] + 2 * [True]
    assert central_and(torch.tensor([True, False, True, True, True])).tolist() == [False, True, False, True, False]


def test_box_distance_beside_at_a_corner_and_inside():
    half = torch.tensor([[2.0, 1.0]])
    origin = torch.tensor([pose(0, 0)])
    places = [(5.0, 0.0, 1.0), (7.0, 6.0, 5.0), (3.5, 0.5, -0.5), (0.0, 1.5, -0.5)]
    for x, y, expected in places:
        assert box_distance(origin, half, torch.tensor([pose(x, y)]), half).item() == pytest.approx(expected)
    # Turned by 90°: half extents swap.
    turned = box_distance(origin, half, torch.tensor([pose(5.0, 0.0, math.pi / 2)]), half)
    assert turned.item() == pytest.approx(2.0, abs=1e-5)


def test_nearest_distance_agrees_with_polygons_for_every_pair(monkeypatch):
    rng = np.random.default_rng(0)
    poses = torch.tensor(
        np.concatenate([rng.uniform(0, 30, (2, 9, 5, 2)), np.zeros((2, 9, 5, 1)), rng.uniform(-4, 4, (2, 9, 5, 1))], -1)
    )
    sizes = torch.tensor(rng.uniform(1, 6, (9, 3)))
    valid = torch.tensor(rng.random((2, 9, 5)) < 0.8)
    evaluated = torch.tensor([3, 0])
    found = nearest_distance(poses, sizes, valid, evaluated)
    monkeypatch.setattr(interaction, "_PAIRS", 1)  # One object at a time.
    assert torch.equal(nearest_distance(poses, sizes, valid, evaluated), found)
    for rollout in range(2):
        for row, agent in enumerate(evaluated.tolist()):
            for step in range(5):
                expected = _nearest(poses[rollout, :, step], sizes, valid[rollout, :, step], agent)
                assert found[rollout, row, step].item() == pytest.approx(expected, abs=1e-6)


def _nearest(poses: torch.Tensor, sizes: torch.Tensor, valid: torch.Tensor, agent: int) -> float:
    """Distance between rounded boxes: the cores as polygons, less the two radii; only where cores are apart."""
    others = [other for other in range(len(poses)) if other != agent and valid[other]]
    if not others or not valid[agent]:
        return FAR

    def core(index: int) -> tuple[shapely.Polygon, float]:
        length, width = sizes[index, :2].tolist()
        radius = ROUNDING * min(length, width) / 2
        x, y, _, heading = poses[index].tolist()
        box = shapely.box(radius - length / 2, radius - width / 2, length / 2 - radius, width / 2 - radius)
        return shapely.affinity.translate(shapely.affinity.rotate(box, heading, (0, 0), use_radians=True), x, y), radius

    own, own_radius = core(agent)
    values = []
    for other in others:
        shape, radius = core(other)
        gap = own.distance(shape)
        if gap == 0:  # Depth of the cores' overlap: the smallest shift along a face normal that parts them.
            gap = box_distance(
                poses[agent : agent + 1],
                sizes[agent : agent + 1, :2] / 2 - own_radius,
                poses[other : other + 1],
                sizes[other : other + 1, :2] / 2 - radius,
            ).item()
            assert gap <= 0
        values.append(gap - own_radius - radius)
    return min(values)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (pose(24.0, 0.0), 4.0),  # 20 m between bumpers, 5 m/s closing.
        (pose(24.0, 2.5), 5.0),  # Beside the lane.
        (pose(24.0, 1.7), 4.0),  # 0.3 m of overlap, aligned.
        (pose(24.0, 2.0, 0.2), 5.0),  # 0.4 m of overlap, 11° askew.
        (pose(24.0, 0.0, math.pi / 2), 5.0),  # Across.
        (pose(-24.0, 0.0), 5.0),  # Behind.
    ],
)
def test_time_to_collision(other, expected):
    poses = torch.tensor([[[pose(0, 0)], [other]]])
    speeds = torch.tensor([[[10.0], [5.0]]])
    valid = torch.ones((1, 2, 1), dtype=torch.bool)
    sizes = CAR.expand(2, 3)
    found = time_to_collision(poses, sizes, valid, speeds, torch.tensor([0]), unwrapped=False)
    assert found.item() == pytest.approx(expected, abs=1e-3)


def test_time_to_collision_wraps_headings_unless_it_is_to_be_official():
    poses = torch.tensor([[[pose(0, 0)], [pose(24.0, 0.0, 2 * math.pi)]]])
    speeds = torch.tensor([[[10.0], [5.0]]])
    arguments = (poses, CAR.expand(2, 3), torch.ones((1, 2, 1), dtype=torch.bool), speeds, torch.tensor([0]))
    assert time_to_collision(*arguments, unwrapped=False).item() == pytest.approx(4.0, abs=1e-3)
    assert time_to_collision(*arguments, unwrapped=True).item() == 5.0


def distances(edges: RoadEdges, *points: tuple[float, float, float]) -> list[float]:
    return edges.signed_distance(torch.tensor(points)).tolist()


def test_road_on_the_left_of_its_edge():
    edges = RoadEdges([np.array([[0.0, 0, 0], [10, 0, 0]])])
    assert distances(edges, (5, 3, 0), (5, -2, 0), (13, 4, 0), (-3, -4, 0)) == pytest.approx([-3.0, 2.0, -5.0, 5.0])


def test_sign_beyond_a_corner_follows_its_convexity():
    # Along +x, then left to +y: the road is inside the corner; beyond it is off the road.
    left = RoadEdges([np.array([[0.0, 0, 0], [10, 0, 0], [10, 10, 0]])])
    assert distances(left, (13, -4, 0), (9, 2, 0)) == pytest.approx([5.0, -1.0])
    right = RoadEdges([np.array([[0.0, 0, 0], [10, 0, 0], [10, -10, 0]])])
    assert distances(right, (13, 4, 0), (9, -2, 0)) == pytest.approx([-5.0, 1.0])


def test_the_road_below_a_bridge_is_another_road():
    below = np.array([[0.0, 0, 0], [10, 0, 0]])
    above = np.array([[10.0, 2, 6], [0, 2, 6]])
    edges = RoadEdges([below, above])
    assert distances(edges, (5, 1.5, 0), (5, 1.5, 6)) == pytest.approx([-1.5, -0.5])


def test_closed_edges_and_the_quirk_that_only_the_longest_closes():
    square = np.array([[0.0, 0, 0], [0, 4, 0], [4, 4, 0], [4, 0, 0], [0, 0.5, 0]])  # An island: clockwise.
    line = np.stack([np.linspace(0, 100, 9), np.full(9, -50.0), np.zeros(9)], -1)
    # Just below the island, where its ends meet: right of the first segment's line, left of the last one's.
    point = (0.1, -0.3, 0.0)
    assert distances(RoadEdges([square, line]), point) == pytest.approx([-math.hypot(0.1, 0.3)])
    assert distances(RoadEdges([square, line], cyclic_only_longest=True), point)[0] > 0
    assert distances(RoadEdges([square], cyclic_only_longest=True), point)[0] < 0


def test_repeated_points_are_zero_only_as_a_quirk():
    line = np.array([[0.0, 0, 0], [5, 0, 0], [5, 0, 0], [10, 0, 0]])
    assert distances(RoadEdges([line]), (5.0, 2.0, 0.0)) == pytest.approx([-2.0])
    assert abs(distances(RoadEdges([line], degenerate_segments=True), (5.0, 2.0, 0.0))[0]) in (0.0, 2.0)


def test_the_candidate_table_finds_what_a_full_search_finds():
    rng = np.random.default_rng(1)
    lines = [np.cumsum(rng.normal(0, [2.0, 2.0, 0.3], (20, 3)), 0) + rng.uniform(-30, 30, 3) for _ in range(12)]
    edges = RoadEdges(lines)
    points = torch.tensor(rng.uniform(-40, 40, (400, 3)) * [1, 1, 0.3], dtype=torch.float32)
    best = np.full(len(points), np.inf)
    planar = np.zeros(len(points))
    for line in lines:
        for start, end in pairwise(line):
            offset, delta = points.numpy() - start, end - start
            ratio = np.clip(offset[:, :2] @ delta[:2] / (delta[:2] @ delta[:2]), 0, 1)
            gap = offset - ratio[:, None] * delta
            distance = np.sqrt((gap[:, :2] ** 2).sum(-1) + (Z_STRETCH * gap[:, 2]) ** 2)
            planar = np.where(distance < best, np.hypot(gap[:, 0], gap[:, 1]), planar)
            best = np.minimum(best, distance)
    for _ in range(2):  # Again, from the table.
        assert edges.signed_distance(points).abs().numpy() == pytest.approx(planar, abs=1e-3)


def lit_scene(state: str = "LANE_STATE_STOP", lane: str = "one"):
    x = np.arange(0.0, 101.0, 10.0)
    lines = [
        MapFeature(name, "LANE_SURFACE_STREET", np.stack([x, np.full_like(x, y), 0 * x], -1))
        for name, y in (("one", 0.0), ("two", 4.0))
    ]
    scene = make_scene([Agent("ego", 0, 0)], lines, opponent=None)
    light = {"lane": lane, "stop_point": np.array([52.0, 0.0, 0.0]), "state": {"object_state": [state] * 91}}
    return scene, {lane: light}


@pytest.mark.parametrize(
    ("state", "lane", "y", "expected"),
    [
        ("LANE_STATE_STOP", "one", 0.0, True),
        ("LANE_STATE_ARROW_STOP", "one", 0.5, True),
        ("LANE_STATE_GO", "one", 0.0, False),
        ("LANE_STATE_STOP", "two", 0.0, False),
        ("LANE_STATE_STOP", "one", 3.0, False),
    ],
)
def test_red_light(state, lane, y, expected):
    from dataclasses import replace

    scene, lights = lit_scene(state, lane)
    red = RedLights(replace(scene, lights=lights), np.zeros(2), 91)
    path = torch.tensor([[[[50.0, y], [51.0, y], [53.0, y], [54.0, y]]]])
    assert red.violations(path, 11).tolist() == [[[False, expected, False]]]


def test_lane_search_with_the_official_sign_takes_the_wrong_segment():
    scene, _ = lit_scene()
    line = torch.tensor([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]])
    for added, expected in ((False, 0), (True, 1)):
        red = RedLights(scene, np.zeros(2), 91, lane_offset_added=added)
        distance = red._distance(torch.tensor([[5.0, 1.0]]), line[:-1], line[1:] - line[:-1])
        assert distance.argmin(-1).item() == expected
