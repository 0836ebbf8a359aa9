"""Vehicles that drive by themselves in compiled form: against `LaneIDMTraffic`, step by step, draws included."""

import math
from dataclasses import replace

import numpy as np
import pytest

from harness.engine.scene import parse_scene
from harness.engine.traffic import AHEAD, ASIDE
from harness.errors import ConfigError, ScenarioError
from harness.fast import chance, lanes, traffic
from harness.fast import fleet as columns
from harness.fast.chance import generator_words, normal, uniform
from harness.fast.fleet import make_fleet
from harness.fast.lane_sight import LAST, allowed_speed, place_at
from harness.fast.lane_traffic import ALONG, FACTOR, advance_lanes, make_lane_traffic, places
from harness.fast.lanes import are_sound, drivers_of
from harness.fast.packing import pack, packed_agents
from harness.fast.packing_lanes import pack_lanes
from harness.fast.vehicle import VX, VY
from harness.geometry import to_frame
from harness.traffic.lane_idm import LaneIDMTraffic
from harness.traffic.lane_paths import POINTS, LaneIDMConfig
from scenarios.scenario import CURRENT_STEP, Kind
from tests.scenes import Agent, crossing, lasting

SEED, LONG = 7, 200
NORTH = math.pi / 2


def test_kernels_draw_numpys_numbers():
    words, rng = np.array(generator_words(SEED), np.uint64), np.random.default_rng(SEED)
    for _ in range(4):
        assert [uniform(words) for _ in range(500)] == rng.random(500).tolist()
        drawn = rng.standard_normal(8000)
        assert [normal(words) for _ in range(8000)] == pytest.approx(drawn.tolist(), abs=1e-12)
    state = rng.bit_generator.state["state"]["state"]
    assert words[chance.HIGH] == state >> 64
    assert words[chance.LOW] == state % 2**64


def scene(opponent_speed=10.0):
    """Drivers on every road, one of them on its way to a fork; others that are parked, late, gone again, on foot."""
    agents = [
        Agent("fork", -90.0, 0.3, 0.0, 11.0),
        Agent("queue", -110.0, 0.0, 0.0, 9.0),
        Agent("leader", -62.0, 3.0, 0.0, 3.0, first=2),
        Agent("late", 0.0, -150.0, NORTH, 12.0, first=13),
        Agent("flicker", 60.0, -0.2, 0.0, 8.0, last=30),
        Agent("curb", -80.0, 2.5, 0.0, 0.0),
        Agent("walker", -20.0, -6.0, NORTH, 1.0, Kind.PEDESTRIAN, (0.7, 0.7, 1.8)),
        Agent("cone", 30.0, 1.0, 0.0, 0.0, Kind.CONE, (0.4, 0.4, 1.0), last=40),
        Agent("shows up", -54.3, 0.0, 0.0, 10.0, first=21),
    ]
    made = crossing(extra=agents, origin=(8000.0, -3000.0), rotation=0.4, meet_time=3.0, opponent_speed=opponent_speed)
    # Light: the crossing road has red.
    light = {"state": {"object_state": ["LANE_STATE_STOP"] * 91}, "stop_point": made.features[3].points[-1]}
    return replace(made, lights={"south": light})


def ego_of(made, step, stands):
    """It brakes to a stop, then moves on; or it never leaves."""
    row = 0 if stands else min(step, 25 + max(step - 60, 0))
    state = made.states(made.ego)[min(row, made.num_steps - 1)].copy()
    state[3:] *= 0.0 if stands or 25 < step < 60 else 1.0
    return state


def plan_of(made):
    """States [T, 5] and validity [T]: from step 15 on the opponent stands where it then is."""
    states, valid = made.states(made.opponent).copy(), np.arange(made.num_steps) >= 15
    states[valid, :3], states[valid, 3:] = states[15, :3], 0.0
    return states, valid


def reference(made, scene, steps, config, plan, stands):
    """States [T, A, 5] and presence [T, A] as `harness.engine.traffic.TrafficManager` has them."""
    policy, opponent = LaneIDMTraffic(config), made.opponent
    policy.reset(made, np.random.default_rng(SEED))
    may = scene.may_appear.any(axis=1)
    states, valid = np.zeros((steps, made.num_agents, 5)), np.zeros((steps, made.num_agents), bool)
    logged = np.stack([made.states(agent) for agent in range(made.num_agents)])
    states[0], valid[0] = logged[:, 0], scene.may_appear[:, 0]
    for step in range(1, steps):
        seen, there = states[step - 1].copy(), valid[step - 1].copy()
        seen[made.ego], there[made.ego] = ego_of(made, step - 1, stands), True
        states[step], present = policy.step(step - 1, seen, there)
        states[step, opponent] = logged[opponent, min(step, made.num_steps - 1)]
        ahead, aside = np.abs(to_frame(states[step, :, :2], ego_of(made, step, stands))).T
        waits = (ahead < AHEAD) & (aside < ASIDE) & scene.is_vehicle & ~valid[step - 1]
        valid[step] = present & may & ~waits
        if plan is not None and step < made.num_steps and plan[1][step]:
            states[step, opponent], valid[step, opponent] = plan[0][step], True
    return states, valid, policy


CASES = {
    "all": (91, {}, True, False, False),
    "past the log's end": (LONG, {"spread": 0.4, "gap": 0.8, "pace": 1.1, "speed": 60.0}, True, False, False),
    "attacked": (91, {}, True, True, False),
    "an opponent that never moves": (91, {}, False, False, False),
    "an ego that keeps others waiting": (91, {}, True, False, True),
}


@pytest.mark.parametrize("case", CASES)
def test_drivers_are_the_references(case):
    steps, options, static, attacked, stands = CASES[case]
    made, config = scene(10.0 if static else 0.0), LaneIDMConfig(**options)
    parsed, plan = parse_scene(made, static_vehicles=static), plan_of(made) if attacked else None
    packed, used = pack([parsed], config), packed_agents(parsed)
    states, valid, policy = reference(made, parsed, steps, config, plan, stands)
    fleet = make_fleet(1, packed.scenes, 112, steps)
    if plan is not None:
        fleet.plan[0], fleet.plan_valid[0], fleet.plan_first[0] = plan[0], plan[1], 15
        fleet.plan[0, :, :2] -= packed.origins[0]
    driving = make_lane_traffic(packed.lanes, config, 1, len(used))
    driving.drivers.chance[0] = generator_words(SEED)
    fleet.seen[:] = -1
    here = np.zeros((len(used), traffic.HERE))
    drive, body = fleet.drive[0], fleet.body[0]
    origin = packed.origins[0]
    for step in range(steps):
        fleet.step[0] = step
        state = ego_of(made, step, stands)
        forward = np.cos(state[2]), np.sin(state[2])
        drive[[columns.FORWARD_X, columns.FORWARD_Y, columns.RIGHT_Y, columns.RIGHT_X]] = (
            *forward,
            -forward[0],
            forward[1],
        )
        drive[[columns.POSE_X, columns.POSE_Y]] = state[:2] - origin
        drive[columns.POSE_THETA], body[VX], body[VY] = state[2], state[3], state[4]
        count = advance_lanes(packed.scenes, fleet, driving, 0, True, here)
        # The opponent of an attack comes last in the fast engine.
        rows = here[np.argsort(here[:count, traffic.HERE_AGENT])]
        assert used[rows[:, traffic.HERE_AGENT].astype(int)].tolist() == np.flatnonzero(valid[step]).tolist(), step
        wanted = states[step, valid[step]].copy()
        wanted[:, :2] -= origin
        away = np.abs(rows[:, : traffic.HERE_VY + 1] - wanted)
        # `LaneIDMTraffic` computes gaps in float32.
        assert away.max() < 1e-3, (step, away.max(axis=1))
        assert (rows[:, traffic.HERE_OFF_LOG] == (step > 0)).all()
    assert (static or attacked) == bool(valid[20, made.opponent])
    assert np.argmax(valid[:, made.agent_ids.index("shows up")]) == (33 if stands else 21)
    drivers = driving.drivers
    assert set(used[drivers.way[0] >= 0]) == set(policy._run.driving)
    factors = drivers.motion[0, drivers.way[0] >= 0, FACTOR]
    assert len(np.unique(factors)) == len(factors)
    assert drivers.gone.any() == (steps == LONG)
    shown = places(driving)[0]
    assert np.array_equal(np.isfinite(shown[:, 0]), (drivers.way[0] >= 0) & ~drivers.gone[0])
    assert (drivers.motion[0, drivers.gone[0], ALONG] >= LAST).all()


def test_ways_are_packed_where_somebody_may_leave_its_log():
    made = scene()
    late = replace(made, id="ways")
    parsed = parse_scene(late, static_vehicles=True)
    used = packed_agents(parsed)
    packed = pack_lanes(parsed, used, LaneIDMConfig())
    rows = packed.joins.reshape(91, -1)
    name = {late.agent_ids[agent]: column for column, agent in enumerate(used)}
    assert (rows[:CURRENT_STEP] == -1).all()
    for agent, first in (("fork", 10), ("late", 13), ("flicker", 10), ("shows up", 21)):
        assert rows[first, name[agent]] >= 0, agent
    # An ego that has not left yet keeps this one waiting; that one it never comes near.
    assert (rows[22:25, name["shows up"]] >= 0).all()
    assert (rows[11:40, name["leader"]] == -1).all()
    for agent in ("opponent", "walker", "cone"):
        assert (rows[:, name[agent]] == -1).all()
    assert np.diff(packed.first_way)[rows[10, name["fork"]]] == 2
    parked = packed.parked[rows[CURRENT_STEP]]
    assert parked[name["curb"]]
    assert not parked[name["queue"]]
    with pytest.raises(ScenarioError, match="step 10"):
        pack([parse_scene(lasting(made, 9), static_vehicles=False)], LaneIDMConfig())


def test_kernels_are_given_no_way_out_of_bounds():
    packed = pack([parse_scene(scene(), static_vehicles=False)], LaneIDMConfig())
    found, rows = packed.lanes, len(packed.scenes.tracks)
    assert are_sound(found, rows)
    assert not are_sound(found, rows + 1)
    for name in lanes.Lanes._fields:
        array = getattr(found, name)
        assert not are_sound(found._replace(**{name: array.astype(np.float32)}), rows), name
        assert not are_sound(found._replace(**{name: array[:-1]}), rows), name
    for name, value in (("joins", len(found.parked)), ("joins", -2), ("first_way", 1)):
        array = getattr(found, name).copy()
        array[0] = value
        assert not are_sound(found._replace(**{name: array}), rows), name


@pytest.mark.parametrize("along", [np.nan, -1e9, -np.inf, 1e9, np.inf])
def test_nobody_reads_beyond_a_way(along):
    ways = np.zeros((2, POINTS, lanes.WAY))
    ways[1, :, lanes.WAY_X], ways[1, :, lanes.WAY_LIMIT] = np.arange(POINTS), 9.0
    # As Python runs it: an index beyond the array, or none, is an error there.
    end = LAST if along > 0 else 0.0
    assert place_at.py_func(ways, 1, along) == pytest.approx((end, 0.0, 0.0), abs=1e-5)
    assert allowed_speed.py_func(ways, 1, along, 3.0) == pytest.approx(9.0)


def test_other_traffic_is_refused():
    assert drivers_of("log") is None
    assert drivers_of("idm-lane?gap=1.2") == LaneIDMConfig(gap=1.2)
    for name, words in (("smart", "plays log and idm-lane"), ("idm-lane?wings=2", "wings")):
        with pytest.raises(ConfigError, match=words):
            drivers_of(name)
