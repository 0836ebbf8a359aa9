"""Agents that enter and leave, without an engine: slots, stays, and traffic that flows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.checks import check_traffic
from harness.errors import ConfigError, ConformanceError
from harness.interfaces import Newcomer
from harness.traffic.lane_flow import Counts, FlowRun, LaneFlowTraffic, _circles
from harness.traffic.lane_idm import LaneIDMTraffic
from harness.traffic.lane_paths import AT_REST, FREE, first_red, red_stops
from harness.traffic.rollouts import PolicySimulator
from harness.traffic.slots import Slots, as_played, reserve_of
from scenarios.scenario import Kind
from tests.scenes import Agent, crossing, straight_road

CAR = (4.5, 2.0, 1.5)


def nobody(count):
    return np.zeros(count, bool)


def at(count, *rows):
    return np.isin(np.arange(count), rows)


def test_a_reserve_is_invalid_rows_at_the_end():
    scene = straight_road()
    longer = scene.with_reserve(3)
    assert longer.num_agents == scene.num_agents + 3
    assert not longer.valid[-3:].any()
    assert len(set(longer.agent_ids)) == longer.num_agents
    assert np.array_equal(longer.position[:-3], scene.position)
    assert (longer.ego, longer.opponent) == (scene.ego, scene.opponent)
    assert scene.with_reserve(0) is scene
    twice = longer.with_reserve(1)
    assert len(set(twice.agent_ids)) == twice.num_agents


def test_one_slot_serves_one_after_the_other_and_the_record_keeps_them_apart():
    scene = straight_road().with_reserve(1)
    slots, slot = Slots(scene, 1), 2
    present = np.zeros((3, 12), bool)
    states = np.zeros((3, 12, 5))
    present[:2], states[slot, :, 0] = True, np.arange(12)
    present[slot, 3:6] = present[slot, 8:] = True
    slots.enter([Newcomer(slot, Kind.VEHICLE, CAR)], 3, at(3, 0, 1, 2), at(3, 0, 1))
    assert slots.sizes[slot].tolist() == [4.5, 2.0]
    slots.enter([Newcomer(slot, Kind.CYCLIST, (1.8, 0.6, 1.7))], 8, at(3, 0, 1, 2), at(3, 0, 1))
    assert slots.kinds[slot] == Kind.CYCLIST
    valid, motion, who = slots.apart(present, states)
    assert [list(np.flatnonzero(row)) for row in valid[2:]] == [[3, 4, 5], [8, 9, 10, 11]]
    assert motion[2, 3:6, 0].tolist() == [3, 4, 5]
    assert not motion[2, 8:].any()
    assert [(one.slot, one.kind) for one in who] == [(2, Kind.VEHICLE), (3, Kind.CYCLIST)]
    scene = as_played(straight_road(), who)
    assert scene.box(3) == (1.8, 0.6)
    assert scene.kinds.tolist() == [0, 0, 0, 2]


def test_whom_the_engine_refuses_has_not_entered():
    slots = Slots(straight_road().with_reserve(2), 2)
    slots.enter([Newcomer(2, Kind.VEHICLE, CAR), Newcomer(3, Kind.VEHICLE, CAR)], 4, at(4, 2, 3), nobody(4))
    slots.refuse(np.array([2]), 4)
    assert [stay.who.slot for stay in slots.stays] == [3]
    # Who was in the slot before has been there.
    slots.enter([Newcomer(3, Kind.CYCLIST, CAR)], 9, at(4, 3), nobody(4))
    slots.refuse(np.array([3]), 9)
    assert [(stay.who.kind, stay.step) for stay in slots.stays] == [(Kind.VEHICLE, 4)]


@pytest.mark.parametrize(
    ("newcomers", "present", "here", "message"),
    [
        ([Newcomer(1, Kind.VEHICLE, CAR)], (1,), (), "agent 1 cannot enter"),
        ([Newcomer(2, Kind.VEHICLE, CAR)], (2,), (2,), "agent 2 cannot enter"),
        ([Newcomer(2, Kind.VEHICLE, CAR)], (), (), "agent 2 cannot enter"),
        ([Newcomer(2, Kind.VEHICLE, CAR)] * 2, (2,), (), "agent 2 cannot enter"),
        ([Newcomer(2, Kind.CONE, CAR)], (2,), (), "expected a vehicle"),
        ([Newcomer(2, Kind.VEHICLE, (4.0, 0.0, 1.0))], (2,), (), "positive length"),
        ([Newcomer(2, Kind.VEHICLE, (4.0, float("inf"), 1.0))], (2,), (), "positive length"),
        ([], (3,), (), r"agents \[3\] are valid"),
    ],
)
def test_broken_contracts_are_named(newcomers, present, here, message):
    slots = Slots(straight_road().with_reserve(2), 2)
    with pytest.raises(ConformanceError, match=message):
        slots.enter(newcomers, 5, at(4, *present), at(4, *here))


def test_only_traffic_that_spawns_needs_slots():
    assert reserve_of(LaneIDMTraffic()) == 0
    assert reserve_of(LaneFlowTraffic(reserve=7)) == 7
    assert reserve_of(None) == 0


def test_flowing_traffic_keeps_its_contract():
    check_traffic(LaneFlowTraffic(inflow=1500.0, reserve=8), crossing())


def play(policy, scene, steps, refuse=()):
    """States [S, A, 5] and validity [S, A]; nobody but the policy moves anybody; slots in `refuse` are not let in."""
    scene = scene.with_reserve(policy.reserve)
    states = np.stack([scene.states(agent) for agent in range(scene.num_agents)])[:, 0]
    valid, slots = scene.valid[:, 0], Slots(scene, policy.reserve)
    policy.reset(scene, np.random.default_rng(0))
    rows = []
    for step in range(steps):
        before = valid
        states, valid = policy.step(step, states, valid)
        slots.enter(policy.spawned(), step + 1, valid, before)
        valid[list(refuse)] = False
        rows.append((states.copy(), valid.copy()))
    return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])


def test_vehicles_enter_at_lane_starts_and_leave_at_lane_ends():
    policy = LaneFlowTraffic(inflow=600.0, reserve=12)
    states, valid = play(policy, straight_road(with_opponent=False), 700)
    entered = [
        (step, slot) for slot in range(1, 13) for step in np.flatnonzero(np.diff(valid[:, slot].astype(int)) > 0)
    ]
    left = [(step, slot) for slot in range(1, 13) for step in np.flatnonzero(np.diff(valid[:, slot].astype(int)) < 0)]
    counts = policy.counts
    assert (counts.entered, counts.left, counts.jammed) == (len(entered), len(left), 0)
    # 600 an hour by each of two lanes for 69 s: 23 expected, ± 3 standard deviations.
    assert 9 <= counts.entered <= 38
    assert counts.entered > 12, "slots are used again"
    assert all(np.isclose(states[step + 1, slot, 0], -100.0) for step, slot in entered)
    assert all(states[step, slot, 0] > 298.0 for step, slot in left)


def test_without_inflow_nobody_enters_and_a_refused_newcomer_frees_its_slot():
    policy = LaneFlowTraffic(inflow=0.0)
    _, valid = play(policy, straight_road(), 60)
    assert not valid[:, 2:].any()
    policy = LaneFlowTraffic(inflow=3000.0, reserve=2)
    _, valid = play(policy, straight_road(), 60, refuse=(2, 3))
    assert policy.counts.entered > 2
    assert len(policy._run.driving) <= 1


def test_an_entrance_with_somebody_in_it_waits():
    parked = [Agent("one", -98.0, 0.0, speed=0.0), Agent("two", -98.0, 3.5, speed=0.0)]
    policy = LaneFlowTraffic(inflow=3000.0)
    _, valid = play(policy, straight_road(extra=parked), 40)
    # They drive off after step 10; until they have left room nobody comes.
    assert not valid[:12, 4:].any()


def test_who_stands_for_too_long_is_taken_out():
    policy = LaneFlowTraffic(inflow=0.0, patience=2.0)
    scene = straight_road(opponent_offset=0.0, opponent_gap=30.0, extra=[Agent("stuck", 18.0, 0.0, speed=1.0)])
    scene = scene.with_opponent(None)
    stays = np.stack([scene.states(agent) for agent in range(3)])

    policy.reset(scene.with_reserve(policy.reserve), np.random.default_rng(0))
    assert policy.counts == Counts()
    states = np.concatenate([stays[:, 10], np.zeros((policy.reserve, 5))])
    valid, stood = at(len(states), 0, 1, 2), 0
    for step in range(10, 45):
        # The ego stands before the others' bumpers.
        states[0] = [22.0, 0.0, 0.0, 0.0, 0.0]
        states, valid = policy.step(step, states, valid)
        valid[0] = True
        stood += bool(valid[2] and np.hypot(*states[2, 3:]) < AT_REST)
    assert not valid[2]
    # After 2 s in steps of .1 s.
    assert 19 <= stood <= 22
    assert policy.counts.jammed == 1


def test_who_is_parked_stays():
    scene = straight_road(with_opponent=False, extra=[Agent("parked", 50.0, -1.8, speed=0.0)])
    policy = LaneFlowTraffic(inflow=0.0, patience=2.0)
    _, valid = play(policy, scene, 60)
    assert valid[-1, 1]
    assert policy.counts.jammed == 0


@pytest.mark.parametrize(("first", "then", "passes"), [("GO", "GO", True), ("GO", "STOP", False), ("STOP", "GO", True)])
def test_drivers_heed_lights_as_they_change(first, then, passes):
    states = [f"LANE_STATE_{first}"] * 30 + [f"LANE_STATE_{then}"] * 10
    light = {"lane": "right", "stop_point": np.array([90.0, 0.0, 0.0]), "state": {"object_state": states}}
    scene = straight_road(with_opponent=False, extra=[Agent("car", 30.0, 0.0, speed=10.0)])
    where, _ = play(LaneFlowTraffic(inflow=0.0), replace(scene, lights={"1": light}), 150)
    assert (where[:, 1, 0].max() > 90.0) == passes
    assert passes or where[-1, 1, 0] > 80.0


def test_circles():
    assert sorted(map(sorted, _circles({1: 2, 2: 3, 3: 2, 4: 1, 5: 9, 6: 6}))) == [[2, 3], [6]]
    assert list(_circles({})) == []


def test_of_two_who_block_each_other_one_drives_on():
    scene = crossing(opponent_delay=0.0, ego_speed=1.0).with_opponent(None)
    pose = np.array([[-3.0, 0.0, 0.0], [0.0, -3.0, np.pi / 2]])
    run = FlowRun(scene, LaneFlowTraffic().config, pose, np.zeros((2, 2)), np.full((2, 2), (2.25, 1.0)), 1, None, 0.1)
    run._rng = np.random.default_rng(0)
    run.join(scene, np.array([0, 1]))
    assert set(run.ahead()[2][0]) == {0, 1}
    assert run.ahead()[2][0].tolist() == [-1, 0]


def test_lights_go_on_and_stay_as_they_are_in_the_last_row():
    light = {"stop_point": np.array([10.0, 0.0, 0.0]), "state": {"object_state": ["LANE_STATE_GO"] * 20}}
    light["state"]["object_state"][15:] = ["LANE_STATE_STOP"] * 5
    scene = replace(straight_road(), lights={"1": light})
    assert len(red_stops(scene)) == 0
    assert red_stops(scene, 15).tolist() == red_stops(scene, 500).tolist() == [[10.0, 0.0]]
    line = np.array([[0.0, 0.0], [30.0, 0.0]])
    assert first_red(line, red_stops(scene, 15)) == 10.0
    assert first_red(line, red_stops(scene, 15), after=12.0) == FREE


def test_whole_scenes_with_and_without_comings():
    scene, policy = straight_road(), LaneFlowTraffic(inflow=900.0)
    short = PolicySimulator(policy).simulate(scene, 2, 1)
    assert short.states.shape == (2, 2, 80, 4)
    assert short.valid is None
    long = PolicySimulator(policy, steps=300, comings=True).simulate(scene, 2, 1)
    assert long.steps == 300
    for roll in range(2):
        rows = [who.slot for who in long.newcomers_in(roll)]
        assert rows == list(range(2, 2 + len(rows)))
        assert long.valid[roll, rows].any(1).all()
        assert not long.valid[roll, 2 + len(rows) :].any()
    assert not long.valid[0, 0, -1], "the ego's car has left by the end of its lane"
    assert len(long.newcomers_in(0)) != 0


@pytest.mark.parametrize("options", [{"inflow": -1.0}, {"reserve": 0}, {"patience": 0.0}, {"speed": 0.0}])
def test_numbers_that_cannot_be(options):
    with pytest.raises(ConfigError, match="idm-"):
        LaneFlowTraffic(**options)
