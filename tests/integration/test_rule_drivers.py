"""The rule-based drivers in the simulator, where tyres and suspension have their say."""

import numpy as np
import pytest

from harness.engine import EngineConfig, GauntletEnv
from harness.episodes.policies import load_policy
from harness.episodes.rollout import run_episode
from harness.interfaces import AttackPlan
from tests.scenes import LANE_WIDTH, Agent, crossing, straight_road
from tests.sources import ListSource


class Ambush:
    """The opponent keeps beside the ego's way and stands across it from step 35 on, where the ego is at step 36."""

    name = "ambush"

    def plan(self, context):
        steps = np.arange(91)
        states = np.zeros((91, 5))
        states[:, 0] = np.where(steps < 35, 10.0 + steps, 40.0)
        states[:, 1] = np.where(steps < 35, 2 * LANE_WIDTH, 0.0)
        states[:, 3] = np.where(steps < 35, 10.0, 0.0)
        return AttackPlan(states, steps >= 11)


@pytest.fixture(scope="module")
def env():
    # The car in the way creeps: the engine drops vehicles that never move.
    creeping = Agent("creeping", 50.0, 0.0, 0.0, 1.5)
    wide = straight_road(opponent_gap=10.0, opponent_offset=2 * LANE_WIDTH, edges=False, scene_id="ambush")
    scenes = [
        straight_road(with_opponent=False, extra=[creeping], scene_id="creeping"),
        wide,
        crossing(opponent_delay=0.2, scene_id="meeting"),
        straight_road(with_opponent=False, scene_id="alone"),
    ]
    env = GauntletEnv(ListSource(scenes), EngineConfig())
    yield env
    env.close()


def test_idm_overtakes_a_creeping_car_and_returns(env):
    episode = run_episode(env, load_policy("idm"), None, 0)
    y = episode.ego.states[episode.ego.valid, 1]
    assert not episode.crashed
    assert episode.arrived
    assert y.max() == pytest.approx(LANE_WIDTH, abs=0.3)
    assert y[-1] < LANE_WIDTH - 1.0, "on its way back when the episode ends"


@pytest.mark.parametrize("name", ["rule_expert", "rule_expert_blind"])
def test_the_expert_arrives_on_a_free_road_and_survives_a_crossing(env, name):
    alone = run_episode(env, load_policy(name), None, 3)
    assert alone.arrived
    assert np.abs(alone.ego.states[alone.ego.valid, 1]).max() < 0.1
    assert not run_episode(env, load_policy(name), None, 2).crashed


def test_only_the_privileged_expert_foresees_an_ambush(env):
    assert run_episode(env, load_policy("rule_expert"), Ambush(), 1).crash_opponent is None
    assert run_episode(env, load_policy("rule_expert_blind"), Ambush(), 1).crash_opponent is not None
