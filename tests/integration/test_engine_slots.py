"""Agents that enter and leave in the engine: they are sensed, touched, recorded, and each has a row of its own."""

from typing import ClassVar

import numpy as np
import pytest

from harness.engine import EngineConfig, GauntletEnv
from harness.episodes.policies import load_policy
from harness.episodes.rollout import run_episode
from harness.errors import ConformanceError
from harness.interfaces import Newcomer
from harness.traffic.log_policies import LogTraffic
from harness.traffic.slots import as_played
from scenarios.scenario import Kind
from tests.scenes import Agent, lasting, make_scene, straight_road
from tests.sources import ListSource
from tests.unit.traffic.scenes import small_rosetta, tiny_vocabulary

VAN, WALKER = (6.0, 2.2, 2.5), (0.7, 0.8, 1.8)
STAYS = ((12, 20, Kind.VEHICLE, VAN), (22, 30, Kind.PEDESTRIAN, WALKER))
"""Steps from, to (exclusive), what it is, and how large: one after the other in the first slot."""


class Visitors(LogTraffic):
    """The log, and one slot used twice: a van and then a walker stand ahead of the ego's start, beside its lane."""

    name = "visitors"
    reserve = 2
    place: ClassVar = (30.0, 3.5)

    def reset(self, scenario, rng):
        super().reset(scenario, rng)
        self._slot, self._new = scenario.num_agents - self.reserve, []

    def step(self, step, states, valid):
        following, present = super().step(step, states, valid)
        self._new = []
        for first, last, kind, size in STAYS:
            # Whom the engine has not let in has not entered.
            if first <= step + 1 < last and (step + 1 == first or valid[self._slot]):
                following[self._slot] = [*self.place, 0.0, 0.0, 0.0]
                present[self._slot] = True
                if step + 1 == first:
                    self._new = [Newcomer(self._slot, kind, size)]
        return following, present

    def spawned(self):
        return self._new


class InTheWay(Visitors):
    place: ClassVar = (15.0, 0.0)


class BeforeTheBumper(Visitors):
    place: ClassVar = (8.0, 0.0)


class Unnamed(Visitors):
    def spawned(self):
        return []


@pytest.fixture
def make():
    made = []

    def build(traffic="Visitors", observation="cat", **options):
        config = EngineConfig(traffic=f"{__name__}:{traffic}", observation=observation, **options)
        made.append(GauntletEnv(ListSource([straight_road(with_opponent=False)]), config))
        return made[-1]

    yield build
    for env in made:
        env.close()


def drive(env, steps=40, action=(0.0, 0.0), ego="replay"):
    env.reset(options={"scenario": 0, "ego": ego})
    seen = []
    for _ in range(steps):
        env.step(np.array(action))
        view = env.view()
        seen.append((view.agents.copy(), view.agent_sizes.copy()))
    return seen


def test_who_enters_is_seen_with_its_own_size_and_recorded_in_its_own_row(make):
    env = make()
    seen = drive(env)
    assert [len(agents) for agents, _ in seen] == [0] * 11 + [1] * 8 + [0] * 2 + [1] * 8 + [0] * 11
    assert seen[12][1].tolist() == [[6.0, 2.2]]
    assert seen[25][1].tolist() == [[0.7, 0.8]]
    record = env.recording()
    assert record.agents.shape[0] == 3
    assert [(who.slot, who.kind, who.size) for who in record.newcomers] == [(1, 0, VAN), (2, 1, WALKER)]
    for row, (first, last, *_) in enumerate(STAYS, 1):
        assert np.flatnonzero(record.agents_valid[row]).tolist() == list(range(first, last))
        assert np.allclose(record.agents[row, first:last, :2], (30.0, 3.5))
    scene = as_played(env.source[0], record.newcomers)
    assert scene.kinds.tolist() == [Kind.VEHICLE, Kind.VEHICLE, Kind.PEDESTRIAN]
    assert scene.box(1) == (6.0, 2.2)
    # Another episode knows nothing of it.
    env.reset(options={"scenario": 0})
    assert env.recording().newcomers == ()


@pytest.mark.parametrize("observation", ["cat", "route"])
def test_who_enters_is_sensed(make, observation):
    env, before = make(observation=observation), None
    env.reset(options={"scenario": 0, "ego": "replay"})
    changes = []
    for _ in range(31):
        now, *_ = env.step(np.zeros(2))
        lidar = now[-30:] if observation == "cat" else now
        changes.append(float(np.abs(lidar - before).max()) if before is not None else 0.0)
        if observation == "route" and len(changes) == 14:
            # The first vehicle's length and width, of 10 and of 4 m: the van's.
            assert now[131:133] == pytest.approx([0.6, 0.55])
        before = lidar
    # A jump where the van comes and where it goes.
    assert min(changes[11], changes[19]) > 4 * max(changes[5:10])


def test_nobody_enters_where_the_ego_is(make):
    env = make("BeforeTheBumper")
    drive(env, steps=40, ego="policy", action=(0.0, -1.0))
    record = env.recording()
    assert 8.0 - record.ego.states[12, 0] < 8.0
    assert not any(who.kind == Kind.VEHICLE for who in record.newcomers)
    # People are not logged vehicles: the rule of the 8 m is not theirs.
    assert [who.kind for who in record.newcomers] == [Kind.PEDESTRIAN]


def test_a_contact_with_a_newcomer_counts(make):
    env = make("InTheWay", filter_overlapping=False)
    drive(env, steps=25)
    assert env.recording().crash_geometry == 12


def test_who_is_not_named_does_not_enter(make):
    env = make("Unnamed")
    with pytest.raises(ConformanceError, match=r"spawned\(\) does not name them"):
        drive(env)


def test_traffic_that_comes_and_goes_lasts_longer_than_the_log():
    source = ListSource([lasting(straight_road(), 40)])
    env = GauntletEnv(source, EngineConfig(traffic="idm-flow?inflow=1800&speed=30", horizon=220, observation="none"))
    try:
        runs = []
        for _ in range(2):
            env.reset(seed=3, options={"scenario": 0, "ego": "replay"})
            for _ in range(220):
                env.step(None)
            runs.append(env.recording())
    finally:
        env.close()
    first, second = runs
    assert len(first.newcomers) > 5
    assert np.array_equal(first.agents, second.agents)
    assert np.array_equal(first.agents_valid, second.agents_valid)
    # The opponent is gone with its last row.
    assert np.flatnonzero(first.agents_valid[1]).max() == 39
    late = first.agents_valid[:, 200:221]
    assert late.any(0).all()
    left = [row for row in range(2, len(late)) if first.agents_valid[row].any() and not late[row].any()]
    assert left, "nobody has left"
    assert all(first.agents[row, np.flatnonzero(first.agents_valid[row])[-1], 0] > 280 for row in left)


def test_learned_newcomers_are_in_the_record(tmp_path):
    small_rosetta(vocabulary=tiny_vocabulary()).save(tmp_path / "rosetta.safetensors")
    # An untrained model likes but one place: it is to draw from all of them.
    traffic = f"rosetta:{tmp_path / 'rosetta.safetensors'}?grid_k=0&reserve=9"
    source = ListSource([lasting(straight_road(), 40)])
    env = GauntletEnv(source, EngineConfig(traffic=traffic, horizon=60, observation="none"))
    try:
        env.reset(seed=3, options={"scenario": 0, "ego": "replay"})
        for _ in range(60):
            env.step(None)
        record = env.recording()
    finally:
        env.close()
    assert record.newcomers
    for who in record.newcomers:
        stay = np.flatnonzero(record.agents_valid[who.slot])
        assert stay[0] >= 15
        assert stay[0] % 5 == 0


@pytest.mark.parametrize("observation", ["cat", "route"])
def test_the_route_goes_on_until_the_map_ends(observation):
    source = ListSource([lasting(straight_road(with_opponent=False, ego_speed=14.0), 60)])
    options = EngineConfig(traffic="idm-flow?inflow=0", horizon=400, observation=observation)
    env = GauntletEnv(source, options)
    try:
        env.reset(seed=1, options={"scenario": 0})
        ends, infos = [], []
        while not (ends and ends[-1][1]):
            *_, terminated, truncated, info = env.step(np.array([0.0, 0.05]))
            ends.append((terminated, truncated))
            infos.append(info)
        record = env.recording()
    finally:
        env.close()
    assert not any(terminated for terminated, _ in ends)
    assert infos[-1]["end_of_map"]
    assert not infos[-1]["max_step"]
    assert record.ego.states[record.steps, 0] == pytest.approx(295.0, abs=3.0)
    assert record.route[-1] == pytest.approx((300.0, 0.0), abs=1e-3)
    # Metres, not an arrival, are what the last steps bring.
    assert infos[-1]["route_completion"] > 3


def test_where_no_lane_leads_on_the_map_ends_for_who_drives_and_not_for_a_replay():
    aside = make_scene([Agent("ego", 0.0, 30.0, speed=10.0)], straight_road().features, opponent=None)
    options = EngineConfig(traffic="idm-flow?inflow=0", horizon=60, observation="none")
    env = GauntletEnv(ListSource([lasting(aside, 40)]), options)
    try:
        # The log ends at 39 m.
        replayed = run_episode(env, load_policy("replay"), None, 0)
        driven = run_episode(env, Onwards(), None, 0)
    finally:
        env.close()
    assert (replayed.steps, replayed.end_of_map, replayed.truncated) == (60, False, True)
    assert 30 < driven.steps < 45
    assert (driven.end_of_map, driven.truncated) == (True, True)


class Onwards:
    name, observation, control, privileged = "onwards", "none", "action", False

    def reset(self, scenario, rng):
        pass

    def act(self, observation, view):
        return np.array([0.0, 0.05])
