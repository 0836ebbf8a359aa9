"""The rule-based expert in scenes whose numbers can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from ego_policies.routes import SampledRoute, prepare_route
from ego_policies.rule_expert import BlindRuleExpertPolicy, RuleExpertConfig, RuleExpertPolicy
from ego_policies.rule_expert.forecast import Controllers, TurnRates, constant_turn, forecast_ego, other_poses
from ego_policies.rule_expert.pid import PID, Gains
from ego_policies.rule_expert.policy import flow_speed, turn_ahead
from ego_policies.rule_expert.safety import BARE, Margin, choose, first_contact
from ego_policies.vehicle import pedal, pedal_acceleration
from harness.errors import ConfigError
from harness.interfaces import STATE, EgoView
from tests.scenes import straight_road

CONFIG = RuleExpertConfig()
CALM = RuleExpertConfig(cruise="constant")
STRAIGHT = np.stack([np.linspace(0.0, 200.0, 101), np.zeros(101)], -1)
CAR = (4.5, 2.0)


def view(ego=(50.0, 0.0, 0.0, 10.0, 0.0), agents=(), futures=None, route=STRAIGHT, step=10, foreseen=None):
    agents = np.array(agents, dtype=float).reshape(-1, STATE)
    sizes = np.tile(CAR, (len(agents), 1))
    return EgoView(step, 0.1, np.array(ego, dtype=float), CAR, route, agents, sizes, None, futures, foreseen)


def moving(agent, steps=80):
    """Futures [1, steps, STATE] of an agent at constant velocity."""
    time = 0.1 * np.arange(1, steps + 1)
    rows = np.tile(np.array(agent, dtype=float), (steps, 1))
    rows[:, :2] += time[:, None] * rows[:, 3:5]
    return rows[None]


def act(policy, sight):
    policy.reset(straight_road(), np.random.default_rng(0))
    return policy.act(np.zeros(0, np.float32), sight)


def test_pid_steps_by_hand():
    pid = PID(Gains(1.25, 0.75, 0.3), window=40)
    assert pid.step(1.0) == pytest.approx(1.25 + 0.75 / 40 + 0.3)
    assert pid.step(1.0) == pytest.approx(1.25 + 0.75 * 2 / 40)
    assert pid.step(0.5) == pytest.approx(1.25 * 0.5 + 0.75 * 2.5 / 40 - 0.3 * 0.5)


def test_the_integral_forgets_after_its_window():
    pid = PID(Gains(0.0, 1.0, 0.0), window=3)
    assert [float(pid.step(error)) for error in (3.0, 0.0, 0.0, 0.0)] == pytest.approx([1.0, 1.0, 1.0, 0.0])


def test_forks_go_their_own_ways_and_leave_the_original_alone():
    pid = PID(Gains(1.0, 1.0, 1.0), window=4)
    pid.step(2.0)
    twin = pid.fork(2)
    together = twin.step(np.array([1.0, -1.0]))
    assert together == pytest.approx([1 + 3 / 4 - 1, -1 + 1 / 4 - 3])
    assert pid.step(1.0) == pytest.approx(1 + 3 / 4 - 1)


def test_pedals_and_accelerations_are_inverse():
    for acceleration in (-5.0, -0.36, 0.0, 1.5):
        found = pedal_acceleration(np.array(pedal(acceleration, 9.0)), np.array(10.0))
        assert float(found) == pytest.approx(acceleration)


def test_the_forecast_of_a_straight_drive():
    """At the target speed the pedal only makes up for rolling: 1 m per step, minus next to nothing."""
    poses, speeds = forecast_ego(
        view().ego, np.array([10.0, 0.0]), Controllers(CALM), SampledRoute(STRAIGHT), 50.0, 20, 0.1
    )
    assert poses.shape == (2, 20, 3)
    assert poses[0, :, 0] == pytest.approx(51.0 + np.arange(20), abs=0.3)
    assert poses[0, :, 1:] == pytest.approx(0.0, abs=1e-9)
    # Target 0: the first pedal is full brake, 12 m/s², from the second step on seen in the position.
    assert speeds[1, :3] == pytest.approx([8.8, 7.6, 6.4])
    assert poses[1, :3, 0] == pytest.approx([51.0, 51.88, 52.64])
    assert speeds[1, -1] < 0.1


def test_constant_turn_goes_round_in_a_circle():
    """10 m/s and 0.5 rad/s: radius 20; after pi / 0.5 s it is on the other side, facing back."""
    steps = 1000
    track = constant_turn(np.array([[0.0, 0.0, 0.0, 10.0, 0.0]]), np.array([0.5]), steps, np.pi / 0.5 / steps)
    assert track[0, -1] == pytest.approx([0.0, 40.0, np.pi], abs=1e-6)
    assert track[0, steps // 2 - 1] == pytest.approx([20.0, 20.0, np.pi / 2], abs=1e-6)
    straight = constant_turn(np.array([[0.0, 0.0, 0.0, 10.0, 0.0]]), np.zeros(1), 3, 0.1)
    assert straight[0, :, 0] == pytest.approx([1.0, 2.0, 3.0])


def test_turn_rates_follow_agents_whose_rows_move():
    rates = TurnRates()
    first, second = (0.0, 0.0, 0.0, 10.0, 0.0), (50.0, 20.0, 1.0, 0.0, 5.0)
    assert rates.update(view(agents=[first, second])) == pytest.approx([0.0, 0.0])
    moved = (50.0, 20.5, 1.03, 0.0, 5.0)
    assert rates.update(view(agents=[moved])) == pytest.approx([0.3])
    newcomer = (90.0, 0.0, 2.0, 5.0, 0.0)
    assert rates.update(view(agents=[newcomer, (50.0, 21.0, 1.03, 0.0, 5.0)])) == pytest.approx([0.0, 0.0])


def test_first_contact_by_hand():
    """Centres 30 m apart, closing at 10 m/s from behind a standing car: boxes 4.5 m long meet after 25.5 m."""
    time = 0.1 * np.arange(1, 41)
    ego = np.stack([10.0 * time, 0 * time, 0 * time], -1)[None]
    standing = np.tile([30.0, 0.0, 0.0], (1, 40, 1))
    contact = first_contact(ego, CAR, standing, np.array([CAR]), BARE)
    assert contact.step.tolist() == [25]  # row 25 is after 2.6 s: 26 m
    assert contact.agent.tolist() == [0]
    beside = standing + np.array([0.0, 2.1, 0.0])
    assert first_contact(ego, CAR, beside, np.array([CAR]), BARE).step.tolist() == [40]
    assert first_contact(ego, CAR, beside, np.array([CAR]), Margin(0.0, 0.2)).step.tolist() == [25]
    assert first_contact(ego, CAR, standing, np.array([CAR]), Margin(1.0, 0.0)).step.tolist() == [24]
    gone = np.where(np.arange(40)[None, :, None] < 20, standing, np.nan)
    assert first_contact(ego, CAR, gone, np.array([CAR]), BARE).step.tolist() == [40]


def test_choice_takes_the_first_free_then_the_latest_collision_then_the_slowest():
    speeds, never = np.array([10.0, 5.0, 0.0]), np.array([20, 20, 20])
    assert choose(np.array([12, 20, 20]), never, speeds, 20) == 1
    assert choose(np.array([12, 15, 14]), never, speeds, 20) == 1
    assert choose(np.array([12, 15, 14]), np.array([13, 16, 20]), speeds, 20) == 2
    assert choose(np.array([12, 12, 12]), np.array([14, 14, 14]), speeds, 20) == 2


@pytest.mark.parametrize("policy", [RuleExpertPolicy(CALM), BlindRuleExpertPolicy(CALM)], ids=lambda p: p.name)
def test_holds_its_speed_on_a_free_road(policy):
    action = act(policy, view())
    assert action == pytest.approx([0.0, 0.0], abs=1e-6)
    assert action.dtype == np.float32


@pytest.mark.parametrize("policy", [RuleExpertPolicy(CALM), BlindRuleExpertPolicy(CALM)], ids=lambda p: p.name)
def test_brakes_before_a_crossing_box(policy):
    """A car comes from the right and is on the ego's lane when the ego would be there, 1.5 s from now."""
    crossing = (65.0, -15.0, np.pi / 2, 0.0, 10.0)
    clear = (65.0, -45.0, np.pi / 2, 0.0, 10.0)
    assert act(policy, view(agents=[crossing], futures=moving(crossing)))[1] < -0.2
    assert act(policy, view(agents=[clear], futures=moving(clear)))[1] == pytest.approx(0.0, abs=1e-6)


def test_only_the_one_who_knows_brakes_for_a_swerve_to_come():
    """The neighbour drives straight on now and will be in the ego's lane, standing, in a second."""
    neighbour = (62.0, 3.5, 0.0, 10.0, 0.0)
    futures = moving(neighbour)
    futures[0, 10:] = [66.0, 0.0, 0.0, 0.0, 0.0]
    sight = view(agents=[neighbour], futures=futures)
    assert act(RuleExpertPolicy(CALM), sight)[1] < -0.2
    assert act(BlindRuleExpertPolicy(CALM), sight)[1] == pytest.approx(0.0, abs=1e-6)


def test_speeds_up_before_somebody_closing_in_from_behind():
    behind = (38.0, 0.0, 0.0, 16.0, 0.0)
    assert act(RuleExpertPolicy(CALM), view(agents=[behind], futures=moving(behind)))[1] > 0.5


def test_where_nobody_knows_the_future_it_guesses():
    crossing = (65.0, -15.0, np.pi / 2, 0.0, 10.0)
    unknown = np.full((1, 80, STATE), np.nan)
    assert act(RuleExpertPolicy(CALM), view(agents=[crossing], futures=unknown))[1] < -0.2


def test_who_is_known_for_a_while_only_goes_on_by_its_last_speed_and_turn_rate():
    """Half a second is known: 1 m a step along x, then a turn to the left by 0.05 rad in the last known step."""
    neighbour = (62.0, 3.5, 0.0, 10.0, 0.0)
    futures = moving(neighbour)
    futures[0, 4, 2:] = [0.05, 10.0 * np.cos(0.05), 10.0 * np.sin(0.05)]
    futures[0, 5:] = np.nan
    sight = view(agents=[neighbour], futures=futures, foreseen=np.array([5]))
    poses = other_poses(sight, np.zeros(1), 20, knows=True)[0]
    assert poses[:5] == pytest.approx(futures[0, :5, :3])
    assert poses[5:, 2] == pytest.approx(0.05 + 0.05 * np.arange(1, 16))
    # A circle of radius v/w = 10 / 0.5 = 20 m whose centre is 20 m to the left of the last known pose.
    middle = np.array([67.0 - 20 * np.sin(0.05), 3.5 + 20 * np.cos(0.05)])
    assert np.hypot(*(poses[5:, :2] - middle).T) == pytest.approx(np.full(15, 20.0))
    gone = other_poses(view(agents=[neighbour], futures=futures, foreseen=np.array([80])), np.zeros(1), 20, knows=True)
    assert np.isnan(gone[0, 5:]).all(), "known to be gone"


def test_it_brakes_for_somebody_of_whom_only_the_next_half_second_is_known():
    crossing = (65.0, -15.0, np.pi / 2, 0.0, 10.0)
    futures = moving(crossing)
    futures[0, 5:] = np.nan
    sight = view(agents=[crossing], futures=futures, foreseen=np.array([5]))
    assert act(RuleExpertPolicy(CALM), sight)[1] < -0.2
    assert act(RuleExpertPolicy(CALM), replace(sight, foreseen=np.array([80])))[1] == pytest.approx(0.0, abs=1e-6)


def test_steers_back_to_the_route():
    assert act(RuleExpertPolicy(CALM), view(ego=(50.0, 1.0, 0.0, 10.0, 0.0)))[0] < -0.2
    # 1 m aside and 3 m of look-ahead (0.3 s at 10 m/s): the angle is atan(1/3).
    error = -np.arctan(1 / 3)
    assert act(RuleExpertPolicy(CALM), view(ego=(50.0, 1.0, 0.0, 10.0, 0.0)))[0] == pytest.approx(
        error * (1.25 + 0.75 / 40 + 0.3), abs=1e-6
    )


def test_bends_are_intersections():
    corner = prepare_route(np.array([[0.0, 0.0], [50.0, 0.0], [50.0, 50.0]]), 0.0, np.zeros(2))
    route = SampledRoute(corner)
    assert turn_ahead(route, 20.0) == pytest.approx(0.0)
    assert turn_ahead(route, 48.0) == pytest.approx(np.pi / 2, abs=0.2)
    assert act(RuleExpertPolicy(CALM), view(ego=(47.0, 0.0, 0.0, 6.0, 0.0), route=corner[:-1]))[1] < 0.0


def test_flow_speed_is_the_75th_percentile_within_bounds():
    route = SampledRoute(STRAIGHT)

    def flow(*speeds, y=3.5):
        return flow_speed(view(agents=[(55.0 + i, y, 0.0, v, 0.0) for i, v in enumerate(speeds)]), route, 50.0, CONFIG)

    assert flow() is None
    assert flow(0.0) is None
    assert flow(8.0, 12.0) == pytest.approx(11.0)
    assert flow(2.0) == pytest.approx(5.0)
    assert flow(0.5, 8.0) == pytest.approx(8.0), "a waiting car is not traffic that flows"
    assert flow(-9.0) is None, "nor is oncoming traffic"
    assert flow(40.0) == pytest.approx(25.0)
    assert flow(8.0, y=9.0) is None


def test_impossible_constants_are_refused():
    with pytest.raises(ConfigError, match="horizon"):
        RuleExpertConfig(horizon=0.0)
    with pytest.raises(ConfigError, match="cruise"):
        RuleExpertConfig(cruise="fast")
