"""The fast engine against MetaDrive: the same scenes, the same actions, the same numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ego_policies.route_follower import follow_route
from harness.engine import EngineConfig, GauntletEnv
from harness.errors import ConfigError, EngineError, PolicyError
from harness.fast.fleet import CRASH_HUMAN, CRASH_OBJECT, CRASH_VEHICLE, LOST, ON_WHITE, ON_YELLOW
from harness.fast.library import packed_scenes
from harness.fast.packing import pack, settled_scenes
from harness.fast.plays import Play, UniformEpisodes
from harness.fast.resuming import check_state
from harness.fast.vector import FastVectorEnv
from harness.interfaces import AttackPlan
from scenarios.scenario import Kind
from scenarios.selection import open_scenes
from tests.scenes import Agent, crossing, straight_road
from tests.sources import ListSource

STEPS = 60
WALKER = Agent("walker", 38.0, 3.0, -math.pi / 2, 1.0, Kind.PEDESTRIAN, (0.7, 0.7, 1.8))
CONE = Agent("cone", 25.0, -1.2, 0.0, 0.0, Kind.CONE, (0.4, 0.4, 1.0))


def crowd():
    """Somebody of every kind along the road."""
    return [
        Agent("behind", -14.0, 0.0, 0.0, 10.0),
        Agent("truck", 45.0, 3.5, 0.0, 8.0, size=(9.0, 2.5, 3.0)),
        replace(WALKER, x=45.0, y=9.0),
        Agent("cyclist", 25.0, -4.0, 0.0, 5.0, Kind.CYCLIST, (1.8, 0.6, 1.8)),
        replace(CONE, x=60.0, y=-1.9),
        Agent("late", 20.0, 0.3, 0.0, 9.0, first=5),
    ]


def scenes():
    return [
        straight_road(extra=crowd()),
        crossing(origin=(900.0, -400.0), rotation=0.4),
        straight_road(scene_id="slow", extra=[Agent("slow", 16.0, 0.4, 0.0, 5.0)]),
        straight_road(scene_id="walker", extra=[WALKER]),
        straight_road(scene_id="cone", extra=[CONE]),
    ]


def plan_of(scenario):
    """The opponent swerves into the ego's way."""
    states = scenario.states(scenario.opponent).copy()
    states[:, 1] += np.linspace(0, -2.5, len(states))
    states[:, 2] -= 0.05
    return AttackPlan(states=states, valid=np.ones(len(states), bool))


def actions_of(seed):
    rng = np.random.default_rng(seed)
    noise = np.zeros(2)
    rows = []
    for _ in range(STEPS):
        noise = 0.85 * noise + rng.normal(size=2) * (0.003 * seed, 0.15)
        rows.append(np.clip(noise + np.array([0.0, 0.35]), -1, 1))
    return np.array(rows, np.float32)


@pytest.fixture(scope="module", params=["cat", "metadrive", "route", "idm-lane"])
def both(request):
    """Observations, rewards, endings, flags of both engines; all scenes, one attacked, and two from later steps on."""
    preset = "cat" if request.param == "idm-lane" else request.param
    config = EngineConfig(
        horizon=STEPS,
        observation=preset,
        reward={"route": "drive"}.get(preset, preset),
        traffic="log" if preset == request.param else request.param,
    )
    loaded = scenes()
    plan = plan_of(loaded[1])
    episodes = [*(Play(scene, seed=scene) for scene in range(5)), Play(1, plan, seed=5)]
    if config.traffic == "log":
        episodes += [Play(0, start=12), Play(1, plan, start=25)]
    slow = GauntletEnv(ListSource(loaded), config)
    stock = {"observation": [], "reward": [], "ended": [], "place": [], "flags": []}
    try:
        for seed, (scene, plan, _, start, traffic_seed) in enumerate(episodes):
            observation, _ = slow.reset(traffic_seed, options={"scenario": scene, "plan": plan, "start": start})
            rows = {"observation": [observation], "reward": [], "ended": [], "place": [], "flags": []}
            for action in actions_of(seed):
                observation, reward, terminated, _, info = slow.step(action)
                ego = slow._ego
                rows["observation"].append(observation)
                rows["reward"].append(reward)
                rows["ended"].append(terminated)
                rows["place"].append([ego.x, ego.y, ego.theta, ego.vx, ego.vy])
                crashes = [ego.crash_vehicle, ego.crash_human, ego.crash_object]
                rows["flags"].append(
                    [*crashes, ego.on_white_continuous_line, ego.on_yellow_continuous_line, info["out_of_road"]]
                )
            for name, values in rows.items():
                stock[name].append(values)
    finally:
        slow.close()
    return {name: np.array(values) for name, values in stock.items()}, play(config, episodes)


def parsed():
    return settled_scenes(ListSource(scenes()))


def play(config, episodes):
    fast = FastVectorEnv(parsed(), len(episodes), config)
    first, _ = fast.reset(options={"episodes": episodes})
    rows = {"observation": [first], "reward": [], "ended": [], "place": [], "flags": []}
    actions = np.stack([actions_of(seed) for seed in range(len(episodes))], axis=1)
    # Episodes go on after their end, as MetaDrive's do.
    fast._begin = lambda which: None
    for action in actions:
        _, reward, terminated, _, info = fast.step(action)
        rows["observation"].append(info["final_obs"])
        rows["reward"].append(reward)
        rows["ended"].append(terminated)
        rows["place"].append(np.column_stack([fast.fleet.drive[:, :3], fast.fleet.body[:, 7:9]]))
        rows["flags"].append(fast.fleet.flags[:, [CRASH_VEHICLE, CRASH_HUMAN, CRASH_OBJECT, ON_WHITE, ON_YELLOW, LOST]])
    fast.close()
    return {name: np.swapaxes(np.array(values), 0, 1) for name, values in rows.items()}


def until_contact(rows, episode):
    """Steps up to the first one with a contact."""
    crashed = np.flatnonzero(rows["flags"][episode, :, :3].any(axis=1))
    return int(crashed[0]) + 1 if len(crashed) else STEPS


def test_the_car_is_where_metadrives_is(both):
    slow, fast = both
    for episode in range(len(slow["place"])):
        # Within the step of a contact, its tick decides.
        until = until_contact(slow, episode) - 1
        away = np.abs(slow["place"][episode, :until] - fast["place"][episode, :until])
        assert away[:, :2].max() < 0.01, episode
        assert away[:, 2:].max() < 0.02, episode


def test_contacts_and_lines_are_metadrives(both):
    slow, fast = both
    seen = np.zeros(6, bool)
    for episode in range(len(slow["flags"])):
        until = until_contact(slow, episode)
        assert np.array_equal(slow["flags"][episode, :until], fast["flags"][episode, :until]), episode
        seen |= slow["flags"][episode, :until].any(axis=0)
    # Vehicle, person, object, white line: the scenes show what they should.
    assert seen[:4].all()


def test_observations_rewards_and_endings_are_metadrives(both):
    slow, fast = both
    for episode in range(len(slow["reward"])):
        until = until_contact(slow, episode)
        gap = np.abs(slow["observation"][episode, :until] - fast["observation"][episode, :until])
        assert (gap > 0.01).mean() < 0.003, episode
        assert np.abs(slow["reward"][episode, :until] - fast["reward"][episode, :until]).max() < 0.01, episode
        assert np.array_equal(slow["ended"][episode, :until], fast["ended"][episode, :until]), episode


@pytest.fixture(scope="module")
def road():
    return parsed()


@pytest.mark.slow
def test_the_observation_route_is_enough_to_drive_by():
    """A controller that reads nothing else, on the 50 generated test scenes; contacts do not end an episode."""
    scenes = packed_scenes(open_scenes("procedural", "test", "50"))
    env = FastVectorEnv(scenes, len(scenes.ids), EngineConfig(observation="route"))
    observation, _ = env.reset(options={"episodes": [(index, None) for index in range(len(scenes.ids))]})
    env._begin = lambda which: None
    done, completion = np.zeros(len(scenes.ids), bool), np.zeros(len(scenes.ids))
    for _ in range(90):
        observation, _, terminated, truncated, info = env.step(follow_route(observation))
        completion = np.where(done, completion, np.clip(info["route_completion"], 0, 1))
        done |= terminated | truncated
    env.close()
    # Arrival counts from 0.95 on, so that no more than about 0.955 can be had.
    assert done.all()
    assert completion.mean() >= 0.95


def rollout(road, threads=1, seed=5, steps=70, traffic="log"):
    env = FastVectorEnv(road, 6, EngineConfig(horizon=25, traffic=traffic), threads=threads)
    rng = np.random.default_rng(0)
    rows = [env.reset(seed=seed)[0]]
    played = []
    for _ in range(steps):
        observation, reward, _, truncated, info = env.step(rng.uniform(-1, 1, (6, 2)).astype(np.float32))
        rows.append(np.column_stack([observation, reward, truncated, info["final_obs"]]))
        played.append(info["scene"])
    env.close()
    return np.concatenate([row.ravel() for row in rows]), np.array(played)


@pytest.mark.parametrize("traffic", ["log", "idm-lane"])
def test_a_seed_decides_everything_and_threads_nothing(road, traffic):
    first, played = rollout(road, traffic=traffic)
    assert len(np.unique(played)) == len(road)
    assert np.array_equal(first, rollout(road, traffic=traffic)[0])
    assert np.array_equal(first, rollout(road, threads=3, traffic=traffic)[0])
    assert not np.array_equal(played, rollout(road, seed=6, traffic=traffic)[1])


def test_drivers_draw_from_the_seed_of_their_episode(road):
    env = FastVectorEnv(road, 3, EngineConfig(traffic="idm-lane"))
    env.reset(options={"episodes": [Play(0, seed=1), Play(0, seed=2), Play(0, seed=1)]})
    for _ in range(20):
        seen = env.step(np.zeros((3, 2), np.float32))[0]
    assert np.array_equal(seen[0], seen[2])
    assert not np.array_equal(seen[0], seen[1])


class Same:
    """The first scene, again and again; remembers what ended."""

    def __init__(self):
        self.ended = []

    def draw(self, count):
        return [Play(0)] * count

    def finished(self, episode):
        self.ended.append(episode)


def test_an_ended_episode_tells_what_happened(road):
    config, same, plan = EngineConfig(horizon=STEPS), Same(), plan_of(scenes()[1])
    plays = [Play(1, plan, 0.7), Play(2)]
    env = FastVectorEnv(road, 2, config, episodes=same)
    env.reset(options={"episodes": plays})
    rewards = []
    for action in actions_of(5):
        rewards.append(env.step(np.stack([action, action]))[1])
        if len(same.ended) == 2:
            break
    slow = GauntletEnv(ListSource(scenes()), config)
    try:
        for told, play in zip(same.ended, plays, strict=True):
            slow.reset(options={"scenario": play.scene, "plan": play.plan})
            for action in actions_of(5)[: told.steps]:
                info = slow.step(action)[4]
            seen = slow.recording()
            assert told.play == play
            assert told.outcome.attacked == (play.plan is not None)
            assert told.reward == pytest.approx(np.array(rewards)[: told.steps, told.environment].sum())
            assert (told.crash_contact, told.crash_geometry, told.crash_opponent) == (
                seen.crash_contact,
                seen.crash_geometry,
                seen.crash_opponent,
            )
            assert np.array_equal(told.ego.valid, seen.ego.valid)
            until = told.crash_geometry or told.steps
            assert told.ego.states[:until] == pytest.approx(seen.ego.states[:until], abs=0.02)
            assert [told.arrived, told.off_road] == [info["arrive_dest"], info["out_of_road"]]
    finally:
        slow.close()
    assert same.ended[1].crash_geometry is not None


@pytest.mark.parametrize("traffic", ["log", "idm-lane"])
def test_a_saved_state_goes_on_exactly(road, traffic):
    plan = plan_of(scenes()[1])

    def go_on(env, rng, steps):
        rows = []
        for _ in range(steps):
            observation, reward, _, _, info = env.step(rng.uniform(-1, 1, (6, 2)).astype(np.float32))
            rows += [observation.ravel(), reward, info["scene"]]
        return np.concatenate(rows)

    def made():
        options = EngineConfig(horizon=25, traffic=traffic)
        return FastVectorEnv(road, 6, options, episodes=UniformEpisodes(len(road), 3))

    env, rng = made(), np.random.default_rng(0)
    env.reset(options={"episodes": [Play(1, plan, 0.3)] * 3 + [Play(0)] * 3})
    go_on(env, rng, 13)
    state = env.state_dict()
    after = go_on(env, np.random.default_rng(1), 40)
    again = made()
    seen = again.load_state_dict(state)
    assert np.array_equal(seen, state["fleet.observation"])
    assert np.array_equal(after, go_on(again, np.random.default_rng(1), 40))
    for name, value in (("fleet.scene", 99), ("fleet.step", -1), ("fleet.body", np.inf), ("fleet.born", 100)):
        damaged = {**state, name: np.full_like(state[name], value)}
        with pytest.raises(ConfigError, match=name):
            check_state(damaged, state, len(road), 10_000)
    if traffic != "log":
        with pytest.raises(ConfigError, match=r"drivers\.way"):
            again.load_state_dict({**state, "drivers.way": state["drivers.way"] + 10_000})
    with pytest.raises(ConfigError, match="drives"):
        again.load_state_dict({name: array for name, array in state.items() if name != "drives"})


def test_an_ended_episode_is_followed_by_the_next_within_the_step(road):
    env = FastVectorEnv(road, 2, EngineConfig(horizon=3))
    begun, _ = env.reset(options={"episodes": [(0, None), (2, None)]})
    env._episodes = Same()
    for step in range(1, 4):
        observation, _, _, truncated, info = env.step(np.zeros((2, 2), np.float32))
        assert truncated.tolist() == [step == 3] * 2
        assert info["final"].tolist() == [step == 3] * 2
    assert np.array_equal(observation[0], begun[0])
    assert not np.array_equal(info["final_obs"][0], begun[0])
    assert env.fleet.step.tolist() == [0, 0]
    assert env.observation_space.contains(observation)


def test_what_cannot_be_played_is_refused(road):
    for options, words in (
        (EngineConfig(traffic="idm-path"), "traffic 'idm-path'"),
        (EngineConfig(observation="none"), "'none'"),
    ):
        with pytest.raises(ConfigError, match=words):
            FastVectorEnv(road, 1, options)
    with pytest.raises(ConfigError, match="no scenes"):
        FastVectorEnv([], 1)
    with pytest.raises(ConfigError, match="not packed for traffic 'idm-lane'"):
        FastVectorEnv(pack(road), 1, EngineConfig(traffic="idm-lane"))
    env = FastVectorEnv(road, 1, EngineConfig(traffic="idm-lane"))
    with pytest.raises(ConfigError, match="its own past"):
        env.reset(options={"episodes": [Play(0, start=12)]})
    env = FastVectorEnv(road, 1)
    with pytest.raises(EngineError, match="reset"):
        env.step(np.zeros((1, 2), np.float32))
    for episodes, words in ((((9, None),), "outside"), ((), "expected 1"), ([Play(0, start=90)], "0 … 89: the log")):
        with pytest.raises(ConfigError, match=words):
            env.reset(options={"episodes": episodes})
    env.reset(seed=0)
    for action in (np.full((1, 2), np.nan, np.float32), np.zeros(2, np.float32)):
        with pytest.raises(PolicyError, match="finite"):
            env.step(action)
