"""Learned traffic in the engine: who is moved, by whom, and that it repeats."""

import numpy as np
import pytest

from harness.engine import EngineConfig, GauntletEnv
from harness.interfaces import STATE, VX, AttackPlan
from tests.scenes import LANE_WIDTH, Agent, straight_road
from tests.sources import ListSource
from tests.unit.traffic.scenes import small_model, tiny_vocabulary

BEHIND, LATE = 2, 3


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    weights = tmp_path_factory.mktemp("smart") / "small.safetensors"
    small_model(vocabulary=tiny_vocabulary()).save(weights)
    extra = [Agent("behind", -25.0, 0.0, 0.0, 8.0), Agent("late", 60.0, 0.0, 0.0, 8.0, first=12)]
    scenes = [straight_road(extra=extra, origin=(3000.0, -700.0))]
    env = GauntletEnv(ListSource(scenes), EngineConfig(traffic=f"smart:{weights}?temperature=1.0"))
    yield env
    env.close()


def play(env, seed=0, plan=None, throttle=0.0, steps=40):
    env.reset(seed=seed, options={"scenario": 0, "plan": plan, "ego": "policy"})
    for _ in range(steps):
        env.step(np.array([0.0, throttle]))
    return env.recording()


def test_the_background_leaves_its_log_and_the_opponent_does_not(env):
    found = play(env)
    scene = env.scenario
    log = np.stack([scene.states(agent) for agent in range(scene.num_agents)])
    assert np.allclose(found.agents[BEHIND, :11, :2], log[BEHIND, :11, :2], atol=1e-3)
    assert np.abs(found.agents[BEHIND, 11:41, :2] - log[BEHIND, 11:41, :2]).max() > 0.2
    assert np.allclose(found.agents[1, :41, :2], log[1, :41, :2], atol=1e-3)
    assert found.agents_valid[LATE, 12:41].all()
    assert not found.agents_valid[LATE, :12].any()
    assert np.allclose(found.agents[LATE, 12:16, :2], log[LATE, 12:16, :2], atol=1e-3)


def test_it_repeats_itself_and_follows_its_seed(env):
    one, again, other = play(env, 3), play(env, 3), play(env, 4)
    assert np.array_equal(one.agents, again.agents)
    assert not np.array_equal(one.agents[BEHIND], other.agents[BEHIND])


def test_an_attack_drives_the_opponent_and_the_model_sees_it(env):
    steps = np.arange(91)
    states = np.zeros((91, STATE))
    states[:, 0] = 3000.0 + 20.0 + 4.0 * 0.1 * steps
    states[:, 1] = -700.0 + LANE_WIDTH
    states[:, VX] = 4.0
    found = play(env, plan=AttackPlan(states, steps >= 11), steps=30)
    assert np.allclose(found.agents[1, 11:31, :2], states[11:31, :2], atol=1e-3)
    rollout = env._traffic._policy._rollout
    # At step 25 the opponent has moved 2 m in its last half second; its log says 5 m.
    assert rollout.motion[0, 1, 0] == pytest.approx(2.0, abs=0.05)


def test_what_a_shield_does_is_told(env, monkeypatch):
    policy = env._traffic._policy
    env.reset(seed=0, options={"scenario": 0, "ego": "policy"})
    assert env.interventions is None
    assert not any(name.startswith("shield_") for name in env.step(np.zeros(2))[-1])
    monkeypatch.setattr(policy.model, "shielded", True)
    policy._maps.clear()
    play(env)
    info = env.step(np.zeros(2))[-1]
    done = policy.interventions
    assert env.interventions == done
    assert (info["shield_decisions"], info["shield_changed"]) == (done.decisions, done.changed)
    assert done.decisions >= 6  # every half second from step 10 to 40, one or two agents
    policy._maps.clear()
