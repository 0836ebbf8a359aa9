"""Progress, rewards, presence: the rules of the fast engine against those of the engine."""

import math

import numpy as np
import pytest

from harness.engine.config import REWARDS, EngineConfig
from harness.engine.route import Route
from harness.engine.scene import parse_scene
from harness.fast import fleet as columns
from harness.fast import traffic
from harness.fast.fleet import make_fleet, rules_of
from harness.fast.judging import judge
from harness.fast.packing import pack, packed_agents
from harness.fast.progress import follow, next_mark
from harness.fast.scenes import LAST_MARK, OPPONENT, STEPS
from harness.fast.stepping import begin
from tests.scenes import Agent, straight_road


def test_progress_is_the_routes():
    turn = np.linspace(0, math.pi / 2, 40)
    path = np.concatenate(
        [
            np.column_stack([np.linspace(0, 30, 40), np.zeros(40)]),
            np.column_stack([30 + 20 * np.sin(turn), 20 - 20 * np.cos(turn)]),
        ]
    )
    route, drive = Route(path), np.zeros(columns.DRIVE)
    rng = np.random.default_rng(2)
    parts = route.segments()
    compared = 0
    for x, y in rng.uniform((-8, -8), (60, 40), (300, 2)):
        ends = np.stack([parts[:, :2] - (x, y), (x, y) - parts[:, 2:4]])
        along = np.maximum((ends * parts[:, 4:6]).sum(-1).max(0), 0)
        across = (x - parts[:, 0]) * parts[:, 5] - (y - parts[:, 1]) * parts[:, 4]
        nearest = np.sort(np.hypot(along, across))
        if nearest[1] - nearest[0] < 1e-9:
            continue  # Rounding decides which of two segments it is.
        compared += 1
        drive[[columns.POSE_X, columns.POSE_Y]] = x, y
        follow(parts, route.length, drive)
        longitude, lateral = route.project(x, y)
        assert drive[[columns.LONGITUDE, columns.LATERAL]] == pytest.approx((longitude, lateral), abs=1e-9)
        assert drive[columns.ROUTE_HEADING] == pytest.approx(route.heading_at(longitude))
        right = drive[[columns.ROUTE_RIGHT_X, columns.ROUTE_RIGHT_Y]]
        assert right == pytest.approx(route.lateral_at(longitude), abs=1e-9)
        marks, last = route.way_points
        first = next_mark(longitude, last)
        assert np.array_equal(marks[first : first + 9], route.marks_ahead(longitude))
    assert compared > 100


def packed(**options):
    scene = parse_scene(straight_road(**options), static_vehicles=False)
    return scene, pack([scene]).scenes


def test_packs_hold_what_the_scene_holds():
    scene, scenes = packed(extra=[Agent("late", 40.0, 0.0, 0.0, 5.0, first=30)])
    assert packed_agents(scene).tolist() == [1, 2]
    assert scenes.facts[0, [STEPS, OPPONENT, LAST_MARK]].tolist() == [91, 0, 45]
    assert len(scenes.tracks) == 91 * 2
    assert np.diff(scenes.listed_of[:91]).tolist() == [1] * 30 + [2] * 60


def present(scenes, fleet, step, filtered=True):
    here = np.zeros((fleet.seen.shape[1], traffic.HERE))
    fleet.step[0] = step
    count = traffic.advance(scenes, fleet, 0, filtered, here)
    return here[:count, traffic.HERE_AGENT].astype(int).tolist()


def test_nobody_appears_on_top_of_the_ego_but_stays_once_there():
    _, scenes = packed(extra=[Agent("late", 10.0, 0.0, 0.0, 10.0, first=5)])
    fleet = make_fleet(1, scenes, 112, 1)
    begin(scenes, fleet, rules_of(EngineConfig(horizon=90)), None, np.array([0]))
    assert present(scenes, fleet, 4) == [0]
    # 15 m ahead when it appears; then the ego is put where it is.
    assert present(scenes, fleet, 5) == [0, 1]
    fleet.drive[0, columns.POSE_X] = 16.0
    assert present(scenes, fleet, 6) == [0, 1]
    fleet.seen[0] = -1
    assert present(scenes, fleet, 6) == [0]
    assert present(scenes, fleet, 6, filtered=False) == [0, 1]


@pytest.mark.parametrize("name", ["cat", "metadrive"])
@pytest.mark.parametrize(
    ("flags", "completion", "lateral", "expected"),
    [
        ((), 0.5, 0.0, ("step", False)),
        ((), 0.96, 0.0, ("success", True)),
        ((), 0.5, 11.0, ("off_road", True)),
        ((), -0.2, 0.0, ("step", True)),
        ((columns.CRASH_VEHICLE,), 0.5, 0.0, ("crash_vehicle", False)),
        ((columns.CRASH_OBJECT,), 0.5, 0.0, ("crash_object", False)),
        ((columns.UNSOUND,), 0.5, 0.0, ("step", True)),
    ],
)
def test_rewards_and_endings(name, flags, completion, lateral, expected):
    _, scenes = packed()
    fleet, preset = make_fleet(1, scenes, 112, 1), REWARDS[name]
    drive = fleet.drive[0]
    drive[[columns.LONGITUDE, columns.LAST_LONGITUDE, columns.COMPLETION, columns.LATERAL]] = (
        10.0,
        8.5,
        completion,
        lateral,
    )
    fleet.flags[0, list(flags)] = True
    fleet.horizon[0] = 5
    judge(fleet, 0, rules_of(EngineConfig(reward=name, observation=name)), 90.0)
    what, ended = expected
    wanted = 1.5 if what == "step" else getattr(preset, what) * (1 if what == "success" else -1)
    assert fleet.reward[0] == pytest.approx(wanted)
    assert bool(fleet.terminated[0]) == ended
    assert not fleet.truncated[0]


def test_a_contact_ends_where_it_is_told_to():
    _, scenes = packed()
    fleet = make_fleet(1, scenes, 112, 1)
    fleet.drive[0, columns.COMPLETION] = 0.5
    fleet.flags[0, columns.CRASH_VEHICLE] = True
    judge(fleet, 0, rules_of(EngineConfig(crash_vehicle_done=True)), 90.0)
    assert fleet.terminated[0]
    assert fleet.truncated[0]
    assert fleet.cost[0] == 1.0
