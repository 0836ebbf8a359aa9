"""Goals, decoding, kinematics, errors: by hand."""

import numpy as np
import pytest
import torch

from adversaries.prior.baselines import constant_velocity, lane_following
from adversaries.prior.config import AGENT_MIRROR, GOAL_MIRROR, MAP_MIRROR, PriorConfig
from adversaries.prior.decode import choose, nms_radius
from adversaries.prior.evaluation import displacement, summarise
from adversaries.prior.features import extract
from adversaries.prior.goals import reach
from adversaries.prior.kinematics import drive_to, roll_out
from adversaries.prior.network import to_batch
from adversaries.prior.roads import build_roads, light_states
from adversaries.prior.samples import Cut, retime
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.prior.worlds import SMALL, bend

CONFIG = PriorConfig()


def raw(value: float, knots: int = 17) -> torch.Tensor:
    """Raw control that the squashing turns into `value`, at every knot."""
    bound = CONFIG.max_acceleration if value > 0 else CONFIG.max_braking
    return torch.full((knots,), bound * float(np.arctanh(value / bound)))


def test_roll_out_of_constant_acceleration() -> None:
    path = roll_out(raw(1.0), torch.zeros(17), torch.tensor(10.0), CONFIG)
    time = torch.arange(1, 81) * 0.1
    torch.testing.assert_close(path.speed, 10 + time, atol=1e-3, rtol=0)
    torch.testing.assert_close(path.points[:, 0], 10 * time + 0.5 * time**2, atol=1e-2, rtol=0)
    assert path.points[:, 1].abs().max() == 0


def test_roll_out_brakes_to_a_stop_and_can_start_again() -> None:
    gas = torch.cat([raw(-5.0, 9), raw(2.0, 8)])
    path = roll_out(gas, torch.zeros(17), torch.tensor(5.0), CONFIG)
    assert path.speed.min() == 0
    assert path.speed[-1] > 5.0
    assert (path.points[:, 0].diff() >= 0).all()


def test_corrections_bring_the_end_to_the_goal_where_the_bounds_allow() -> None:
    gas, turn = torch.zeros(3, 17), torch.zeros(3, 17)
    # Straight and slower; a left turn with its heading; far beyond any reach.
    points = torch.tensor([[60.0, 0.0], [50.0, 30.0], [500.0, 0.0]])
    heading = torch.tensor([0.0, 1.2, 0.0])
    path = drive_to(gas, turn, torch.full((3,), 10.0), points, heading, torch.ones(3), CONFIG, corrections=6)
    miss = (path.points[:, -1] - points).norm(dim=-1)
    assert miss[:2].max() < 0.3
    assert (path.heading[:2, -1] - heading[:2]).abs().max() < 0.05
    assert path.points[2, -1, 0] <= 10 * 8 + 0.5 * CONFIG.max_acceleration * 64 + 0.01
    assert path.points[2, -1, 0] > 100


def test_roll_out_turns_on_the_circle_of_its_curvature() -> None:
    # At 5 m/s the tightest bound is lateral (5 / 5 = 1), yaw rate (0.8) and curvature (0.2 · 5 = 1): 0.8 rad/s.
    path = roll_out(torch.zeros(17), torch.full((17,), 50.0), torch.tensor(5.0), CONFIG)
    torch.testing.assert_close(path.heading[-1], torch.tensor(6.4), atol=1e-3, rtol=0)
    radius = 5.0 / 0.8
    distance = (path.points - torch.tensor([0.0, radius])).norm(dim=-1)
    torch.testing.assert_close(distance, torch.full((80,), radius), atol=0.01, rtol=0)


@pytest.mark.parametrize(("speed", "radius"), [(0.0, 3.6), (1.4, 3.6), (6.2, 5.4), (11.0, 7.2), (30.0, 7.2)])
def test_nms_radius_is_linear_between_slow_and_fast(speed: float, radius: float) -> None:
    assert nms_radius(speed) == pytest.approx(radius)


def test_nms_by_hand() -> None:
    # Radius 7.2 m at 20 m/s: 3 lies within it of 0, 4 of 1; 2 is padding. The shortfall takes 3, then 4; 5 repeats 0.
    points = np.array([[0, 0], [10, 0], [50, 0], [4, 0], [13, 0], [0.1, 0]], dtype=float)
    scores = np.array([-1, -2, -0.5, -3, -4, -2.5])
    mask = np.array([1, 1, 0, 1, 1, 1], dtype=bool)
    np.testing.assert_array_equal(choose(scores, points, mask, 2, 20.0), [0, 1])
    np.testing.assert_array_equal(choose(scores, points, mask, 4, 20.0), [0, 1, 3, 4])
    np.testing.assert_array_equal(choose(scores, points, mask, 6, 20.0), [0, 1, 3, 4, 5])
    np.testing.assert_array_equal(choose(scores, points, mask, 3, 20.0, "topk"), [0, 1, 5])


def test_lane_goals_follow_every_branch_and_only_those() -> None:
    scene = crossing(ego_speed=10.0)  # at step 10 the ego is at x = -40
    features = extract(scene, 0)
    lanes = features.goal_mask & (features.goals[:, 6] > 0)
    points = features.goal_points[lanes] + np.array([-40.0, 0.0])  # the frame has no rotation
    straight = np.abs(points[:, 1]) < 0.1
    left = np.abs(points[:, 0]) < 0.1
    turn = np.abs(np.hypot(points[:, 0] + 10.0, points[:, 1] - 10.0) - 10.0) < 0.2
    assert (straight | left | turn).all()
    # 10 m/s for 8 s and the mean acceleration that reach allows: nothing farther, something close to that.
    assert points[straight, 0].max() == pytest.approx(-40 + reach(10.0), abs=3.0)
    assert points[left, 1].max() > 60
    assert turn.sum() >= 4
    # Path lengths count the arc: along "turn" a quarter circle of radius 10 replaces 20 m.
    length = features.goals[lanes][left & ~turn, 3] * 50.0
    expected = 30.0 + 5 * np.pi + points[left & ~turn, 1] - 10.0
    np.testing.assert_allclose(length, expected, atol=0.3)


def test_fan_starts_with_staying_and_has_no_duplicates() -> None:
    features = extract(straight_road(opponent_speed=2.0), 1)
    points = features.goal_points[:209][features.goal_mask[:209]]
    np.testing.assert_array_equal(points[0], [0.0, 0.0])
    gap = np.linalg.norm(points[:, None] - points, axis=-1) + np.eye(len(points)) * 10
    assert gap.min() > 0.05


def test_fan_reaches_behind_by_a_u_turn() -> None:
    features = extract(straight_road(opponent_speed=3.0), 1)
    points, turn = features.goal_points[:209], features.goals[:209, 13] * np.pi
    behind = points[features.goal_mask[:209] & (np.abs(np.abs(turn) - 3.0) < 1e-3)]
    # After half a circle of radius 8 m the path runs back, 16 m beside where it came from.
    assert behind[:, 0].min() < -20.0
    assert 10.0 < np.abs(behind[:, 1]).max() < 26.0


def test_mirrored_scene_has_mirrored_features() -> None:
    left, right = (extract(bend(78.0, 8.0, 0.0, sign), 0, config=SMALL) for sign in (1.0, -1.0))
    assert np.abs(left.agents[0, 5::7][:10]).max() > 0.05  # it is turning, so lateral velocities count
    np.testing.assert_allclose(left.agents * AGENT_MIRROR, right.agents, atol=1e-5)
    np.testing.assert_allclose(left.map * MAP_MIRROR, right.map, atol=1e-5)
    lanes = left.goals[:, 6] > 0
    np.testing.assert_allclose((left.goals * GOAL_MIRROR)[lanes], right.goals[lanes], atol=1e-4)
    assert np.abs(left.goals[lanes, 13]).max() > 0.2


def test_lights_are_read_at_the_step_only() -> None:
    scene = crossing()
    roads = build_roads(scene.features)
    states = ["LANE_STATE_STOP"] * 11 + ["LANE_STATE_GO"] * 80
    lit = type(scene)(
        **{
            **{name: getattr(scene, name) for name in scene.__slots__},
            "lights": {"up": {"lane": "up", "state": {"object_state": states}}},
        }
    )
    up = roads.lane_ids.index("up")
    assert light_states(lit, roads, 10)[up] == 1
    assert light_states(lit, roads, 11)[up] == 3
    assert light_states(lit, roads, 10).sum() == 1
    # The opponent's goals beyond the light know of it: 10 m before the crossing, i.e. 50 m ahead of it at y = -60.
    features = extract(lit, 1)
    beyond = (features.goals[:, 16] == 1) & features.goal_mask
    assert beyond.any()
    np.testing.assert_allclose(features.goals[beyond, 18] * 50.0, 50.0, atol=0.1)
    assert features.goal_points[beyond, 0].min() > 49.0


def test_slower_time_keeps_places_and_scales_speeds() -> None:
    scene = straight_road(opponent_speed=10.0)
    slow = retime(scene, Cut(step=20, stretch=0.7))
    np.testing.assert_allclose(slow.position[1, 10], scene.position[1, 20])
    np.testing.assert_allclose(slow.velocity[1, 10, 0], 7.0)
    np.testing.assert_allclose(np.diff(slow.position[1, slow.valid[1], 0]), 0.7)
    assert slow.valid[1].all()
    late = retime(scene, Cut(step=4, stretch=1.0))
    assert not late.valid[:, :6].any()
    assert late.valid[1, 6:].all()


def test_errors_by_hand() -> None:
    future = np.zeros((1, 4, 2))
    points = np.stack([np.full((4, 2), [3.0, 4.0]), np.full((4, 2), [0.0, 1.0])])[None]
    valid = np.array([[True, True, False, True]])
    ade, fde = displacement(points, future, valid)
    np.testing.assert_allclose(ade, [[5.0, 1.0]])
    np.testing.assert_allclose(fde, [[5.0, 1.0]])
    values = summarise(ade, fde, (1, 2))
    assert (values["minADE_1"], values["minADE_2"], values["miss_1"], values["miss_2"]) == (5.0, 1.0, 1.0, 0.0)
    assert np.isnan(summarise(*displacement(points, future, valid & False), (1,))["minADE_1"])


def test_baselines_on_a_bend() -> None:
    scene = bend(60.0, 8.0, 0.0)  # at step 10: 68 m along, 12 m before the bend
    batch = to_batch([extract(scene, 0, config=SMALL)])
    straight = constant_velocity(batch, SMALL).points[0, 0]
    torch.testing.assert_close(straight[-1], torch.tensor([64.0, 0.0]), atol=1e-3, rtol=0)
    followed = lane_following(batch, SMALL).points[0, 0].numpy()
    truth = scene.position[0, 11:, :2] - scene.position[0, 10, :2]
    assert np.abs(followed - truth).max() < 4.0
    assert np.abs(straight.numpy() - truth).max() > 20.0
