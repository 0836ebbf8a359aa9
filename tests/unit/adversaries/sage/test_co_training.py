"""An adversarial expert that goes on learning against given drives."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from adversaries.sage.adversary import SageAdversary
from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.bank import Entry
from adversaries.sage.co_training import CoTrainedExpert
from adversaries.sage.experts import Experts, load_experts
from adversaries.sage.groups import Draw
from harness.errors import WeightsError
from harness.fitting.checkpoint import read_state, write_state
from harness.interfaces import Trajectory
from harness.training.co_training import AdaptingAdversary
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.fakes import context
from tests.unit.adversaries.sage.toys import small_network, small_prior


def experts() -> Experts:
    return Experts(small_prior(0), small_network(1), small_network(2), {})


def moved(scene, aside: float) -> Trajectory:
    """The logged ego, so many metres to the left in the world."""
    states = scene.states(scene.ego)
    states[:, 1] += aside
    return Trajectory(states, scene.valid[scene.ego].copy())


def contexts(aside: float = 0.0):
    return [context(scene, [moved(scene, aside)]) for scene in (straight_road(), crossing())]


def weights(network):
    return torch.cat([value.detach().reshape(-1) for value in network.parameters()])


def test_it_learns_in_the_adversarial_expert_alone() -> None:
    pair = experts()
    before = [weights(network).clone() for network in (pair.prior.network, pair.adv, pair.real)]
    expert = CoTrainedExpert(pair, Draw())
    first = expert.adapt(contexts(), 2, 0)
    later = [expert.adapt(contexts(), 2, seed) for seed in range(1, 8)]
    for old, network in zip(before, (pair.prior.network, pair.adv, pair.real), strict=True):
        assert torch.equal(old, weights(network))
    assert 0.0 < first["drift"] < later[-1]["drift"]
    assert first["pairs"] > 0
    assert later[-1]["loss"] < first["loss"]
    assert expert.adaptations == 8


def test_futures_are_judged_against_the_given_drive() -> None:
    scene, backbone = crossing(), GoalBackbone(small_prior(0), Draw())
    case = backbone.prepare(scene, 1, 10)
    tokens = backbone.distribution([case]).sample(8, np.random.default_rng(0))[0]
    log = Entry(scene, backbone).values(tokens)
    same, far = (Entry(scene, backbone, 10, context(scene, [moved(scene, aside)])) for aside in (0.0, 500.0))
    np.testing.assert_allclose(same.values(tokens).adversarial, log.adversarial)
    np.testing.assert_allclose(same.reference(tokens), Entry(scene, backbone).reference(tokens), atol=1e-5)
    assert not far.values(tokens).hits.any()
    assert far.values(tokens).adversarial.max() < log.adversarial.max()
    np.testing.assert_array_equal(far.values(tokens).feasible, log.feasible)


def test_it_goes_on_exactly_and_leaves_other_generators_alone(tmp_path) -> None:
    whole, part, resumed = (CoTrainedExpert(experts(), Draw()) for _ in range(3))
    generator = torch.get_rng_state()
    for seed in (0, 1):
        told = whole.adapt(contexts(), 2, seed)
    assert torch.equal(torch.get_rng_state(), generator)
    # The optimiser goes on, too: two adaptations of two updates.
    assert {int(known["step"]) for known in whole.state_dict()["moments"].values()} == {4}
    part.adapt(contexts(), 2, 0)
    write_state(tmp_path / "state.safetensors", part.state_dict())
    resumed.load_state_dict(read_state(tmp_path / "state.safetensors", torch.device("cpu")))
    assert resumed.adapt(contexts(), 2, 1) == told
    assert torch.equal(weights(resumed.policy.module), weights(whole.policy.module))
    other = CoTrainedExpert(Experts(small_prior(0), small_network(1), small_network(2), {}), Draw())
    state = part.state_dict()
    state["network"] = dict(list(state["network"].items())[1:])
    with pytest.raises(WeightsError, match="co-trained expert"):
        other.load_state_dict(state)
    with pytest.raises(WeightsError, match="optimiser"):
        other.load_state_dict({**part.state_dict(), "moments": {0: {}}})


def test_scenes_that_cannot_be_attacked_teach_nothing() -> None:
    scene = straight_road(opponent_from=60)
    assert CoTrainedExpert(experts(), Draw()).adapt([context(scene)], 1, 0) == {"pairs": 0.0}


def test_the_adversary_attacks_with_what_it_learnt(tmp_path) -> None:
    sage, scene = SageAdversary(experts()), crossing()
    assert isinstance(sage, AdaptingAdversary)
    fierce, calm = (replace(context(scene), intensity=intensity) for intensity in (1.0, 0.0))
    before, kept = sage.plan(fierce), sage.plan(calm)
    for seed in range(4):
        assert sage.adapt(contexts(), 2, seed)["pairs"] > 0
    after = sage.plan(fierce)
    assert not np.array_equal(after.scores["log_prob"], before.scores["log_prob"])
    np.testing.assert_array_equal(sage.plan(calm).states, kept.states)
    again = SageAdversary(experts())
    again.load_state_dict(sage.state_dict())
    np.testing.assert_array_equal(again.plan(fierce).states, after.states)
    sage.save(tmp_path)
    np.testing.assert_allclose(SageAdversary(load_experts(tmp_path)).plan(fierce).states, after.states, atol=1e-6)
