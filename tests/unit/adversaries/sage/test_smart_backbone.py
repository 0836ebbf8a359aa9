"""SMART as a backbone of alignment: futures, log-probabilities, and what HGPO makes of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from adversaries.sage.bank import build_bank
from adversaries.sage.config import RECIPES, HgpoConfig
from adversaries.sage.experts import PRIOR_FILE, save_expert
from adversaries.sage.hgpo import group_loss
from adversaries.sage.sampled import SampledExperts, SampledSageAdversary, load_sampled
from adversaries.sage.smart import SHIPPED
from adversaries.sage.smart_backbone import SmartBackbone, _world
from adversaries.sage.steering import preference_vectors
from harness import registry
from harness.errors import AdversaryError, ConfigError, WeightsError
from harness.traffic.model.rollout import Rollout
from harness.traffic.tokens.scene import CURRENT_TOKEN
from tests.elsewhere import Elsewhere, move
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.fakes import context

FUTURE = slice(11, 91)


@pytest.fixture(scope="module")
def backbone() -> SmartBackbone:
    """The model that the shipped experts were aligned from, on few agents."""
    return SmartBackbone(SHIPPED / PRIOR_FILE, agents=4)


def test_log_probability_is_the_sum_of_what_the_roll_out_said(backbone) -> None:
    scene = crossing()
    case = backbone.prepare(scene, 1, 10)
    made = backbone.distribution([case])
    tokens = made.sample(3, np.random.default_rng(0))[0]
    assert tokens.shape == (3, 16)
    # One world at a time, token by token, through the cached roll-out.
    network = backbone.module
    with torch.no_grad():  # what the sampling roll-outs noted, against the teacher-forced pass
        torch.testing.assert_close(made.log_prob([tokens])[0], made._score(case, tokens), atol=1e-3, rtol=0)
    for row, found in zip(tokens, made.log_prob([tokens])[0].tolist(), strict=True):
        rollout = Rollout(network, network.encode_map(case.maps), case.logged.first(CURRENT_TOKEN))
        total, world = 0.0, case.logged
        for number, token in enumerate(row.tolist()):
            total += float(rollout.logits()[0, 0].log_softmax(-1)[token])
            step = CURRENT_TOKEN + number
            parts = [part[:, :, step].clone() for part in (world.token, world.motion, world.pose, world.valid)]
            poses = rollout.trajectory(torch.full((1, world.kinds.shape[1]), token))
            parts[0][0, 0], parts[1][0, 0] = token, network.motions[0, token, -1]
            parts[2][0, 0], parts[3][0, 0] = poses[0, 0, -1], True
            rollout.follow(*parts)
        assert found == pytest.approx(total, abs=1e-3)


def test_futures_begin_where_the_opponent_is_and_keep_its_log(backbone) -> None:
    scene = crossing(origin=(7000.0, -12000.0), rotation=0.7)
    case = backbone.prepare(scene, 1, 10)
    tokens = backbone.distribution([case]).sample(8, np.random.default_rng(1))[0]
    states, valid = backbone.futures(scene, 1, 10, case, tokens)
    np.testing.assert_array_equal(states[:, :11], np.broadcast_to(scene.states(1)[:11], (8, 11, 5)))
    moved = np.hypot(*(states[:, 11, :2] - states[:, 10, :2]).T)
    assert (moved < 0.1 * np.hypot(*scene.velocity[1, 10]) + 0.5).all()
    np.testing.assert_allclose(np.diff(states[:, 10:91, :2], axis=1) / scene.dt, states[:, FUTURE, 3:], atol=1e-9)
    assert valid[FUTURE].all()
    # The same row is the same future, whatever the weights are and whoever asks.
    with torch.no_grad():
        other = backbone.clone()
        for parameter in other.module.parameters():
            parameter.add_(0.01)
    np.testing.assert_array_equal(other.futures(scene, 1, 10, case, tokens)[0], states)
    assert not np.array_equal(other.distribution([case]).sample(8, np.random.default_rng(1))[0], tokens)


def test_others_follow_their_log_whatever_the_opponent_does(backbone) -> None:
    scene = crossing()
    case = backbone.prepare(scene, 1, 10)
    assert case.scene.agents[:2].tolist() == [1, scene.ego]
    tokens = np.zeros((2, 16), dtype=np.int64)
    tokens[1] = 5
    world = _world(case, tokens, backbone.module.motions)
    assert torch.equal(world.pose[0, 1:], world.pose[1, 1:])
    assert not torch.equal(world.pose[0, 0, 2:], world.pose[1, 0, 2:])
    # In the frame of the ego at the current step, which then drives on as recorded.
    ego = world.pose[0, 1, CURRENT_TOKEN - 1]
    torch.testing.assert_close(ego, torch.zeros(3), atol=1e-4, rtol=0)


def test_short_scenes_have_shorter_futures(backbone) -> None:
    scene = straight_road()
    case = backbone.prepare(scene, 1, 10)
    assert case.decisions == 16
    cut = 40
    short = replace(
        scene,
        position=scene.position[:, :cut],
        heading=scene.heading[:, :cut],
        velocity=scene.velocity[:, :cut],
        size=scene.size[:, :cut],
        valid=scene.valid[:, :cut],
    )
    case = backbone.prepare(short, 1, 10)
    tokens = backbone.distribution([case]).sample(2, np.random.default_rng(0))[0]
    assert tokens.shape == (2, 6)
    states, valid = backbone.futures(short, 1, 10, case, tokens)
    assert states.shape == (2, cut, 5)
    assert valid[11:].all()


def test_what_cannot_be_predicted_is_refused(backbone) -> None:
    with pytest.raises(AdversaryError, match="from step 10, not from 20"):
        backbone.prepare(crossing(), 1, 20)
    with pytest.raises(ConfigError, match="agents >= 2"):
        SmartBackbone(agents=1)


def test_an_update_raises_winners_over_losers(backbone) -> None:
    recipe, config = RECIPES["real"], HgpoConfig(learning_rate=3e-4, group=16)
    bank = build_bank([crossing()], backbone, filtered=False)
    policy, entry = backbone.clone(), bank.entries[0]
    before = {name: value.clone() for name, value in policy.module.named_parameters()}

    def margin(tokens, pairs):
        with torch.no_grad():
            ours = policy.distribution([entry.case]).log_prob([tokens])[0]
        gain = ours - entry.reference(tokens)
        return gain[pairs[:, 0]] - gain[pairs[:, 1]]

    # What the update is going to draw and to prefer.
    tokens = policy.distribution([entry.case]).sample(config.group, np.random.default_rng(5))[0]
    values = entry.values(tokens)
    pairs = recipe.choose(values, np.random.default_rng(6), config.pairs, config.margin)
    assert len(pairs) > 0
    torch.testing.assert_close(margin(tokens, pairs), torch.zeros(len(pairs)), atol=1e-3, rtol=0)
    optimiser = torch.optim.AdamW(policy.module.parameters(), lr=config.learning_rate)
    result = group_loss(policy, [entry], recipe, config, np.random.default_rng(5))
    result.loss.backward()
    optimiser.step()
    # Policy and reference agreed until then, so that the loss was log 2.
    assert result.loss.item() == pytest.approx(np.log(2), abs=1e-4)
    assert float(margin(tokens, pairs).mean()) > 0.1
    moved = {name for name, value in policy.module.named_parameters() if not torch.equal(value, before[name])}
    assert moved
    # The map encoder keeps its weights; the reference all of them.
    assert not any(name.startswith(("map_layers", "piece_")) for name in moved)
    for name, value in backbone.module.named_parameters():
        assert torch.equal(value, before[name])


def experts_in(folder, reference: SmartBackbone):
    for name, by in (("adv", 0.02), ("real", -0.02)):
        policy = reference.clone()
        with torch.no_grad():
            policy.module.token_head.bias[0, :512] += by
        save_expert(folder, name, policy, reference, {"scenes": 1})
    return folder


def test_adversary_mixes_the_experts_of_a_folder(tmp_path) -> None:
    # Without a reference beside them they come from the shipped model.
    backbone = SmartBackbone(agents=4)
    sage = registry.make("adversary", "sage_smart", experts=experts_in(tmp_path, backbone), candidates=4)
    assert sage.name == "sage_smart"
    vectors = sage.experts.vectors
    torch.testing.assert_close(vectors.adv, -vectors.real, atol=1e-6, rtol=0)
    assert sage.experts.info["adv"]["scenes"] == 1
    sage.dial.turn(0.5)
    torch.testing.assert_close(sage.backbone.module.token_head.bias, backbone.module.token_head.bias)
    plan = sage.plan(replace(context(crossing()), intensity=1.0))
    assert plan.candidates.shape == (4, 91, 5)
    assert plan.scores["score"].argmax() == plan.chosen
    mixed = registry.make("adversary", "sage_smart", experts=tmp_path, candidates=4, mixing="trajectories")
    assert mixed.plan(context(crossing())).candidates.shape == (1, 91, 5)


def test_strange_experts_are_refused(tmp_path, backbone) -> None:
    other = backbone.clone()
    with torch.no_grad():
        other.module.token_head.bias.add_(1.0)
    experts_in(tmp_path, other)
    with pytest.raises(WeightsError, match="aligned from prior"):
        load_sampled(tmp_path, SmartBackbone)
    other.save(tmp_path / "prior.safetensors")
    loaded = load_sampled(tmp_path, SmartBackbone)
    with pytest.raises(ConfigError, match="logit mixing needs one distribution"):
        SampledSageAdversary(loaded, mixing="logits")
    with pytest.raises(WeightsError, match="architecture"):
        registry.make("adversary", "sage", experts=tmp_path)


def test_futures_are_drawn_and_scored_on_any_device(backbone) -> None:
    def answers(policy: SmartBackbone) -> list:
        scene = crossing()
        entry = build_bank([scene], policy.clone(), filtered=False).entries[0]
        made = policy.distribution([entry.case])
        tokens = made.sample(3, np.random.default_rng(0))[0]
        with torch.no_grad():
            drawn = made.log_prob([tokens])[0]
            parts = drawn, made._score(entry.case, tokens), made._score(entry.case, tokens[:0])
        assert {part.device for part in parts} == {policy.module.motions.device}
        states, _ = policy.futures(scene, 1, 10, entry.case, tokens)
        result = group_loss(policy, [entry], RECIPES["real"], HgpoConfig(group=4), np.random.default_rng(5))
        assert result.pairs
        result.loss.backward()
        same = preference_vectors(policy.module, policy.module, policy.module)
        plan = SampledSageAdversary(SampledExperts(policy, same, {}), candidates=2).plan(context(scene))
        return [tokens, states, drawn.tolist(), parts[1].tolist(), result.loss.item(), plan.candidates]

    other = backbone.clone()
    here = answers(backbone.clone())
    move(other.module)
    with Elsewhere():
        there = answers(other)
    for one, two in zip(here, there, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)
