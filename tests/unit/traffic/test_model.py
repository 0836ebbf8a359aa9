"""The network, its caches, its files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adversaries.sage.experts import PRIOR_FILE
from adversaries.sage.smart import SHIPPED as EXPERTS
from harness.errors import ConfigError, WeightsError
from harness.traffic.model import Rollout, SmartModel
from harness.traffic.model.attention import RelativeAttention
from harness.traffic.model.batch import join_agents, join_maps
from harness.traffic.model.config import SmartConfig
from harness.traffic.model.edges import DenseEdges, ListedEdges
from harness.traffic.model.heads import Mixture
from harness.traffic.model.rules import fewest_overlaps
from harness.traffic.model.simulator import SmartSimulator
from harness.traffic.model.smart import from_frame, to_frame
from harness.traffic.rollouts import SceneSimulator
from harness.traffic.sampling import Sampling
from harness.traffic.tokens.scene import tokenise_scene
from harness.traffic.tokens.vocabulary import SHIPPED
from tests.scenes import crossing
from tests.unit.traffic.scenes import OPTIONS, SMALL, small_model, traffic


def logits_of(model, scene):
    tokens = tokenise_scene(scene, model.vocabulary, OPTIONS, training=True)
    batch, _ = join_agents([tokens])
    with torch.no_grad():
        x, nodes = model.network(model.network.encode_map(join_maps([tokens], OPTIONS.lanes)), batch)
        return model.network.logits(x, batch.kinds.flatten()[nodes.agent], nodes.take(batch.motion))


def test_moving_and_turning_the_scene_changes_nothing():
    model = small_model()
    here = logits_of(model, traffic())
    there = logits_of(model, traffic(origin=(4000.0, -2500.0), rotation=1.234))
    assert here.shape == there.shape
    assert here.std() > 0.3
    # Scores of impossible tokens are huge and mean nothing: probabilities have to agree.
    assert (here.softmax(-1) - there.softmax(-1)).abs().max() < 1e-3


def test_neighbours_and_map_matter():
    import dataclasses

    model = small_model()
    scene = traffic()
    base = logits_of(model, scene)
    moved = scene.position.copy()
    moved[1, :, 0] += 4.0
    assert (logits_of(model, dataclasses.replace(scene, position=moved)) - base).abs().max() > 1e-2
    lanes = tuple(f for f in scene.features if f.is_lane)
    assert (logits_of(model, dataclasses.replace(scene, features=lanes)) - base).abs().max() > 1e-3
    assert torch.isfinite(logits_of(model, dataclasses.replace(scene, features=()))).all()


@pytest.mark.parametrize(("moving_first", "seen"), [(True, [2, 1]), (False, [1, 2])])
def test_moving_neighbours_come_first(moving_first, seen):
    """Beside agent 0 a standing one at 5 m, a moving one at 20 m, and another moving one out of sight."""
    pose = torch.tensor([[[0.0, 0, 0], [5.0, 0, 0], [20.0, 0, 0], [70.0, 0, 0]]])
    motion = torch.tensor([[[5.0, 0, 0], [0.1, 0, 0], [4.0, 0, 0], [9.0, 0, 0]]])
    valid, row = torch.ones(1, 4, dtype=torch.bool), torch.arange(4)[None]
    for count in (1, 2, 4):
        network = small_model(moving_first=moving_first, neighbours=count).network
        edges = network.agent_edges(pose, motion, valid, row)
        assert edges.rows[: edges.start[1]].tolist() == seen[:count]


def test_models_of_before_see_the_nearest():
    values = SmartConfig().to_dict()
    assert SmartConfig.from_dict(values, "here").moving_first
    del values["moving_first"]
    assert not SmartConfig.from_dict(values, "here").moving_first
    before, shipped = (SmartModel.load(file).network.config for file in (EXPERTS / PRIOR_FILE, None))
    assert (before.moving_first, before.neighbours) == (False, 16)
    assert (shipped.moving_first, shipped.neighbours) == (True, 32)


def test_the_past_does_not_see_the_future():
    model = small_model()
    tokens = tokenise_scene(traffic(), model.vocabulary, OPTIONS, training=True)
    batch, _ = join_agents([tokens])
    maps = model.network.encode_map(join_maps([tokens], OPTIONS.lanes))
    with torch.no_grad():
        x, nodes = model.network(maps, batch)
        early, some = model.network(maps, batch.first(9))
    kept = nodes.place < some.row.numel()
    assert torch.allclose(x[kept], early, atol=1e-5)


def test_cached_steps_equal_the_full_pass():
    model = small_model()
    scenes = [tokenise_scene(s, model.vocabulary, OPTIONS, training=True) for s in (traffic(), crossing())]
    batch, _ = join_agents(scenes)
    maps = model.network.encode_map(join_maps(scenes, OPTIONS.lanes))
    with torch.no_grad():
        x, nodes = model.network(maps, batch)
    full = x.new_zeros(nodes.row.numel(), x.shape[1])
    full[nodes.place] = x
    full = full.view(*nodes.row.shape, -1)
    rollout = Rollout(model.network, maps, batch.first(2))
    for step in range(1, batch.token.shape[2]):
        if step > 1:
            rollout._set(
                batch.token[:, :, step], batch.motion[:, :, step], batch.pose[:, :, step], batch.valid[:, :, step]
            )
            rollout.features = rollout._encode()
        live = batch.valid[:, :, step]
        mine = rollout.features.view(*live.shape, -1)
        assert (mine[live] - full[:, step][live]).abs().max() < 1e-4, step


def test_observing_what_was_planned_equals_advancing():
    model = small_model()
    tokens = model.tokens(traffic())
    one, other = model.start(tokens), model.start(tokens)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        chosen = model.choose(one, generator)
        one.advance(chosen)
        other.observe(one.pose.clone(), one.valid)
        ends = model.network.motions[one.kinds, one.token, -1]
        seen = model.network.motions[other.kinds, other.token, -1]
        assert (ends - seen)[one.valid].abs().max() < 0.05
        assert (one.pose - other.pose).abs().max() < 1e-5
        other.token = one.token
        other.motion = one.motion


def test_agents_can_appear_later():
    import dataclasses

    model = small_model()
    scene = traffic()
    valid = scene.valid.copy()
    valid[1, :40] = False
    scene = dataclasses.replace(scene, valid=valid)
    rollout = model.start(model.tokens(scene, np.arange(5)))
    assert rollout.valid[0].tolist() == [True, False, True, True, True]
    before = rollout.logits()
    assert (before[0, 1] == 0).all()
    assert (before[0, [0, 2, 3, 4]] != 0).any(-1).all()
    now, before_now = rollout.pose.clone(), rollout.pose.clone()
    now[0, 1] = torch.tensor([20.0, 3.5, 0.0])
    before_now[0, 1] = torch.tensor([15.0, 3.5, 0.0])
    rollout.observe(now, torch.ones(1, 5, dtype=torch.bool), before_now)
    end = model.network.motions[0, rollout.token[0, 1], -1]
    assert (end - torch.tensor([5.0, 0.0, 0.0])).abs().max() < 0.2
    assert torch.isfinite(rollout.logits()).all()
    assert rollout.logits().shape == before.shape


def test_simulation_is_seeded_and_starts_where_agents_are():
    model = small_model()
    scene = traffic()
    first, again, other = (model.simulate(scene, 3, seed) for seed in (5, 5, 6))
    assert first.states.shape == (3, 5, 80, 4)
    assert np.array_equal(first.states, again.states)
    assert not np.array_equal(first.states, other.states)
    assert first.agents.tolist() == np.flatnonzero(scene.valid[:, 10]).tolist()
    step = np.hypot(*np.moveaxis(first.states[:, :, 0, :2] - scene.position[first.agents, 10, :2], -1, 0))
    assert step.max() < 4.0
    assert np.allclose(first.states[..., 2], scene.position[first.agents, 10, 2][None, :, None])
    assert isinstance(model, SceneSimulator)


def test_simulation_turns_with_the_scene():
    model = small_model()
    model.sampling = Sampling(temperature=0.0)
    here = model.simulate(traffic(), 1, 0).states
    there = model.simulate(traffic(rotation=np.pi / 2), 1, 0).states
    turned = np.stack([-here[..., 1], here[..., 0]], -1)
    assert np.abs(there[..., :2] - turned).max() < 1e-2


def test_test_time_scaling_keeps_the_best():
    model = small_model()
    model.sampling = Sampling(choices=4)
    model.rule = lambda states, scene: -states[:, 0, -1, 0]
    kept = model.simulate(traffic(), 2, 0).states
    model.sampling = Sampling(choices=1)
    plain = model.simulate(traffic(), 8, 0).states
    assert kept.shape[0] == 2
    assert kept[:, 0, -1, 0].max() <= np.median(plain[:, 0, -1, 0]) + 1e-6


def test_fewest_overlaps_counts_agents():
    model = small_model()
    scene = model.tokens(traffic())
    still = torch.as_tensor(scene.poses[:, -1])[None, :, None].expand(2, -1, 80, -1).clone()
    # In the second roll-out the opponent ends where the ego stands.
    still[1, 1, 40:] = still[1, 0, 40:]
    assert fewest_overlaps(still, scene).tolist() == [0.0, -2.0]


def test_unknown_sampling_options_are_named(tmp_path):
    with pytest.raises(ConfigError, match="temperature"):
        SmartSimulator(tmp_path / "m.safetensors", heat=2.0)


def test_frames_undo_each_other():
    frame = np.array([100.0, -40.0, 2.0])
    poses = np.random.default_rng(0).normal(0, 30, (4, 3))
    back = from_frame(to_frame(poses, frame), frame)
    assert np.allclose(back[:, :2], poses[:, :2])
    assert np.allclose(np.cos(back[:, 2] - poses[:, 2]), 1.0)


def test_weights_files(tmp_path):
    model = small_model()
    model.save(tmp_path / "m.safetensors", {"note": 1})
    again = SmartModel.load(tmp_path / "m.safetensors")
    assert again.info == {"note": 1}
    assert again.options == OPTIONS
    scene = traffic()
    assert np.array_equal(again.simulate(scene, 1, 0).states, model.simulate(scene, 1, 0).states)
    simulator = SmartSimulator(tmp_path / "m.safetensors", temperature=0.0, top_k=3)
    assert simulator.simulate(scene, 2, 0).states.shape[0] == 2
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="not a readable"):
        SmartModel.load(tmp_path / "bad.safetensors")
    with pytest.raises(WeightsError, match="architecture"):
        SmartModel.load(SHIPPED)


def test_attention_by_hand():
    """One head, identity projections: a softmax over q·(k+r), applied to v+r."""
    torch.manual_seed(0)
    layer = RelativeAttention(4, 1, 0.0)
    x, key_value, relation = torch.randn(1, 4), torch.randn(1, 3, 8), torch.randn(1, 3, 4)
    rows = torch.arange(3)
    two = ListedEdges(rows[:2], relation[0, :2], torch.tensor([0, 2]))
    normed = layer.norm_query(x)
    query = layer.query(normed)[0]
    score = (key_value[0, :2, :4] + relation[0, :2]) @ query / 2.0
    found = score.softmax(0) @ (key_value[0, :2, 4:] + relation[0, :2])
    gate = torch.sigmoid(layer.gate(torch.cat([found[None], normed], -1)))
    found = found + gate * (layer.own(normed) - found)
    expected = x + layer.norm_out(layer.out(found))
    expected = expected + layer.feed(layer.norm_feed(expected))
    assert torch.allclose(layer(x, key_value[0], two), expected, atol=1e-5)
    dense = DenseEdges(rows[None], relation, torch.tensor([[True, True, False]]))
    assert torch.allclose(layer(x, key_value[0], dense), expected, atol=1e-5)
    none = ListedEdges(rows[:0], relation[0, :0], torch.tensor([0, 0]))
    nothing = dense._replace(mask=torch.zeros(1, 3, dtype=torch.bool))
    assert torch.allclose(layer(x, key_value[0], none), layer(x, key_value[0] * 5, nothing))


def test_mixture_likelihood_by_hand():
    """One component at the target: -log N(0) of two position (1 m) and two direction (0.1) coordinates."""
    means = torch.tensor([[[1.0, 2.0, 1.0, 0.0]]])
    mixture = Mixture(torch.zeros(1, 1), means)
    at = mixture.negative_log_likelihood(torch.tensor([[1.0, 2.0, 0.0]]))
    assert at.item() == pytest.approx(2 * np.log(2 * np.pi) + 2 * np.log(0.1), abs=1e-5)
    off = mixture.negative_log_likelihood(torch.tensor([[3.0, 2.0, 0.0]]))
    assert (off - at).item() == pytest.approx(2.0, abs=1e-4)
    assert torch.allclose(mixture.poses(), torch.tensor([[[1.0, 2.0, 0.0]]]))


def test_mixture_model_simulates():
    model = small_model(head="gmm")
    states = model.simulate(traffic(), 2, 0).states
    assert np.isfinite(states).all()
    assert states.shape == (2, 5, 80, 4)
    _, scores = model.unroll(model.tokens(traffic()), 3, torch.Generator().manual_seed(0))
    assert len(scores.unique()) == 3
    assert (scores < 0).all()


def test_autocast_changes_no_choice_at_speed():
    """Kernels are narrow beside what fast agents travel: written out in bfloat16, their square is off by nats."""
    torch.manual_seed(0)
    network = small_model().network
    head, count = network.token_head, 64
    with torch.no_grad():
        head.kernel[-1].bias.view(-1, 7)[:, 4:] = 0.0
        kinds, token = torch.arange(count) % 3, torch.randint(network.motions.shape[1], (count,))
        motion = network.motions[kinds, token, -1]
        x, table = torch.randn(count, SMALL.hidden), head.table(network.motions)
        given = x, kinds, motion, table, network.motions[:, :, -1]
        plain = head(*given).log_softmax(-1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = head(*given).float().log_softmax(-1)
    assert (motion[:, 0] > 4.0).any()
    likely = plain > -8.0
    assert (rough - plain)[likely].abs().max() < 0.1
