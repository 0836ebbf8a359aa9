"""Objectives against hand-worked scenes."""

import numpy as np
import pytest

from adversaries.sage.objectives import Objectives, Values, concatenate
from harness.metrics.compliance import off_road_steps, traffic_contact_steps
from scenarios.map_index import MapIndex
from tests.scenes import Agent, crossing, straight_road
from tests.unit.adversaries.fakes import line

# Road edges at y = -2 and y = 5.5, cars 4.5 m by 2 m, ego along y = 0 at 10 m/s from x = 0.
CENTRED = line(20, 3.5, 0, 10)  # left lane: box from y = 2.5 to 4.5
ON_EDGE = line(20, 4.6, 0, 10)  # box up to y = 5.6
PARKED = line(60, 0, 0, 0)  # the ego meets it at step 56


def judge(states, scene=None, **options):
    scene = scene or straight_road()
    objectives = Objectives(scene, 1, **options)
    ego = scene.states(scene.ego)[None], scene.valid[scene.ego][None]
    return objectives(np.stack(states), np.ones(91, bool), *ego, scene.box(scene.ego))


def test_straight_constant_speed_has_the_floor_of_realism() -> None:
    values = judge([CENTRED])
    # The published weights' floor: 5 S(0, 7) + 5 S(0, 6) + 5 S(0, 0.8), and 5 S(0, pi).
    assert values.kinematic[0] == pytest.approx(5 * sum(np.log1p(np.exp(-c)) for c in (7, 6, 0.8)))
    assert values.kinematic[0] == pytest.approx(1.872, abs=1e-3)
    assert values.behavioural[0] == pytest.approx(0.212, abs=1e-3)
    assert values.realism[0] == values.kinematic[0] + values.behavioural[0]


def test_adversarial_reward_counts_the_time_to_contact() -> None:
    values = judge([PARKED, CENTRED])
    assert values.adversarial[0] == pytest.approx(10 * (1 - 46 / 80))  # step 56 is the 46th of 80
    assert values.adversarial[1] == pytest.approx(np.exp(-0.2 * np.hypot(20, 3.5)))
    assert values.hits.tolist() == [True, False]


def test_several_ego_trajectories_are_averaged() -> None:
    scene = straight_road()
    log = scene.states(scene.ego)
    away = log + np.array([0, 200.0, 0, 0, 0])
    objectives = Objectives(scene, 1)
    never = np.zeros(91, bool)
    both = np.stack([log, away, log])
    valid = np.stack([np.ones(91, bool), np.ones(91, bool), never])
    values = objectives(PARKED[None], np.ones(91, bool), both, valid, scene.box(0))
    # A trajectory that never coincides in time says nothing: the mean is over the other two.
    assert values.adversarial[0] == pytest.approx(10 * (1 - 46 / 80) / 2, abs=1e-6)


def test_road_edges_decide_feasibility_at_any_future_step() -> None:
    late = CENTRED.copy()
    late[90, 1] = 4.6
    past = CENTRED.copy()
    past[:11, 1] = 4.6
    values = judge([CENTRED, ON_EDGE, late, past])
    assert values.off_road.tolist() == [False, True, True, False]
    assert values.feasible.tolist() == [True, False, False, True]
    assert values.map_penalty.tolist() == [0, 50, 50, 0]


def test_without_road_edges_their_term_is_zero_and_feasibility_no_judgement() -> None:
    values = judge([CENTRED, ON_EDGE], straight_road(edges=False))
    assert values.off_road.tolist() == [False, False]
    assert values.map_penalty.tolist() == [0, 0]
    assert not values.edges.any()
    assert judge([CENTRED]).edges.all()


def test_other_tracks_decide_feasibility_but_the_ego_does_not() -> None:
    other = Agent("other", x=30, y=3.5, speed=0)
    scene = straight_road(extra=[other])
    values = judge([CENTRED, PARKED], scene)
    assert values.contact.tolist() == [True, False]
    assert values.map_penalty.tolist() == [10, 0]
    assert values.hits.tolist() == [False, True]


def test_tracks_count_only_while_they_are_there() -> None:
    # The candidate is at x = 40 m at step 20; the other car stands there from step 40 on.
    scene = straight_road(extra=[Agent("other", x=40, y=3.5, speed=0, first=40)])
    assert not judge([CENTRED], scene).contact[0]
    assert judge([CENTRED], straight_road(extra=[Agent("other", x=40, y=3.5, speed=0, first=0, last=20)])).contact[0]


def test_contact_agrees_with_a_plain_check_of_every_pair() -> None:
    rng = np.random.default_rng(1)
    others = [
        Agent(f"a{i}", *rng.uniform(-40, 40, 2), heading=rng.uniform(-3, 3), speed=rng.uniform(0, 8)) for i in range(12)
    ]
    scene = crossing(extra=others, origin=(5000.0, -3000.0), rotation=0.4)
    paths = []
    for _ in range(64):
        path = line(0, 0, rng.uniform(-3, 3), rng.uniform(0, 12))
        path[:, :2] += np.array([5000.0, -3000.0]) + rng.uniform(-30, 30, 2)
        paths.append(path)
    paths, valid = np.stack(paths), np.ones((64, 91), bool)
    valid[5, 30:50] = False
    values = Objectives(scene, 1)(paths, valid, scene.states(0)[None], scene.valid[0][None], scene.box(0))
    plain = traffic_contact_steps(scene, paths, valid, scene.box(1), (0, 1), 11).any(-1)
    assert 5 < plain.sum() < 60
    np.testing.assert_array_equal(values.contact, plain)
    edges = off_road_steps(MapIndex.of(scene), paths, valid, scene.box(1), 11).any(-1)
    assert 5 < edges.sum() < 64
    np.testing.assert_array_equal(values.off_road, edges)


def test_boxes_turn_with_their_heading_and_the_published_code_turns_them_back() -> None:
    # Road edges meet at (2, 2), north-east of the crossing. Pointing there from (0.9, 0.9) the nose crosses them;
    # turned to -0.9 rad the car lies between the eastern and the northern road, 0.54 m short of the corner.
    states = line(0.9, 0.9, 0.9, 0)
    assert judge([states], crossing()).off_road[0]
    assert not judge([states], crossing(), published=True).off_road[0]


def test_rewards() -> None:
    values = Values(np.array([4.0]), np.array([2.0]), np.array([1.0]), *[np.array([True])] * 4)
    assert values.preference(0.9, 0.1)[0] == pytest.approx(0.9 * 4 - 0.1 * 3)
    assert values.total(0.9, 0.1, 0.5)[0] == pytest.approx(0.9 * 4 - 0.1 * 3 - 30)
    assert not values.feasible[0]
    both = concatenate([values, values])
    assert both.take([0, 1, 1]).adversarial.tolist() == [4, 4, 4]
