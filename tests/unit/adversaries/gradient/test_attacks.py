"""`king` and `adv_traj_opt` on hand-made scenes: they hit, within what they promise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from adversaries.common.drivable import drivable_field
from adversaries.gradient.adv_traj_opt import AdvTrajOptAdversary, best_restart
from adversaries.gradient.bicycle import Bicycle, Start, drive, integrate_speed
from adversaries.gradient.bounds import Bounds, lipschitz, project_gas, project_turn
from adversaries.gradient.descent import base_motion, box_distance, boxes_of
from adversaries.gradient.king import KingAdversary, off_road_mass
from harness.errors import AdversaryError, ConfigError, UnknownNameError
from harness.interfaces import Trajectory
from harness.metrics.collision import first_overlap
from scenarios.map_index import MapIndex
from scenarios.scenario import MapFeature
from tests.scenes import CAR, crossing, straight_road
from tests.unit.adversaries.fakes import context, line, log_of

SIZE = CAR[:2]
ATTACKS = [KingAdversary, AdvTrajOptAdversary]
DT = 0.1
NEAR = straight_road(opponent_gap=10.0)
"""Fifty steps of 0.2 m close at most 10 m; here 5.5 m lie between the boxes along the road and 1.5 m across."""


def meets(scene, plan, ego=None):
    ego = scene.states(0) if ego is None else ego
    return int(first_overlap(plan.states, plan.valid, SIZE, ego, np.ones(len(ego), bool), SIZE, 11))


def off_road(scene, states, start=11):
    return MapIndex.of(scene).boxes_cross_edges(states[start:, :3], SIZE)


# ---- distances and the road


def test_box_distance_is_that_of_the_nearest_corners():
    def distance(x, y, heading):
        mine = boxes_of(torch.zeros(2, dtype=torch.float64), torch.zeros((), dtype=torch.float64), (4.0, 2.0))
        there = torch.tensor([x, y], dtype=torch.float64)
        return box_distance(mine, boxes_of(there, torch.tensor(heading, dtype=torch.float64), (4.0, 2.0))).item()

    assert distance(10.0, 0.0, 0.0) == pytest.approx(6.0, abs=1e-3)
    assert distance(0.0, 5.0, np.pi) == pytest.approx(3.0, abs=1e-3)
    assert distance(7.0, 6.0, 0.0) == pytest.approx(5.0, abs=1e-3)  # 3 along, 4 across
    # A box turned by 45° points a corner at the other's side: its half diagonal along x is (2 + 1) / √2.
    assert distance(10.0, 0.5, np.pi / 4) == pytest.approx(8.0 - 3 / np.sqrt(2), abs=1e-3)
    assert distance(1.0, 0.5, 0.3) == pytest.approx(0.0, abs=2e-3)


@pytest.mark.parametrize("scene", [straight_road(), straight_road(origin=(3e4, -2e4), rotation=2.2)])
def test_the_field_is_the_signed_distance_to_the_road_edge(scene):
    # Edges at y = -2 and y = 5.5, the road between them.
    local = np.array([[20.0, 0.0], [33.3, 5.0], [40.2, 6.25], [41.0, -4.0]])
    expected = np.array([2.0, 0.5, -0.75, -2.0])
    field = drivable_field(MapIndex.of(scene), scene.states(0)[:, :2], 20.0)
    assert field is not None
    turn = scene.heading[0, 0]
    cos, sin = np.cos(turn), np.sin(turn)
    world = local @ np.array([[cos, sin], [-sin, cos]]) + scene.position[0, 0, :2]
    found = field.distance(torch.from_numpy(world))
    # Linear between grid points, and the kink in the middle of the road is cut off by at most half a cell.
    np.testing.assert_allclose(found.numpy(), expected, atol=0.2 if turn else 0.02)


def test_the_field_does_not_depend_on_how_edges_are_drawn():
    scene = straight_road()
    turned = tuple(MapFeature(f.id, f.type, f.points[::-1].copy()) if f.is_road_edge else f for f in scene.features)
    points = torch.from_numpy(np.stack([np.linspace(0, 80, 50), np.linspace(-6, 9, 50)], -1))
    fields = [
        drivable_field(MapIndex.of(s), scene.states(0)[:, :2], 20.0) for s in (scene, replace(scene, features=turned))
    ]
    torch.testing.assert_close(fields[0].distance(points), fields[1].distance(points))


def test_no_edges_no_field():
    assert drivable_field(MapIndex.of(straight_road(edges=False)), np.zeros((1, 2)), 20.0) is None


def test_road_mass_of_a_box_at_a_straight_edge():
    scene = straight_road()
    field = drivable_field(MapIndex.of(scene), scene.states(0)[:, :2], 20.0)
    # Two corners on the edge (mass one half each), two 2 m inside (Φ(-2) = 0.0228).
    pose = torch.tensor([[[30.0, -1.0]]], dtype=torch.float64)
    corners = boxes_of(pose, torch.zeros(1, 1, dtype=torch.float64), SIZE).corners
    mass = off_road_mass(field, corners, np.zeros(2)).item()
    assert mass == pytest.approx((0.5 + 0.0228) / 2, abs=0.01)


# ---- king


@pytest.mark.parametrize("protocol", ["corrected", "as-published"])
def test_king_hits_a_crossing_ego(protocol):
    scene = crossing(opponent_delay=-0.9)
    plan = KingAdversary(protocol).plan(context(scene))
    assert meets(scene, log_of(scene, 1)) == -1  # unprovoked, it is past a quarter of a second too early
    assert plan.info["expects_contact"]
    # The published check looks only at every fifth step, so it may see the contact later.
    assert 10 < meets(scene, plan) <= plan.info["expected_step"] < meets(scene, plan) + 5
    assert 0 < plan.info["iterations"] <= 100


def test_king_keeps_to_the_road_that_it_would_leave_otherwise():
    # A standing ego beyond the road edge pulls the opponent off; KING's road term holds it back.
    scene = straight_road(opponent_offset=0.0)
    bait = [Trajectory(line(60.0, -8.0, 0.0, 0.0), np.ones(91, bool))]
    free = KingAdversary(road_weight=0.0).plan(context(scene, bait))
    held = KingAdversary().plan(context(scene, bait))
    assert off_road(scene, free.states).any()
    assert not off_road(scene, held.states).any()


def test_king_stops_at_the_first_contact():
    scene = straight_road(opponent_offset=0.0, opponent_gap=8.0, opponent_speed=5.0)
    plan = KingAdversary().plan(context(scene))
    assert plan.info["iterations"] == 0  # the ego runs into the slow car ahead of it anyway
    assert plan.info["expects_contact"]


def test_restarts_do_not_mix_and_a_finished_drive_stays_as_it_is():
    scene = crossing(opponent_delay=-0.9)
    alone, four = (KingAdversary(restarts=count).plan(context(scene)) for count in (1, 4))
    assert len(set(four.scores["iteration"])) > 1  # some go on after others have hit
    assert four.scores["iteration"][0] == alone.scores["iteration"][0]
    np.testing.assert_allclose(four.candidates[0], alone.candidates[0], atol=1e-6)


def test_king_descends_its_objective():
    scene = crossing(opponent_delay=6.0)
    few = KingAdversary(restarts=1, iterations=1).plan(context(scene))
    many = KingAdversary(restarts=1, iterations=60).plan(context(scene))
    assert not few.info["expects_contact"]
    assert many.scores["objective"][0] < few.scores["objective"][0] - 1.0


def test_kings_drive_is_one_of_its_bicycle():
    scene = crossing(opponent_delay=1.2)
    states = KingAdversary(iterations=30).plan(context(scene)).states[10:]
    speed = np.hypot(states[:, 3], states[:, 4])
    gas = np.diff(speed) / DT
    assert gas.max() <= 3.0 + 1e-9
    assert gas.min() >= -4.952 - 1e-9
    model = Bicycle.of_length(CAR[0], DT)
    sharpest = np.sin(model.slip(torch.tensor(1.0)).item()) / model.rear
    turn = np.abs(np.diff(states[:, 2])) / np.maximum((speed[1:] + speed[:-1]) / 2 * DT, 1e-9)
    assert turn.max() <= sharpest + 1e-6


# ---- adv_traj_opt


def kinematics(states, start):
    """What `Bounds` limits, from rows of a plan alone, the current one first."""
    speed = np.concatenate([[start], np.hypot(states[1:, 3], states[1:, 4])])
    mean = (speed[1:] + speed[:-1]) / 2
    turn = np.diff(states[:, 2])
    curvature = np.where(mean > 0.3, turn / np.maximum(mean * DT, 1e-9), 0.0)
    return speed, np.diff(speed) / DT, mean**2 * curvature, curvature


def assert_within(states, bounds, start):
    speed, gas, lateral, curvature = kinematics(states, start)
    small = 1e-6
    assert speed.max() <= bounds.speed + small
    assert gas.max() <= bounds.acceleration + small
    assert gas.min() >= -bounds.braking - small
    assert np.abs(lateral).max() <= bounds.lateral + small
    assert np.abs(curvature).max() <= bounds.curvature + small
    moving = (speed[1:-1] > 0.5) & (speed[2:] > 0.5)
    assert np.abs(np.diff(gas)[moving]).max(initial=0.0) <= bounds.jerk * DT + small
    assert np.abs(np.diff(lateral)[moving]).max(initial=0.0) <= bounds.lateral_jerk * DT + small


@pytest.mark.parametrize("bounds", [Bounds(), Bounds(12.0, 1.0, 2.0, 1.5, 4.0, 2.0, 0.05)])
@pytest.mark.parametrize("scene", [straight_road(), crossing(), straight_road(opponent_speed=0.0)])
def test_every_candidate_keeps_the_bounds_at_every_step(bounds, scene):
    plan = AdvTrajOptAdversary(bounds=bounds).plan(context(scene))
    begin = float(np.hypot(*scene.velocity[1, 10]))
    assert len(plan.candidates) == 10
    for states in plan.candidates:
        assert_within(states[10:], bounds, begin)


@pytest.mark.parametrize("protocol", ["corrected", "as-published"])
@pytest.mark.parametrize("scene", [crossing(opponent_delay=1.2), NEAR, straight_road(opponent_gap=10.0, rotation=2.0)])
def test_adv_traj_opt_hits(protocol, scene):
    plan = AdvTrajOptAdversary(protocol).plan(context(scene))
    assert plan.info["expects_contact"]
    assert meets(scene, plan) > 10
    assert plan.chosen is not None
    assert plan.scores["first_step"][plan.chosen] == plan.info["expected_step"]


def test_adv_traj_opt_prefers_hits_on_the_road_that_move_little():
    away, off, moved = np.array([0.0, 0.0, 0.0, 2.0]), np.array([True, False, False, False]), np.arange(4.0)
    assert best_restart(away, off, moved) == 1
    assert best_restart(away, off, -moved) == 2
    assert best_restart(away + np.array([3, 3, 3, 0]), off, moved) == 3
    plan = AdvTrajOptAdversary().plan(context(NEAR))
    scores = plan.scores
    assert plan.chosen == best_restart(scores["distance"], scores["off_road"] > 0, scores["moved"])
    assert scores["distance"][plan.chosen] == 0.0


def test_a_step_closes_at_most_about_the_learning_rate():
    scene = crossing(opponent_delay=5.0)
    distances = [
        AdvTrajOptAdversary(restarts=1, iterations=count).plan(context(scene)).scores["distance"][0]
        for count in (1, 11)
    ]
    assert 1.5 < distances[0] - distances[1] < 2.2  # ten steps of 0.2 m


def test_projection_is_idempotent_and_keeps_what_is_allowed():
    bounds, start = Bounds(), Start(0.0, 0.0, 0.0, 8.0)
    rng = np.random.default_rng(2)
    wild = torch.from_numpy(rng.normal(scale=[[[9.0]], [[0.5]]], size=(2, 6, 80)))
    gas = project_gas(wild[0], start, bounds, DT)
    turn = project_turn(wild[1], start, gas, bounds, DT)
    for row in drive(start, gas, turn, DT).states().numpy():
        assert_within(np.vstack([[0.0, 0.0, 0.0, 8.0, 0.0], row]), bounds, 8.0)
    torch.testing.assert_close(project_gas(gas, start, bounds, DT), gas)
    moving = integrate_speed(8.0, gas, DT) > 1.0
    again = project_turn(turn, start, gas, bounds, DT)
    torch.testing.assert_close(again[moving], turn[moving], atol=1e-6, rtol=1e-6)


def test_the_projection_goes_to_the_limits_and_no_further():
    bounds, zero = Bounds(), torch.zeros(1, 80, dtype=torch.float64)
    fast = Start(0.0, 0.0, 0.0, 10.0)
    turn = project_turn(zero + 1.0, fast, zero, bounds, DT)
    np.testing.assert_allclose((turn * 10.0**2).numpy(), bounds.lateral, atol=1e-9)
    slow = Start(0.0, 0.0, 0.0, 0.0)
    gas = project_gas(zero[:, :70] + 9.0, slow, bounds, DT)
    np.testing.assert_allclose(gas.numpy(), bounds.acceleration)
    turn = project_turn(zero[:, :70] + 1.0, slow, gas, bounds, DT)
    assert turn.max() == pytest.approx(bounds.curvature)
    states = drive(slow, gas, turn, DT).states().numpy()[0]
    assert_within(np.vstack([np.zeros(5), states]), bounds, 0.0)
    half = torch.cat([zero[:, :40] + 9.0, zero[:, 40:] - 9.0], -1)
    gas = project_gas(half, Start(0.0, 0.0, 0.0, 20.0), bounds, DT)
    assert (gas[0, 0], gas[0, -1]) == (bounds.acceleration, -bounds.braking)
    assert gas.diff().abs().max() == pytest.approx(bounds.jerk * DT)


def test_the_speed_limit_draws_the_whole_drive_back():
    start, bounds = Start(0.0, 0.0, 0.0, 10.0), Bounds(speed=20.0)
    base = torch.zeros(1, 80, dtype=torch.float64)
    gas = project_gas(torch.full((1, 80), 4.0, dtype=torch.float64), start, bounds, DT, base)
    # Four m/s² for 8 s would end at 42 m/s; half of it at 26, a quarter at 18.
    np.testing.assert_allclose(gas.numpy(), 1.0)


def test_lipschitz_takes_the_middle_of_a_jump():
    values = torch.tensor([0.0, 0.0, 0.0, 4.0, 4.0, 4.0], dtype=torch.float64)
    np.testing.assert_allclose(lipschitz(values, 1.0).numpy(), [0.5, 1.0, 1.5, 2.5, 3.0, 3.5])


# ---- both


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("protocol", ["corrected", "as-published"])
def test_the_same_generator_gives_the_same_plan(attack, protocol):
    first, second = (attack(protocol, iterations=5).plan(context(crossing())) for _ in range(2))
    np.testing.assert_array_equal(first.states, second.states)
    np.testing.assert_array_equal(first.candidates, second.candidates)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_generator_decides_about_the_restarts(attack):
    scene = crossing(opponent_delay=4.0)
    plans = [attack(iterations=2).plan(replace(context(scene), rng=np.random.default_rng(seed))) for seed in (1, 2)]
    np.testing.assert_array_equal(plans[0].candidates[0], plans[1].candidates[0])  # the first begins at the log
    assert not np.allclose(plans[0].candidates[1:], plans[1].candidates[1:])


@pytest.mark.parametrize("attack", ATTACKS)
def test_scenes_that_cannot_be_attacked_are_refused(attack):
    scene = straight_road(with_opponent=False)
    with pytest.raises(AdversaryError, match="cannot attack"):
        attack().plan(context(scene))
    with pytest.raises(AdversaryError, match="cannot attack"):
        attack().plan(context(straight_road(), opponent=0))
    with pytest.raises(AdversaryError, match="never seen"):
        attack().plan(context(straight_road(opponent_from=30)))


@pytest.mark.parametrize("attack", ATTACKS)
def test_options_that_cannot_work_are_refused(attack):
    for wrong in ({"restarts": 0}, {"iterations": 0}, {"learning_rate": 0.0}):
        with pytest.raises(ConfigError, match=attack.name):
            attack(**wrong)
    with pytest.raises(UnknownNameError):
        attack("corect")
    with pytest.raises(ConfigError, match="positive"):
        Bounds(jerk=0.0)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_standing_opponent_follows_its_lane(attack):
    scene = straight_road(opponent_speed=0.0)
    motion = base_motion(context(scene))
    assert motion.speed[-1] == pytest.approx(8.0)
    plan = attack(iterations=20).plan(context(scene))
    assert np.isfinite(plan.states).all()
    assert plan.states[-1, 0] > plan.states[10, 0] + 5.0


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_log_that_ends_early_or_has_gaps_is_prolonged(attack):
    scene = straight_road(opponent_from=6, opponent_to=20, origin=(5000.0, 5000.0))
    plan = attack(iterations=5).plan(context(scene))
    assert not plan.valid[:6].any()
    assert plan.valid[6:].all()
    assert plan.states[plan.valid, :2].min() > 4900


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_newest_of_several_egos_can_be_hit(attack):
    scene = straight_road()
    egos = [log_of(scene, 0), Trajectory(line(0, 0, 0, 12), np.ones(91, bool))]
    plan = attack().plan(context(scene, egos))
    assert plan.info["expects_contact"]
    assert max(meets(scene, plan, ego.states) for ego in egos) > 10


@pytest.mark.parametrize("attack", ATTACKS)
def test_intensity_changes_nothing(attack):
    plans = [attack(iterations=5).plan(replace(context(crossing()), intensity=value)) for value in (0.0, 1.0)]
    np.testing.assert_array_equal(plans[0].states, plans[1].states)
