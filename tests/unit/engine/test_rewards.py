"""Rewards, costs and endings by arithmetic."""

import dataclasses
import math

import numpy as np
import pytest

from harness.engine.config import REWARDS, EngineConfig
from harness.engine.drive_reward import needed_speed
from harness.engine.rewards import Verdict, arrived, judge, off_road
from tests.unit.engine.fakes import FakeEgo, straight

CAT, METADRIVE = REWARDS["cat"], REWARDS["metadrive"]
DENSE = dataclasses.replace(METADRIVE, no_negative=False)


def driven(*, right: float = 0.0, to: float = 12.0, theta: float = 0.0, **flags: bool) -> FakeEgo:
    """An ego on a straight route of 100 m that has just come from 10 m."""
    ego = FakeEgo(straight(100.0), x=10.0, y=-right, theta=theta, speed=20.0)
    ego.move_to(to, -right)
    for name, value in flags.items():
        setattr(ego, name, value)
    return ego


def verdict(ego: FakeEgo, preset=CAT, **options) -> Verdict:
    return judge(ego, EngineConfig(**options), preset)


@pytest.mark.parametrize("preset", [CAT, METADRIVE])
def test_driving_earns_the_metres_along_the_route(preset):
    judged = verdict(driven(), preset)
    assert judged.reward == pytest.approx(2.0)
    assert judged.cost == 0
    assert not judged.terminated


@pytest.mark.parametrize(("preset", "reward"), [(CAT, 10.0), (METADRIVE, 5.0)])
def test_arriving_replaces_the_reward_and_ends_the_episode(preset, reward):
    judged = verdict(driven(to=95.5), preset)
    assert (judged.reward, judged.terminated, judged.info["arrive_dest"]) == (reward, True, True)
    assert judged.info["step_reward"] == pytest.approx(85.5)


def test_arrival_begins_after_ninety_five_percent():
    assert not arrived(driven(to=95.0))
    assert arrived(driven(to=95.1))


@pytest.mark.parametrize("path", [straight(0.0).repeat(20, axis=0), np.array([[0.0, 0.0], [0.9, 0.0], [1.5, 0.0]])])
@pytest.mark.parametrize("preset", [CAT, METADRIVE])
def test_a_parked_ego_never_arrives_and_has_no_completion(path, preset):
    ego = FakeEgo(path)
    assert not ego.navigation.reference_trajectory.leads_somewhere
    for x in (0.0, 0.1, 1.5, -3.0):
        ego.move_to(x, 0.0)
        judged = verdict(ego, preset)
        assert not arrived(ego)
        assert not judged.terminated
        assert judged.reward < 5.0
        assert math.isnan(judged.info["route_completion"])


def test_a_route_of_two_metres_leads_somewhere():
    ego = FakeEgo(straight(2.0))
    assert not arrived(ego)
    ego.move_to(1.95, 0.0)
    assert arrived(ego)


@pytest.mark.parametrize(("preset", "limit"), [(CAT, 10.0), (METADRIVE, 4.0)])
def test_leaving_the_road_is_decided_by_the_distance_from_the_route(preset, limit):
    assert not off_road(driven(right=limit - 0.1), preset)
    assert off_road(driven(right=limit + 0.1), preset)
    judged = verdict(driven(right=-limit - 0.1), preset)
    assert judged.reward == -preset.off_road
    assert (judged.cost, judged.terminated, judged.info["out_of_road"]) == (1.0, True, True)


def test_only_cat_ends_at_yellow_lines_and_sidewalks():
    for flag in ("on_yellow_continuous_line", "crash_sidewalk"):
        assert off_road(driven(**{flag: True}), CAT)
        assert not off_road(driven(**{flag: True}), METADRIVE)


def test_driving_off_backwards_ends_the_episode_without_a_fine():
    judged = verdict(driven(to=-10.5))
    assert judged.terminated
    assert judged.info["out_of_road"]
    assert judged.reward == pytest.approx(-20.5)
    assert not verdict(driven(to=-9.5)).terminated


def test_a_contact_ends_the_episode_only_where_that_is_asked_for():
    crashed = driven(crash_vehicle=True)
    assert not verdict(crashed).terminated
    assert verdict(crashed, crash_vehicle_done=True).terminated
    assert verdict(crashed).info["crash"]


def test_cat_fines_the_first_crash_and_counts_one():
    both = driven(crash_vehicle=True, crash_object=True)
    preset = dataclasses.replace(CAT, crash_vehicle=3.0, crash_object=7.0)
    assert (verdict(both, preset).reward, verdict(both, preset).cost) == (-3.0, 1.0)
    assert verdict(driven(crash_object=True), preset).reward == -7.0


def test_metadrive_fines_the_last_crash_and_counts_all():
    preset = dataclasses.replace(DENSE, crash_vehicle=3.0, crash_object=7.0, crash_human=9.0)
    ego = driven(crash_vehicle=True, crash_object=True)
    assert (verdict(ego, preset).reward, verdict(ego, preset).cost) == (-7.0, 2.0)
    ego.crash_human = True
    assert (verdict(ego, preset).reward, verdict(ego, preset).cost) == (-9.0, 3.0)


def test_touching_a_line_costs_in_the_dense_reward_only():
    ego = driven(on_white_continuous_line=True)
    assert verdict(ego, METADRIVE).reward == -1.0
    assert verdict(ego, CAT).reward == pytest.approx(2.0)
    assert verdict(ego, CAT).info["num_on_line"] == 1


def test_dense_terms():
    ego = driven(right=2.0, theta=0.3)
    ego.action = (0.8, 0.0)
    info = verdict(ego, DENSE).info
    # Two of four metres at half weight; 0.3 rad of pi; at 20 m/s a steering of 0.05 is free, at half weight.
    assert info["step_reward_lateral"] == pytest.approx(-0.25)
    assert info["step_reward_heading"] == pytest.approx(-0.3 / math.pi)
    assert info["step_reward_action_smooth"] == pytest.approx((1 / 20 - 0.8) / 2)
    assert info["step_reward"] == pytest.approx(2.0 - 0.25 - 0.3 / math.pi - 0.375)


def test_a_dense_step_is_never_negative_before_fines():
    ego = driven(right=3.9, to=10.0)
    assert verdict(ego, DENSE).reward < 0
    assert verdict(ego, METADRIVE).reward == 0.0


def test_info_says_where_the_ego_is():
    info = verdict(driven(right=1.5)).info
    assert info["route_completion"] == pytest.approx(0.12)
    assert info["track_length"] == pytest.approx(100.0)
    assert info["lateral_dist"] == pytest.approx(1.5)
    assert info["velocity"] == pytest.approx(20.0)


def test_the_speed_that_is_needed():
    assert needed_speed(30.0, 6.0, 0.1) == 5.0
    assert needed_speed(30.0, 0.0, 0.1) == 300.0
    assert needed_speed(-2.0, 6.0, 0.1) == 0.0


def test_the_drive_reward_is_the_sum_of_its_parts():
    # 2 of 100 m in a step, 1 m beside the route, at 20 m/s where 88 m in 8 s need 11: 20 - 1.25 x 11 - 2 too fast.
    ego = driven(right=1.0)
    ego.action, ego.last_action_taken = (0.2, 0.5), (0.0, 1.0)
    parts = 0.03 * 2 + 4 * 0.02 - 0.05 * 0.04 - 0.01 * 0.25 - 0.01 * 0.04 - 0.03 - 0.02 * (20 - 13.75 - 2)
    judged = judge(ego, EngineConfig(), REWARDS["drive"], seconds_left=8.0)
    assert judged.reward == pytest.approx(parts)
    assert not judged.terminated
    for flag, price, ends in (
        ("crash_vehicle", 5, True),
        ("crash_human", 0.3, False),
        ("on_yellow_continuous_line", 5, True),
    ):
        setattr(ego, flag, True)
        hit = judge(ego, EngineConfig(), REWARDS["drive"], seconds_left=8.0)
        assert (hit.reward, hit.terminated) == (pytest.approx(parts - price), ends)
        setattr(ego, flag, False)
