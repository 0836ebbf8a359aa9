"""RosettaSim over 8 s: many roll-outs at once are those of the policy, one decision after another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.errors import ConfigError, WeightsError
from harness.traffic.make import make_roller, make_simulator
from harness.traffic.rollouts import PolicySimulator
from harness.traffic.rosetta.decoding import SequenceDecision
from harness.traffic.rosetta.policy import RosettaTraffic
from harness.traffic.rosetta.sequence_rollout import SequenceRollout
from harness.traffic.rosetta.simulator import RosettaSimulator
from scenarios.scenario import Kind
from tests.scenes import Agent, straight_road
from tests.unit.traffic.scenes import small_rosetta, tiny_vocabulary

CLOSED = {"spawning": False, "boundary": False, "extremes": False}


@pytest.fixture
def weights(tmp_path):
    model = small_rosetta(vocabulary=tiny_vocabulary())
    with torch.no_grad():
        # What the sequence model says is to count.
        model.network.motion_out[-1].weight.normal_()
    path = tmp_path / "rosetta.safetensors"
    model.save(path)
    return path


def scene():
    """Everybody at a speed that is a token; a cone, and somebody far away."""
    return straight_road(
        extra=[
            Agent("cone", 14.0, -6.0, speed=0.0, kind=Kind.CONE),
            Agent("slow", -20.0, 3.5, speed=4.0),
            Agent("far", 150.0, -3.5, speed=8.0),
        ]
    )


def test_whole_roll_outs_are_those_of_the_policy(weights):
    at_once = RosettaSimulator(weights, temperature=0).simulate(scene(), 3, 0)
    policy = PolicySimulator(RosettaTraffic(weights, temperature=0, **CLOSED)).simulate(scene(), 1, 0)
    assert at_once.states.shape == (3, 5, 80, 4)
    assert np.array_equal(at_once.agents, policy.agents)
    assert np.abs(at_once.states[..., :2] - policy.states[..., :2]).max() < 1e-2
    assert np.abs(at_once.states[..., 3] - policy.states[..., 3]).max() < 1e-3
    moved = np.ptp(at_once.states[0, :, :, 0], axis=1)
    assert moved[2] < 1e-3, "the cone"
    assert moved.max() > 5


def test_every_world_has_a_sequence_of_its_own(weights):
    model = RosettaSimulator(weights, top_k=0, temperature=5.0).model
    tokens = model.tokens(scene())
    rollout, generator = model.start(tokens, 3), torch.Generator().manual_seed(0)
    assert isinstance(rollout, SequenceRollout)
    for _ in range(3):
        rollout.advance(model.choose(rollout, generator))
    found = rollout.logits()
    cone = tokens.agents.tolist().index(2)
    assert torch.isfinite(found[:, cone]).sum() == 3
    assert (model.network.motions[0, found[:, cone].argmax(-1), -1] == 0).all()
    assert not torch.allclose(found[0], found[1], atol=1e-3)
    network = model.network
    with torch.no_grad():
        table, tables = network.token_head.table(network.motions), network.tables()
        for world in range(3):
            gap = torch.linalg.vector_norm(rollout.pose[world, :, :2] - rollout.pose[world, 0, :2], dim=-1)
            order = torch.tensor([row for row in gap.argsort().tolist() if row != cone])
            features = rollout.features.view(3, 5, -1)[world, order]
            kinds, motion = rollout.kinds[world, order], rollout.motion[world, order]
            decision = SequenceDecision(network, tables, features)
            wanted = decision.motion_logits(kinds, motion, torch.ones(4, dtype=torch.bool), table)
            assert torch.allclose(found[world, order], wanted, atol=1e-4)


def test_the_same_seed_gives_the_same_roll_outs(weights):
    made = make_simulator(f"rosetta:{weights}?top_k=4")
    assert isinstance(made, RosettaSimulator)
    assert made.model.sampling.k == 4
    first, again, other = (made.simulate(scene(), 2, seed).states for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


def test_names_and_options(weights):
    with pytest.raises(ConfigError, match="'colour' is no option"):
        make_simulator(f"rosetta:{weights}?colour=1")
    with pytest.raises(WeightsError, match="no weights come with the package"):
        make_simulator("infgen")
    assert make_simulator("rosetta").model.network.rosetta.sequence_model == "transformer"
    # Of 8 s in which agents enter and leave the policy itself is asked.
    assert isinstance(make_roller(f"rosetta:{weights}", 80), PolicySimulator)
