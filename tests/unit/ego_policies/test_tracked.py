"""Planners of trajectories behind the tracker: what they may answer, and the error that is reported."""

import numpy as np
import pytest

from ego_policies.sensed import SensedPolicy
from ego_policies.tracked import TrackedPolicy, states_of
from ego_policies.vehicle import MODEL
from harness.checks.controller import _bicycle
from harness.checks.policy import log_view
from harness.errors import PolicyError
from harness.interfaces import EgoView
from tests.scenes import straight_road
from tests.unit.adversaries.fakes import line

NOTHING = np.zeros(0, np.float32)
SCENE = straight_road()


class Line:
    """Along a line by absolute step, as poses or states."""

    name, control, observation, privileged = "line", "trajectory", "none", True

    def __init__(self, path, columns=3, rows=20):
        self.path, self.columns, self.rows = path, columns, rows

    def reset(self, scenario, rng):
        pass

    def act(self, observation, view):
        return self.path[view.step + 1 : view.step + 1 + self.rows, : self.columns]


def view_at(step, own):
    return EgoView(step, 0.1, own, (4.5, 1.8), np.zeros((2, 2)), np.zeros((0, 5)), np.zeros((0, 2)))


def driven(policy, own, steps=50):
    policy.reset(SCENE, np.random.default_rng(0))
    for step in range(steps):
        own = _bicycle(own, policy.act(NOTHING, view_at(step, own)), 0.1)
    return own


@pytest.mark.parametrize("columns", [3, 5])
def test_it_comes_to_the_path_and_says_how_far_it_was(columns):
    path = line(0.0, 0.0, 0.0, 10.0, 120)
    policy = TrackedPolicy(Line(path, columns))
    own = driven(policy, line(-2.0, 1.0, 0.0, 10.0)[0])
    assert np.hypot(*(own[:2] - path[50, :2])) < 0.15
    found = policy.measured()
    assert found["tracking_max"] == pytest.approx(np.hypot(2.0, 1.0), abs=0.4)
    assert 0.0 < found["tracking_mean"] < found["tracking_max"]


def test_the_error_is_the_distance_from_the_last_answer_one_step_later():
    policy = TrackedPolicy(Line(line(0.0, 0.0, 0.0, 10.0, 120)))
    policy.reset(SCENE, np.random.default_rng(0))
    assert policy.measured() == {}
    policy.act(NOTHING, view_at(10, line(0.0, 0.0, 0.0, 10.0)[10]))
    policy.act(NOTHING, view_at(11, np.array([11.0, 0.3, 0.0, 10.0, 0.0])))
    policy.act(NOTHING, view_at(12, np.array([12.1, 0.0, 0.0, 10.0, 0.0])))
    assert policy.measured() == {"tracking_mean": pytest.approx(0.2), "tracking_max": pytest.approx(0.3)}


def test_who_sees_the_past_plans_from_there():
    path = line(0.0, 0.0, 0.0, 10.0, 120)
    fresh = TrackedPolicy(Line(path))
    old = TrackedPolicy(SensedPolicy(Line(path), latency=0.5))
    place = line(-1.0, 0.0, 0.0, 10.0)
    for policy in (fresh, old):
        policy.reset(SCENE, np.random.default_rng(0))
        for step in range(12):
            action = policy.act(NOTHING, view_at(step, place[step]))
        policy.action = action
    # Rows of both are at the same absolute steps, so that both want the same.
    np.testing.assert_allclose(old.action, fresh.action, atol=1e-6)
    short = TrackedPolicy(SensedPolicy(Line(path, rows=3), latency=0.5))
    short.reset(SCENE, np.random.default_rng(0))
    for step in range(3):
        short.act(NOTHING, view_at(step, place[step]))
    with pytest.raises(PolicyError, match=r"3 steps old\. Plan further ahead"):
        short.act(NOTHING, view_at(3, place[3]))


@pytest.mark.parametrize(
    "planned", [None, np.zeros((1, 3)), np.zeros((4, 2)), np.zeros(6), [[0, 0, 0], [1, 0]], np.full((3, 3), np.nan)]
)
def test_what_is_no_trajectory(planned):
    with pytest.raises(PolicyError, match="'mine' at step 7"):
        states_of(planned, 0.1, "mine", 7)


def test_velocities_of_poses_are_differences():
    states = states_of(line(0.0, 0.0, 0.5, 8.0, 20)[:, :3], 0.1, "mine", 0)
    np.testing.assert_allclose(states, line(0.0, 0.0, 0.5, 8.0, 20), atol=1e-9)


def test_the_car_of_the_tracker_is_that_of_the_rules():
    assert (MODEL.front_axle + MODEL.rear_axle, MODEL.max_steering) == pytest.approx((2.469, np.deg2rad(40)))


def test_what_else_the_planner_has_is_the_policys_too():
    planner = Line(line(0.0, 0.0, 0.0, 10.0))
    planner.files, planner.sees_futures = ("a",), True
    policy = TrackedPolicy(planner)
    assert (policy.files, policy.sees_futures, policy.control, policy.name) == (("a",), True, "action", "line")
    with pytest.raises(AttributeError):
        _ = policy.observation_size
    assert policy.act(NOTHING, log_view(SCENE, 10)).dtype == np.float32
