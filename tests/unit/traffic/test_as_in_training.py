"""What models of traffic that comes and goes read at a decision is what they have learnt from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from harness.traffic.infgen.config import InfGenLossOptions
from harness.traffic.infgen.decoding import Insertion
from harness.traffic.infgen.network import InfGenNetwork
from harness.traffic.infgen.policy import InfGenTraffic
from harness.traffic.model.batch import join_agents, join_maps
from harness.traffic.model.smart import from_frame
from harness.traffic.open.decisions import NONE
from harness.traffic.rosetta.decoding import SequenceDecision
from harness.traffic.rosetta.policy import RosettaTraffic
from harness.traffic.tokens.layout import layout_poses
from harness.traffic.training.config import ExampleOptions
from harness.traffic.training.decided import trunk_features
from harness.traffic.training.examples import examples_of
from harness.traffic.training.infgen import InfGenCloning, LabelOptions, infgen_losses
from harness.traffic.training.objective import Step
from harness.traffic.training.sequences import SequenceCloning, sequence_losses
from tests.scenes import Agent, make_scene, straight_road
from tests.unit.traffic.scenes import OPTIONS, small_infgen, small_rosetta, tiny_vocabulary
from tests.unit.traffic.test_rosetta_model import busy

DECISIONS = (2, 3, 4, 5)
"""Moments, every half second: the first one is step 10."""
WHOLE = dataclasses.replace(OPTIONS, map_margin=600.0)
"""Training keeps as much of the map as there is in use."""


def scene():
    """Everybody at a speed that is a token, nothing at equal distances; the ego leaves "left" behind after step 10."""
    agents = [
        Agent("ego", 0.7, 0.2, 0.02),
        Agent("left", -62.0, 3.5, speed=0.0),
        Agent("slow", -20.0, 3.5, speed=4.0),
        Agent("ahead", 30.0, 0.0, speed=8.0),
    ]
    return make_scene(agents, straight_road().features, opponent=None, origin=(700.0, -1200.0), rotation=2.3)


def stirred(model):
    """The model with weights that are no zeros anywhere."""
    torch.manual_seed(1)
    with torch.no_grad():
        for value in model.network.parameters():
            value.add_(0.05 * torch.randn_like(value))
    model.options = WHOLE
    return model


def taught(model):
    """The scene as a batch of training."""
    (tokens,) = examples_of(scene(), model.vocabulary, WHOLE, ExampleOptions(phases=1))
    agents, log = join_agents([tokens])
    maps = join_maps([tokens], WHOLE.lanes)
    return Step(maps, agents, log, [tokens], lambda k: scene(), torch.Generator().manual_seed(0))


def used(policy):
    """Let a policy decide while everybody does what was recorded."""
    played = scene().with_reserve(policy.reserve)
    states = np.stack([played.states(agent) for agent in range(played.num_agents)])
    policy.reset(played, np.random.default_rng(0))
    for step in range(5 * DECISIONS[-1] + 5):
        policy.step(step, states[:, step].copy(), played.valid[:, step].copy())
        if step % 5 == 0:
            policy._paths = states[:, step + 1 : step + 6, :3]


def row_of(batch, moment):
    return batch.moment.tolist().index(moment)


@pytest.mark.parametrize("moment", DECISIONS)
def test_the_scene_tells_who_has_gone(moment):
    """The order is that of distance; who is out of sight after its motion has no layout."""
    model = small_rosetta(vocabulary=tiny_vocabulary())
    batch = SequenceCloning().prepare(model.network, taught(model)).batch
    row = row_of(batch, moment)
    gone = (batch.grid[row] == NONE) & (batch.agent[row] != NONE)
    assert gone.sum() == (moment == 2)
    assert (batch.agent[row] != NONE).sum() == (4 if moment == 2 else 3)


def test_rosetta_reads_the_sequence_that_it_has_learnt(tmp_path, monkeypatch):
    model, read = stirred(small_rosetta(vocabulary=tiny_vocabulary())), []
    usual = SequenceDecision.look_around

    def look_around(self, *around):
        usual(self, *around)
        read.append((self._motion, self._start))

    monkeypatch.setattr(SequenceDecision, "look_around", look_around)
    step = taught(model)
    with torch.no_grad():
        lesson = SequenceCloning().prepare(model.network, step)
        batch = lesson.batch
        trunk = trunk_features(model.network, step.maps, lesson.agents, batch)
        whole = model.network.sequence_features(trunk.agents, trunk.pieces, batch, model.network.tables())
    model.save(tmp_path / "rosetta.safetensors")
    used(RosettaTraffic(tmp_path / "rosetta.safetensors", most=0, extremes=False))
    assert len(read) == len(DECISIONS)
    for moment, (motion, start) in zip(DECISIONS, read, strict=True):
        row = row_of(batch, moment)
        there = batch.agent[row] != NONE
        assert len(motion) == there.sum()
        assert torch.allclose(motion, whole[row, batch.parts["motion"]][there], atol=1e-3)
        assert torch.allclose(start, whole[row, batch.parts["newcomers"]][0], atol=1e-3)


def test_infgen_asks_what_it_has_learnt(tmp_path, monkeypatch):
    model, read = stirred(small_infgen(vocabulary=tiny_vocabulary())), []
    step, wanted = taught(model), []
    usual = model.network.ask

    def ask(around, others, decision, sees):
        found = usual(around, others, decision, sees)
        wanted.append((found, decision))
        return found

    model.network.ask = ask
    with torch.no_grad():
        lesson = InfGenCloning().prepare(model.network, step)
        infgen_losses(model.network, step.maps, lesson, LabelOptions(InfGenLossOptions()))
    ((features, decision),) = wanted
    model.network.ask = usual
    tables = model.network.tables()
    monkeypatch.setattr(
        Insertion, "newcomers", lambda self, *how: read.append(self._ask(self.agents, self._poses, self._grid)) or []
    )
    model.save(tmp_path / "infgen.safetensors")
    used(InfGenTraffic(tmp_path / "infgen.safetensors", leaving=False))
    assert len(read) == len(DECISIONS)
    with torch.no_grad():
        says = model.network.answers(features, tables)
    for moment, own in zip(DECISIONS, read, strict=True):
        # The first query of a decision knows of nobody who has entered.
        (query, *_) = (decision == row_of(lesson.batch, moment)).nonzero()[:, 0]
        for name in ("state", "kind", "shape", "place"):
            assert torch.allclose(getattr(own, name)[0], getattr(says, name)[query], atol=1e-3), name


def test_a_newcomer_of_infgen_looks_around_from_its_cell(tmp_path, monkeypatch):
    """In training cells lie around the observer's pose in the frame of the scene."""
    small_infgen(vocabulary=tiny_vocabulary()).save(tmp_path / "infgen.safetensors")
    policy, looked = InfGenTraffic(tmp_path / "infgen.safetensors", leaving=False, most=1), []
    usual = InfGenNetwork.refine

    def refine(network, maps, who, others, tables):
        cell = network.cell_poses(who.grid, who.observer)[0].double().numpy()
        looked.append((from_frame(cell, policy._map.frame), layout_poses(who.grid[0].numpy(), 0, policy._observer)))
        return usual(network, maps, who, others, tables)

    monkeypatch.setattr(InfGenNetwork, "refine", refine)
    used(policy)
    assert looked
    for own, wanted in looked:
        assert own[:2] == pytest.approx(wanted[:2], abs=1e-2)
        assert np.cos(own[2] - wanted[2]) == pytest.approx(1.0)


def test_scenes_that_nobody_enters_teach_too():
    """Motion, who stays, and that nobody comes."""
    model = small_rosetta(vocabulary=tiny_vocabulary())
    step = taught(model)
    lesson = SequenceCloning().prepare(model.network, step)
    losses = sequence_losses(model.network, step.maps, lesson)
    assert [len(losses[name]) for name in ("type", "grid", "yaw")] == [len(lesson.batch.scene), 0, 0]
    rival = small_infgen(vocabulary=tiny_vocabulary())
    for objective, network in ((SequenceCloning(), model.network), (InfGenCloning(smoothing=0.0), rival.network)):
        found = objective.loss(network, step, objective.prepare(network, step))
        found.total.backward()
        assert found.total.isfinite()
        assert network.fuse[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("maps", [(True, False), (False, True), (False,)])
def test_scenes_without_a_map_teach_too(maps):
    """They have no pieces to point at, wherever in the batch they stand."""
    rosetta, infgen = small_rosetta(vocabulary=tiny_vocabulary()), small_infgen(vocabulary=tiny_vocabulary())
    scenes = [busy() if has else dataclasses.replace(busy(), features=()) for has in maps]
    tokens = [examples_of(one, rosetta.vocabulary, OPTIONS, ExampleOptions(phases=1))[0] for one in scenes]
    agents, log = join_agents(tokens)
    generator = torch.Generator().manual_seed(0)
    step = Step(join_maps(tokens, OPTIONS.lanes), agents, log, tokens, scenes.__getitem__, generator)
    for objective, model in ((SequenceCloning(), rosetta), (InfGenCloning(smoothing=0.0), infgen)):
        found = objective.loss(model.network, step, objective.prepare(model.network, step))
        assert found.total.isfinite()
