"""Rollouts in the real simulator."""

import numpy as np
import pytest

from ego_policies.idm import IDMPolicy
from harness import registry
from harness.engine import EngineConfig
from harness.episodes.policies import load_policy
from harness.episodes.rollout import run_episode
from harness.episodes.two_stage import two_stages
from tests.scenes import Agent, straight_road
from tests.sources import ListSource, tiny_source


@pytest.fixture(scope="module")
def env():
    from harness.engine.env import GauntletEnv

    wall = Agent("wall", 60.0, 0.0, 0.0, 0.0)
    follow = straight_road(with_opponent=False, extra=[wall], scene_id="standing car")
    made = GauntletEnv(ListSource([*tiny_source().scenes, follow]), EngineConfig(static_vehicles=True))
    yield made
    made.close()


def test_replay_follows_the_log_and_arrives(env):
    episode = run_episode(env, load_policy("replay"), None, 0)
    assert episode.arrived
    assert not episode.crashed
    assert episode.mean_speed == pytest.approx(10.0, abs=1e-6)
    log = env.source[0].states(0)
    assert episode.ego.states[: episode.steps + 1, :3] == pytest.approx(log[: episode.steps + 1, :3], abs=1e-4)


@pytest.mark.parametrize("scene", [0, 1, 2])
def test_idm_arrives_unharmed_where_nobody_attacks(env, scene):
    episode = run_episode(env, load_policy("idm"), None, scene)
    assert episode.arrived or episode.route_completion > 0.6
    assert not episode.crashed
    assert not episode.off_road
    lateral = np.abs(episode.ego.states[episode.ego.valid, 1]).max()
    assert lateral < 0.5


def test_idm_stops_behind_a_standing_car_that_the_log_drives_through(env):
    idm = run_episode(env, IDMPolicy(lane_changes=None), None, 3)
    assert not idm.crashed
    assert 0.5 < 60.0 - idm.ego.states[idm.steps, 0] - 4.5 < 6.0
    replay = run_episode(env, load_policy("replay"), None, 3)
    # Bumpers meet when the ego's centre is (4.5 + 4.5) / 2 behind x = 60: after 5.55 s.
    assert replay.crash_geometry == 56


def test_idm_overtakes_a_standing_car_where_a_lane_is_free(env):
    idm = run_episode(env, load_policy("idm"), None, 3)
    assert not idm.crashed
    assert not idm.off_road
    assert idm.ego.states[idm.steps, 0] > 65.0


def test_the_rule_attack_hits_the_replayed_ego_in_both_judgements(env):
    stages = two_stages(env, load_policy("replay"), [registry.make("adversary", "rule")], 1)
    normal, attacked = (played.episode for played in stages)
    assert not normal.crashed
    assert attacked.crash_opponent is not None
    assert attacked.crash_contact is not None
    assert abs(attacked.crash_contact - attacked.crash_geometry) <= 1


def test_episodes_repeat_exactly_even_after_others(env):
    rule = registry.make("adversary", "rule")

    def run():
        return run_episode(env, load_policy("idm"), rule, 1, seed=5)

    first = run()
    run_episode(env, load_policy("replay"), rule, 0, seed=6)
    again = run()
    assert np.array_equal(first.ego.states, again.ego.states)
    assert np.array_equal(first.agents, again.agents)
    assert (first.reward, first.steps, first.crash_contact) == (again.reward, again.steps, again.crash_contact)


def test_the_opponent_truly_follows_its_plan(env):
    episode = run_episode(env, load_policy("replay"), registry.make("adversary", "rule"), 0)
    both = episode.opponent.valid[:91] & episode.plan.valid
    assert both[11 : episode.steps].all()
    assert episode.opponent.states[:91][both] == pytest.approx(episode.plan.states[both], abs=1e-9)
