"""Learned traffic as the background of an environment."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.checks import check_traffic
from harness.errors import ConfigError, ScenarioError, UnknownNameError, WeightsError
from harness.traffic.make import make_simulator, make_traffic
from harness.traffic.model.simulator import SmartSimulator
from harness.traffic.policy import SmartTraffic
from tests.scenes import Agent, straight_road
from tests.unit.traffic.scenes import small_model, tiny_vocabulary, traffic

EGO, OPPONENT, WALKER, CYCLIST, LATE = range(5)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "small.safetensors"
    small_model(vocabulary=tiny_vocabulary()).save(path)
    return path


def play(policy, scene, seed=0, steps=40, change=None):
    """States [T, A, 5] and validity [T, A]; ego and opponent follow the log; `change(step, states)` alters it."""
    logs = np.stack([scene.states(agent) for agent in range(scene.num_agents)])
    states, valid = logs[:, 0].copy(), scene.valid[:, 0].copy()
    policy.reset(scene, np.random.default_rng(seed))
    history, presence = [states], [valid]
    for step in range(steps):
        states, valid = policy.step(step, states, valid)
        driven = [EGO, OPPONENT]
        states[driven], valid[driven] = logs[driven, step + 1], scene.valid[driven, step + 1]
        if change is not None:
            change(step + 1, states)
        history.append(states)
        presence.append(valid)
    return np.stack(history), np.stack(presence)


def test_it_keeps_the_contract(weights):
    for scene in (traffic(), traffic(origin=(7000.0, -12000.0), rotation=0.7)):
        check_traffic(SmartTraffic(weights), scene)


def test_everybody_follows_the_log_until_step_10_and_tokens_from_then_on(weights):
    scene, policy = traffic(origin=(4000.0, -2500.0), rotation=1.2), SmartTraffic(weights)
    states, valid = play(policy, scene)
    logs = np.stack([scene.states(agent) for agent in range(scene.num_agents)], 1)
    early = scene.valid.T[:11]
    assert np.array_equal(valid[:11], early)
    assert np.allclose(states[:11][early], logs[:11][early])
    motions = tiny_vocabulary().motions[0].astype(float)
    for begin in (10, 15, 30):
        for agent in (WALKER, CYCLIST, LATE):
            x, y, heading = states[begin, agent, :3]
            offset = states[begin + 1 : begin + 6, agent, :2] - (x, y)
            turned = offset @ np.array([[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]])
            gap = np.abs(turned[None] - motions[:, 1:, :2]).max((1, 2))
            assert gap.min() < 1e-5
    moved = np.diff(states[10:, WALKER:, :2], axis=0) / scene.dt
    assert np.allclose(states[11:, WALKER:, 3:5], moved)


def test_late_agents_join_at_the_next_decision(weights):
    scene = straight_road(extra=[Agent("late", -20.0, 3.5, 0.0, 8.0, first=12)])
    states, valid = play(SmartTraffic(weights), scene)
    late = scene.num_agents - 1
    assert not valid[:12, late].any()
    assert valid[12:, late].all()
    log = scene.states(late)
    assert np.allclose(states[12:16, late], log[12:16])
    tokens = tiny_vocabulary().motions[0, :, 1:, 0]
    first = states[16, late, :2] - states[15, late, :2]
    assert np.isclose(np.hypot(*first), tokens[:, 0], atol=1e-3).any()


def test_who_appears_is_taken_to_have_come_at_constant_velocity(weights):
    scene = straight_road(extra=[Agent("late", -20.0, 3.5, 0.0, 8.0, first=12)], rotation=0.8)
    policy = SmartTraffic(weights)
    play(policy, scene, steps=16)
    motion = policy._rollout.motion[0, -1].numpy()
    assert np.allclose(motion, [4.0, 0.0, 0.0], atol=1e-4)


def test_the_model_sees_what_the_ego_truly_does(weights):
    scene, policy = traffic(), SmartTraffic(weights)
    logs = scene.states(EGO)

    def stop(step, states):
        if step > 12:
            states[EGO] = [*logs[12, :3], 0.0, 0.0]

    play(policy, scene, steps=26, change=stop)
    rollout = policy._rollout
    assert torch.allclose(rollout.motion[0, EGO], torch.zeros(3), atol=1e-5)
    assert int(rollout.token[0, EGO]) == 0
    usual, _ = play(policy, scene, steps=26)
    assert int(rollout.token[0, EGO]) == 0
    assert int(policy._rollout.token[0, EGO]) != 0
    stopped, _ = play(policy, scene, steps=26, change=stop)
    assert np.array_equal(stopped[:16, WALKER:], usual[:16, WALKER:])


def test_seeds_and_temperature(weights):
    scene, policy = traffic(), SmartTraffic(weights)
    one, again, other = (play(policy, scene, seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    cold = SmartTraffic(weights, temperature=0)
    assert np.array_equal(play(cold, scene, 0)[0], play(cold, scene, 1)[0])
    greedy = SmartTraffic(weights, top_k=1)
    assert np.array_equal(play(greedy, scene, 0)[0], play(cold, scene, 0)[0])


def test_who_leaves_the_map_or_vanishes_is_gone(weights):
    gone = Agent("far", 285.0, 0.0, 0.0, 12.0)
    short = Agent("short", 60.0, 0.0, 0.0, 10.0, last=20)
    scene = straight_road(extra=[gone, short])
    policy = SmartTraffic(weights)
    policy.model.network.token_head.bias.data[:, 5] = 1e4
    states, valid = play(policy, scene, steps=60)
    far, short_row = scene.num_agents - 2, scene.num_agents - 1
    # 12 m/s along the log to x = 297, then 6 m per decision; the middle of the last piece of the map is before 300 m.
    last = np.flatnonzero(valid[:, far])[-1]
    assert not valid[last + 1 :, far].any()
    assert 309.0 <= round(states[last, far, 0], 3) <= 321.0
    assert valid[:, short_row].all()
    policy.reset(scene, np.random.default_rng(0))
    row = 20
    present = np.ones(scene.num_agents, bool)
    log = np.stack([scene.states(agent)[row] for agent in range(scene.num_agents)])
    policy.step(row, log, present)
    present[far] = False
    _, after = policy.step(row + 1, log, present)
    assert not after[far]
    assert after[short_row]


def test_things_follow_the_log(weights):
    from scenarios.scenario import Kind

    scene = straight_road(extra=[Agent("cone", 30.0, 1.7, 0.0, 0.0, Kind.CONE, (0.4, 0.4, 0.8))])
    states, _ = play(SmartTraffic(weights), scene)
    assert np.allclose(states[:, -1, :2], states[0, -1, :2])


def test_specs(weights):
    policy = make_traffic(f"smart:{weights}?temperature=0.5&top_k=7")
    assert policy.model.sampling.temperature == 0.5
    assert policy.model.sampling.k == 7
    simulator = make_simulator(f"smart:{weights}?temperature=0.5&choices=4&rule=overlaps")
    assert (type(simulator), simulator.model.sampling.choices) == (SmartSimulator, 4)
    assert make_traffic("idm-path?gap=2.5")._gap == 2.5
    with pytest.warns(FutureWarning, match="idm-path"):
        assert make_traffic("idm?gap=2.5").name == "idm-path"
    with pytest.raises(UnknownNameError):
        make_traffic("smrt")
    with pytest.raises(ConfigError, match="idm-path:file"):
        make_traffic("idm-path:file")
    with pytest.raises(ConfigError, match="choices"):
        SmartTraffic(weights, choices=4)
    with pytest.raises(WeightsError):
        SmartTraffic(weights.parent / "none.safetensors")


def test_scenes_too_short_and_weights_of_an_ego_are_refused(weights, tmp_path):
    with pytest.raises(ScenarioError):
        SmartTraffic(weights).reset(straight_road(steps=8), np.random.default_rng(0))
    small_model(head="gmm").save(tmp_path / "gmm.safetensors")
    with pytest.raises(ConfigError, match="GMM"):
        SmartTraffic(tmp_path / "gmm.safetensors")
