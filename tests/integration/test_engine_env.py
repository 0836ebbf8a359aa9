"""The environment itself: reproducible, honest about endings, clear about misuse."""

import dataclasses
import urllib.request

import numpy as np
import pytest

from harness.engine import EngineConfig, GauntletEnv
from harness.engine.requests import RequestReader
from harness.errors import ConfigError, EngineError, PolicyError, ScenarioError
from tests.scenes import Agent, crossing, lasting, straight_road
from tests.sources import ListSource


def scenes():
    follower = Agent("follower", -14.0, 0.0, 0.0, 10.0)
    return [
        straight_road(extra=[follower]),
        crossing(origin=(9000.0, -4000.0), rotation=0.4),
        straight_road(ego_speed=6.0, scene_id="slow"),
        crossing(opponent_delay=0.5, scene_id="tight"),
    ]


@pytest.fixture
def make(monkeypatch):
    """Environments that are closed afterwards; any download fails the test."""

    def refuse(*args, **kwargs):
        raise AssertionError(f"a headless start must not download: {args}")

    monkeypatch.setattr(urllib.request, "urlretrieve", refuse)
    made = []

    def build(options=None, source=None):
        made.append(GauntletEnv(source or ListSource(scenes()), options or EngineConfig()))
        return made[-1]

    yield build
    for env in made:
        env.close()


def drive(env, scene, steps=40, seed=3):
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(options={"scenario": scene})
    rows = [observation]
    for _ in range(steps):
        observation, reward, *_ = env.step(np.array([0.0, 0.3]) + rng.uniform(-0.2, 0.2, 2))
        rows.append(np.append(observation, reward)[:-1])
    return np.array(rows), env.recording()


def test_an_episode_repeats_bit_by_bit_whatever_came_before(make):
    env = make()
    first, record = drive(env, 1)
    drive(env, 0, seed=9)
    drive(env, 3, steps=7, seed=11)
    second, again = drive(env, 1)
    assert np.array_equal(first, second)
    assert np.array_equal(record.agents, again.agents)


def test_seed_decides_which_scenes_come(make):
    env = make()

    def draw(seed):
        env.reset(seed=seed)
        chosen = [env.scenario_index]
        for _ in range(12):
            env.reset()
            chosen.append(env.scenario_index)
        return chosen

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)
    assert set(draw(5)) == {0, 1, 2, 3}


def test_scene_by_index_or_id(make):
    env = make()
    env.reset(options={"scenario": "slow"})
    assert env.scenario_index == 2
    _, info = env.reset(options={"scenario": 3})
    assert info["scenario_id"] == "tight"


def test_an_episode_may_begin_at_a_later_step(make):
    gone = straight_road(scene_id="gone")
    valid = gone.valid.copy()
    valid[gone.ego, 30] = False
    env = make(source=ListSource([*scenes(), dataclasses.replace(gone, valid=valid)]))
    env.reset(options={"scenario": 1, "start": 40})
    log, view = env.scenario, env.view()
    assert view.step == 40
    assert view.ego == pytest.approx(log.states(log.ego)[40], abs=1e-3)
    assert view.agents[0] == pytest.approx(log.states(log.opponent)[40], abs=1e-3)
    *_, info = env.step(np.zeros(2))
    assert info["episode_length"] == 1
    assert info["route_completion"] == pytest.approx(41 / 90, abs=0.02)
    record = env.recording()
    assert (record.start, record.steps) == (40, 41)
    assert np.flatnonzero(record.ego.valid).tolist() == np.flatnonzero(record.agents_valid[1]).tolist() == [40, 41]
    for step in range(42, 91):
        *_, truncated, info = env.step(np.zeros(2))
        assert truncated == (step == 90)
    for until, last in ((45, 45), (400, 90)):
        env.reset(options={"scenario": 1, "start": 40, "until": until})
        ends = [env.step(np.zeros(2))[3] for _ in range(last - 40)]
        assert ends == [False] * (last - 41) + [True]
    for until in (40, 45.5):
        with pytest.raises(ConfigError, match="option until is"):
            env.reset(options={"scenario": 1, "start": 40, "until": until})
    refused = {(4, 30): "does not have the ego", (1, 90): "0 … 89", (1, -1): "0 … 89", (1, 2.5): "whole number"}
    for (scene, start), words in refused.items():
        with pytest.raises(ConfigError, match=words):
            env.reset(options={"scenario": scene, "start": start})
    env.close()
    with pytest.raises(ConfigError, match="'idm-path'"):
        make(EngineConfig(traffic="idm-path")).reset(options={"scenario": 1, "start": 5})


def test_the_horizon_truncates_and_does_not_terminate(make):
    env = make(EngineConfig(horizon=12))
    env.reset(options={"scenario": 2})
    ends = [env.step(np.array([0.0, -1.0]))[2:4] for _ in range(12)]
    assert ends == [(False, False)] * 11 + [(False, True)]


def test_an_episode_ends_where_its_scene_does(make):
    long = dataclasses.replace(lasting(straight_road(ego_speed=2.0), 131), id="long")
    short = dataclasses.replace(lasting(straight_road(ego_speed=2.0), 21), id="short")
    env = make(source=ListSource([long, short]))
    for scene, steps in ((0, 130), (1, 20), (0, 130)):
        env.reset(options={"scenario": scene})
        ends = [env.step(np.array([0.0, -1.0]))[2:4] for _ in range(steps)]
        assert ends == [(False, False)] * (steps - 1) + [(False, True)]
        assert env.recording().agents_valid.shape[1] == steps + 1


def test_a_scene_at_another_rate_is_not_played(make):
    env = make(source=ListSource([dataclasses.replace(straight_road(), dt=0.2)]))
    with pytest.raises(ScenarioError, match=r"steps of 0\.2 s.*Resample it"):
        env.reset(options={"scenario": 0})


def test_observations_stay_in_their_space(make):
    env = make()
    rng = np.random.default_rng(0)
    for scene in range(4):
        observation, _ = env.reset(options={"scenario": scene})
        for _ in range(30):
            assert env.observation_space.contains(observation)
            observation, *_ = env.step(rng.uniform(-1, 1, 2))


@pytest.mark.parametrize(("preset", "size"), [("cat", 112), ("metadrive", 161)])
def test_observation_presets(make, preset, size):
    env = make(EngineConfig(observation=preset))
    observation, _ = env.reset(options={"scenario": 0})
    assert observation.shape == env.observation_space.shape == (size,)


def test_arriving_pays_ten_in_the_cat_preset(make):
    env = make()
    env.reset(options={"scenario": 2})
    done = False
    while not done:
        _, reward, terminated, truncated, info = env.step(np.array([0.0, 0.4]))
        done = terminated or truncated
    assert terminated
    assert info["arrive_dest"]
    assert reward == 10.0
    assert info["route_completion"] > 0.95


def test_leaving_the_road_costs_ten_in_the_cat_preset(make):
    env = make()
    env.reset(options={"scenario": 0})
    done = False
    while not done:
        _, reward, terminated, truncated, info = env.step(np.array([1.0, 0.2]))
        done = terminated or truncated
    assert terminated
    assert info["out_of_road"]
    assert (reward, info["cost"]) == (-10.0, 1.0)
    assert abs(info["lateral_dist"]) > 10.0


def test_idm_traffic_is_the_log_until_the_ego_is_in_the_way(make):
    """The follower, 14 m behind at 10 m/s, hits a braking ego if it only follows its log."""
    crashed = {}
    for traffic in ("log", "idm-path"):
        env = make(EngineConfig(traffic=traffic))
        env.reset(options={"scenario": 0, "ego": "replay"})
        for _ in range(60):
            env.step(None)
        record, log = env.recording(), env.scenario.states(2)
        np.testing.assert_allclose(record.agents[2, :61], log[:61], atol=1e-9)
        env.reset(options={"scenario": 0})
        for _ in range(60):
            env.step(np.array([0.0, -1.0]))
        crashed[traffic] = env.recording().crash_geometry
        env.close()
    assert crashed["log"] is not None
    assert crashed["idm-path"] is None


def test_render_shows_the_scene_from_above(make):
    env = make()
    env.reset(options={"scenario": 1})
    before = env.render()
    for _ in range(10):
        env.step(np.array([0.0, 1.0]))
    after = env.render(size=(200, 300))
    assert before.shape == (480, 480, 3)
    assert after.shape == (200, 300, 3)
    assert before.dtype == np.uint8
    assert len(np.unique(before.reshape(-1, 3), axis=0)) > 4


def test_view_is_in_world_coordinates(make):
    env = make()
    env.reset(options={"scenario": 1, "ego": "replay"})
    for _ in range(10):
        env.step(None)
    view, log = env.view(), env.scenario.states(0)
    np.testing.assert_allclose(view.ego, log[10], atol=1e-4)
    np.testing.assert_allclose(view.agents[0], env.scenario.states(1)[10], atol=1e-4)
    assert view.ego_size == pytest.approx((4.5, 2.0)), "a replayed ego has its logged size"
    env.reset(options={"scenario": 1})
    assert env.view().ego_size == pytest.approx((4.515, 1.852)), "a driven one MetaDrive's"


def test_a_replayed_ego_crashes_in_its_logged_size(make):
    """A lorry of an ego, 16 m long and 2.6 m wide, and a car 10 m ahead of its centre at the same speed."""
    ahead = [Agent("ahead", 10.0, 0.0, 0.0, 10.0)]
    scene = straight_road(extra=ahead, opponent_gap=60.0)
    size = scene.size.copy()
    size[scene.ego] = 16.0, 2.6, 3.0
    scene = dataclasses.replace(scene, size=size)
    crashes = {}
    env = make(source=ListSource([scene]))
    for ego in ("replay", "policy"):
        env.reset(options={"scenario": 0, "ego": ego})
        env.step(np.zeros(2))
        crashes[ego] = env.recording().crash_geometry
    env.close()
    fixed = make(EngineConfig(ego_size=(4.5, 1.8)), ListSource([scene]))
    fixed.reset(options={"scenario": 0, "ego": "replay"})
    fixed.step(np.zeros(2))
    assert crashes == {"replay": 0, "policy": None}
    assert fixed.recording().crash_geometry is None


def test_a_second_engine_is_refused_and_a_closed_one_is_not(make):
    env = make()
    env.reset()
    with pytest.raises(EngineError, match="already has a MetaDrive engine"):
        make()
    env.close()
    again = make()
    again.reset()


def test_scenes_in_memory_are_bounded(make):
    env = make(EngineConfig(cache_scenes=2))
    for scene in (0, 1, 2, 3, 0, 1):
        env.reset(options={"scenario": scene})
        env.step(np.zeros(2))
        assert len(env._cache) <= 2


@pytest.mark.parametrize("action", [[np.nan, 0.0], [0.0], [0.0, 0.0, 0.0], None, [np.inf, 0.0]])
def test_what_is_no_action_is_refused(make, action):
    env = make()
    env.reset()
    with pytest.raises(PolicyError):
        env.step(action)


@pytest.mark.parametrize(
    "options",
    [{"scenario": 99}, {"scenario": "nobody"}, {"ego": "human"}, {"weather": "rain"}, {"plan": 3}, {"start": True}],
)
def test_unknown_options_are_refused(options):
    with pytest.raises(ConfigError):
        RequestReader(ListSource(scenes())).read(options)


def test_step_before_reset_is_refused(make):
    with pytest.raises(EngineError, match="reset"):
        make().step(np.zeros(2))


def test_empty_source_is_refused(make):
    with pytest.raises(ConfigError, match="empty"):
        GauntletEnv(ListSource([]))


@pytest.mark.parametrize("values", [{"horizon": 0}, {"cache_scenes": 0}, {"observation": "x"}, {"reward": "x"}])
def test_impossible_configurations_are_refused(values):
    with pytest.raises(ConfigError):
        EngineConfig(**values)


def test_a_scene_brakes_alike_wherever_it_stands_in_the_list(make):
    """The car's forces follow the scene's name; stock draws them by the scene's place in the folder."""
    found = []
    for source in (scenes(), scenes()[::-1]):
        env = make(source=ListSource(source))
        place = env.source.ids.index("tight")
        env.reset(options={"scenario": place})
        for _ in range(30):
            env.step(np.array([0.0, -1.0]))
        record = env.recording()
        found.append((record.engine_force, record.brake_force, record.ego.states[:31].tolist()))
        env.close()
    assert found[0] == found[1]
    assert 80.0 <= found[0][1] <= 180.0
    env = make()
    forces = set()
    for index in range(4):
        env.reset(options={"scenario": index})
        forces.add(env.recording().brake_force)
    assert len(forces) == 4, "scenes of other names have other cars"


class Strange:
    """Traffic that does, in each scene, another thing that traffic must not do."""

    name = "strange"

    def reset(self, scenario, rng):
        self._scene = scenario.id
        if scenario.id == "slow":
            raise SystemExit(0)

    def step(self, step, states, valid):
        return (states * np.nan, valid) if self._scene == "tight" else (states[:-1], valid)


def test_traffic_with_a_fault_of_its_own_is_one_clear_error(make):
    env = make(EngineConfig(traffic=f"{__name__}:Strange"))
    for scene, said in ((0, "expected finite"), (2, "reset: SystemExit: 0"), (3, "or NaN")):
        with pytest.raises(EngineError, match=f"traffic Strange in scene .*{said}"):
            drive(env, scene, steps=1)
