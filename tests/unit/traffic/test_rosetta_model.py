"""RosettaSim's network, its weights on disk, and what it learns."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from harness.errors import ConfigError, RunError, WeightsError
from harness.traffic.model.batch import join_agents, join_maps
from harness.traffic.open.decisions import UNSCORED, decisions, watched
from harness.traffic.open.network import UNKNOWN_MOTION, as_they_came
from harness.traffic.rosetta import decoding
from harness.traffic.rosetta.config import ARCHITECTURE, RosettaConfig
from harness.traffic.rosetta.decoding import RosettaOptions, SequenceDecision
from harness.traffic.rosetta.model import SHIPPED, RosettaModel
from harness.traffic.rosetta.network import sinusoids
from harness.traffic.rosetta.sequence import join_sequences
from harness.traffic.tokens.layout import LayoutTokens
from harness.traffic.training.config import ExampleOptions, LoopConfig, StageOptions
from harness.traffic.training.dataset import TokenisedScenes
from harness.traffic.training.decided import sizes_of
from harness.traffic.training.examples import examples_of
from harness.traffic.training.loop import train_stage
from harness.traffic.training.objective import Step
from harness.traffic.training.recipe import StagePlan, run_stages, starting_model
from harness.traffic.training.sequences import ROSETTA_WEIGHTS, RosettaTask, SequenceCloning, sequence_losses
from tests.scenes import Agent, straight_road
from tests.unit.traffic.scenes import OPTIONS, small_model, small_rosetta, tiny_vocabulary
from tests.unit.traffic.test_training import Scenes

EXAMPLES = ExampleOptions(phases=1)


def busy():
    """A road on which two agents appear after the first second."""
    return straight_road(
        extra=[
            Agent("first", 30.0, 3.5, 0.0, 8.0, first=20),
            Agent("second", -30.0, -3.5, 0.0, 6.0, first=20, size=(6.0, 2.2, 2.4)),
        ],
        scene_id="busy",
    )


def step_of(model) -> Step:
    (tokens,) = examples_of(busy(), model.vocabulary, OPTIONS, EXAMPLES)
    agents, log = join_agents([tokens])
    generator = torch.Generator().manual_seed(0)
    return Step(join_maps([tokens], OPTIONS.lanes), agents, log, [tokens], lambda k: busy(), generator)


def plan(tmp_path, **changes) -> StagePlan:
    loop = LoopConfig(epochs=2, batch=1, warmup=0, average=0.0)
    return StagePlan(
        stages=("rosetta",), size="nano", init=None, vocabulary=None, mirror=False, examples=EXAMPLES, scene=OPTIONS,
        dropout=None, loop=loop, options=StageOptions(), cache=tmp_path / "tokens", **changes,
    )  # fmt: skip


def task_of(model, folder, *, epochs=2, decisions=0, rate=1e-3, seed=0) -> RosettaTask:
    scenes = TokenisedScenes(
        Scenes(busy()), model.vocabulary, OPTIONS, folder.parent / "tokens", examples=EXAMPLES, workers=1
    )
    loop = LoopConfig(epochs=epochs, batch=1, learning_rate=rate, warmup=0, average=0.0, patience=epochs, seed=seed)
    folder.mkdir(exist_ok=True)
    return RosettaTask(loop, SequenceCloning(decisions), model.network, OPTIONS, scenes, scenes, folder)


def test_sinusoids_by_hand():
    found = sinusoids(torch.tensor([0, 1]), 4)
    assert found[0].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert found[1].tolist() == pytest.approx([math.sin(1), math.sin(0.01), math.cos(1), math.cos(0.01)])


def test_newcomers_come_by_no_motion():
    model = small_rosetta(vocabulary=tiny_vocabulary())
    step = step_of(model)
    seen = torch.as_tensor(watched(step.scenes[0]).seen)[None]
    came = as_they_came(step.agents, seen)
    row = step.scenes[0].agents.tolist().index(3)
    # Born at moment 4: column 3 of tokens that lead to moments 1, 2, …
    assert came.valid[0, row].tolist()[:5] == [False, False, False, True, True]
    assert came.token[0, row, 3] == UNKNOWN_MOTION
    assert came.token[0, row, 4] == step.agents.token[0, row, 4] >= 0
    assert not came.motion[0, row, 3].any()


def test_a_new_model_moves_agents_as_its_scene_encoder_does():
    encoder, model = small_model(vocabulary=tiny_vocabulary()), small_rosetta(vocabulary=tiny_vocabulary())
    step = step_of(model)
    lesson = SequenceCloning().prepare(model.network, step)
    with torch.no_grad():
        own = sequence_losses(model.network, step.maps, lesson)["motion"]
        agents = dataclasses.replace(lesson.agents, token=lesson.agents.token.clamp(min=0))
        features, nodes = encoder.network(encoder.network.encode_map(step.maps), agents)
        batch, wanted = lesson.batch, []
        # Before moment 4 nobody is a newcomer: moments 1 to 3 are the first three decisions.
        for row in range(3):
            for column in (batch.motion[row] != UNSCORED).nonzero()[:, 0]:
                agent, moment = batch.agent[row, column], batch.moment[row] - 1
                x = features[nodes.row[0, moment, agent]][None]
                logits = encoder.network.logits(x, agents.kinds[0, agent][None], agents.motion[0, agent, moment][None])
                wanted.append(float(-logits.log_softmax(-1)[0, batch.motion[row, column]]))
    assert len(wanted) >= 6
    assert own.numpy()[: len(wanted)] == pytest.approx(wanted, abs=1e-4)


def test_where_newcomers_go_does_not_hang_on_the_motion_that_they_do_not_have():
    network = small_rosetta(vocabulary=tiny_vocabulary()).network
    x, agents, kinds = torch.randn(2, 16), torch.randn(2, 16), torch.zeros(2, dtype=torch.long)
    known = torch.tensor([True, False])
    with torch.no_grad():
        one, other = (network.motion_logits(x, agents, kinds, torch.full((2, 3), 2.0 * k), known) for k in range(2))
    assert not torch.allclose(one[0], other[0])
    assert torch.equal(one[1], other[1])


def test_a_decision_in_steps_is_the_sequence_at_once(monkeypatch):
    model = small_rosetta(vocabulary=tiny_vocabulary())
    network = model.network
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.05 * torch.randn_like(value))
    (tokens,) = examples_of(busy(), model.vocabulary, OPTIONS, EXAMPLES)
    made = decisions(tokens, network.rosetta.limits, [3])
    batch = join_sequences([made])
    count, newcomers = batch.agent.shape[1], batch.kind.shape[1]
    assert newcomers == 2
    hidden = network.config.hidden
    agents, pieces = torch.randn(1, count, hidden), torch.randn(1, batch.piece.shape[1], hidden)
    kinds, motion = torch.zeros(count, dtype=torch.long), torch.randn(count, 3)
    with torch.no_grad():
        tables = network.tables()
        x = network.sequence_features(agents, pieces, batch, tables)
        places = batch.parts
        known = torch.arange(count) != 1
        whole = network.motion_logits(x[0, places["motion"]], agents[0], kinds, motion, known)
        types, grid, yaw = (part[0] for part in network.spawn_logits(x[:, places["newcomers"]], tables))
    decision = SequenceDecision(network, tables, agents[0])
    assert torch.allclose(
        decision.motion_logits(kinds, motion, known, network.token_head.table(network.motions)), whole, atol=1e-4
    )
    around = LayoutTokens(made.piece_grid[0], made.piece_yaw[0], np.ones_like(made.piece[0], bool))
    after = LayoutTokens(made.grid[0], made.yaw[0], np.ones_like(made.grid[0], bool))
    decision.look_around(pieces[0], around, after)
    told = [batch.kind[0, 0], batch.new_grid[0, 0], batch.new_yaw[0, 0]]
    told += [batch.kind[0, 1], batch.new_grid[0, 1], batch.new_yaw[0, 1], torch.tensor(3)]
    seen = []

    def draw(logits, temperature, generator):
        seen.append(logits)
        return told[len(seen) - 1]

    monkeypatch.setattr(decoding, "draw", draw)
    options = RosettaOptions(type_k=0, grid_k=0, yaw_k=0)
    found = decision.newcomers(options, torch.Generator(), lambda who: True)
    assert [(who.kind, who.grid) for who in found] == list(zip(batch.kind[0], batch.new_grid[0], strict=True))
    wanted = [types[0], grid[0], yaw[0], types[1], grid[1], yaw[1], types[2]]
    for stepwise, at_once in zip(seen, wanted, strict=True):
        assert torch.allclose(stepwise, at_once, atol=1e-4)


def test_weights_go_round(tmp_path):
    model, path = small_rosetta(), tmp_path / "rosetta.safetensors"
    model.save(path, {"why": "a test"})
    again = RosettaModel.load(path)
    assert again.network.rosetta == model.network.rosetta
    assert again.info == {"why": "a test"}
    for name, value in model.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], value)
    model.save(path, half=True)
    assert RosettaModel.load(path).network.newcomer_sizes[0].tolist() == pytest.approx([4.8, 2.0, 1.6])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("sequence_model", "os:system", "registered one"),
        ("sequence_model", 3, "registered one"),
        ("layers", 300, "0 to 200"),
        ("width", 17, "cannot work"),
        ("width", 32, "do not fit"),
        ("colour", 1, "unknown or missing"),
    ],
)
def test_a_strangers_file_is_checked(tmp_path, field, value, message):
    path = tmp_path / "rosetta.safetensors"
    small_rosetta().save(path)
    with safe_open(path, "pt") as file:
        tensors, header = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    header["rosetta"] = json.dumps({**json.loads(header["rosetta"]), field: value})
    save_file(tensors, path, header)
    with pytest.raises(WeightsError, match=message):
        RosettaModel.load(path)


def test_files_of_nobody_and_of_others(tmp_path):
    with pytest.raises(WeightsError, match="train_traffic --stage rosetta"):
        RosettaModel.load(tmp_path / "none.safetensors")
    shipped = RosettaModel.load()
    assert (shipped.network.rosetta.sequence_model, shipped.observer) == ("transformer", "ego")
    assert SHIPPED.stat().st_size < 16e6
    path = tmp_path / "smart.safetensors"
    small_model().save(path)
    with pytest.raises(WeightsError, match="another model"):
        RosettaModel.load(path)
    model = small_rosetta()
    model.network.newcomer_sizes[1] = 0.0
    model.save(path)
    with pytest.raises(WeightsError, match="positive"):
        RosettaModel.load(path)
    with pytest.raises(ConfigError, match="even width"):
        RosettaConfig(width=7)


def test_it_overfits_one_scene(tmp_path):
    model = small_rosetta(vocabulary=tiny_vocabulary(), width=32)
    task = task_of(model, tmp_path / "run", epochs=60, rate=1e-2)
    step = step_of(model)
    objective = SequenceCloning()
    before = objective.validate(model.network, step)
    best, rows = train_stage(task, {}, part="rosetta")
    assert (tmp_path / "run" / ROSETTA_WEIGHTS).is_file()
    assert {"motion", "type", "grid", "yaw", "loss", "val"} <= set(rows[-1])
    assert rows[-1]["loss"] < 0.4 * before
    after = best.network.eval()
    lesson = objective.prepare(after, step)
    with torch.no_grad():
        found = sequence_losses(after, step.maps, lesson)
    # Both newcomers of the one decision have three tokens each, and every decision ends.
    assert [len(found[name]) for name in ("grid", "yaw")] == [2, 2]
    assert len(found["type"]) == 2 + len(lesson.batch.scene)
    assert max(float(found[name].mean()) for name in ("grid", "yaw")) < 1.0
    # What is learnt by sampling sizes: one newcomer is longer than a car.
    assert best.network.newcomer_sizes[0].tolist() == pytest.approx(sizes_of(task.train_scenes)[0].tolist())


def test_a_stopped_fit_goes_on_to_the_same_weights(tmp_path):
    def fitted(folder, *parts):
        for epochs in parts:
            model = small_rosetta(vocabulary=tiny_vocabulary())
            best, _ = train_stage(task_of(model, folder, epochs=epochs, decisions=4), {}, part="rosetta")
        return best.network.state_dict()

    # The schedule's end is part of a fit: the same number of epochs, stopped in between.
    whole = fitted(tmp_path / "whole", 2)
    again = fitted(tmp_path / "again", 2, 2)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    other = task_of(small_rosetta(vocabulary=tiny_vocabulary()), tmp_path / "again", decisions=4, seed=5)
    with pytest.raises(RunError, match="other settings"):
        train_stage(other, {}, part="rosetta")


def test_some_decisions_are_drawn_by_the_step():
    model = small_rosetta(vocabulary=tiny_vocabulary())
    first, second = (SequenceCloning(3).prepare(model.network, step_of(model)) for _ in range(2))
    assert first.batch.moment.tolist() == second.batch.moment.tolist()
    assert len(first.batch.moment) == 3
    assert first.mask.shape == first.batch.labels.shape


def test_where_a_plan_starts(tmp_path):
    scratch = starting_model(plan(tmp_path))
    assert isinstance(scratch, RosettaModel)
    assert (scratch.network.rosetta.width, scratch.network.config.hidden) == (128, 64)
    encoder = small_model(vocabulary=tiny_vocabulary())
    encoder.save(tmp_path / "smart.safetensors")
    around = starting_model(dataclasses.replace(plan(tmp_path), init=tmp_path / "smart.safetensors"))
    assert torch.equal(around.network.fuse[0].weight, encoder.network.fuse[0].weight)
    around.save(tmp_path / "own.safetensors")
    again = starting_model(dataclasses.replace(plan(tmp_path), init=tmp_path / "own.safetensors"))
    assert torch.equal(again.network.start_token, around.network.start_token)


@pytest.mark.parametrize("stage", ["rosetta", "infgen"])
def test_the_map_reaches_as_far_in_training_as_the_grid(tmp_path, stage):
    model = starting_model(dataclasses.replace(plan(tmp_path), stages=(stage,)))
    # One map layer, whose neighbours are 10 m away.
    assert model.options.map_margin == 85.0

    def near(margin: float) -> int:
        options = dataclasses.replace(model.options, map_margin=margin)
        (tokens,) = examples_of(straight_road(), model.vocabulary, options, EXAMPLES)
        away = tokens.map_pose[:, :2] - tokens.goal[tokens.ego, 0, :2]
        return int((np.hypot(*away.T) < 75.0).sum())

    # At step 0 the road behind the ego is as far as 75 m from it, and from everybody else farther.
    assert near(60.0) < near(85.0) == near(600.0)


def test_a_plan_leaves_weights_of_its_own(tmp_path):
    small_rosetta(vocabulary=tiny_vocabulary()).save(tmp_path / "own.safetensors")
    own = dataclasses.replace(plan(tmp_path), init=tmp_path / "own.safetensors")
    weights, rows = run_stages(own, Scenes(busy()), Scenes(busy()), tmp_path, lambda event: None)
    assert weights == tmp_path / ROSETTA_WEIGHTS
    assert RosettaModel.load(weights).info["stages"] == ["rosetta"]
    assert len(rows["rosetta"]) == 2
    near = dataclasses.replace(own, examples=ExampleOptions(trained="near"))
    with pytest.raises(ConfigError, match="--examples"):
        run_stages(near, Scenes(busy()), Scenes(busy()), tmp_path, lambda event: None)


def test_the_file_says_what_it_is(tmp_path):
    path = tmp_path / "rosetta.safetensors"
    small_rosetta().save(path)
    with safe_open(path, "pt") as file:
        assert file.metadata()["architecture"] == ARCHITECTURE
