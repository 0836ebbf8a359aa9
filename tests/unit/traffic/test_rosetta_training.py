"""The stage rosetta: what a batch teaches is the same whoever takes which share of it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from harness.traffic.rosetta.model import RosettaModel
from harness.traffic.training import hands
from harness.traffic.training.config import LoopConfig
from harness.traffic.training.decided import _drawn
from harness.traffic.training.hands import Hands
from harness.traffic.training.loop import Asked, train_stage
from harness.traffic.training.recipe import starting_model
from harness.traffic.training.sequences import RosettaTask, SequenceCloning
from tests.unit.traffic.scenes import OPTIONS, small_rosetta, tiny_vocabulary
from tests.unit.traffic.test_feed import Here, tokenised
from tests.unit.traffic.test_rosetta_model import plan


def task_in(folder, decisions=0, **loop) -> RosettaTask:
    network = small_rosetta(vocabulary=tiny_vocabulary()).network
    network.set_dropout(0.0)
    network.config = dataclasses.replace(network.config, past_dropout=0.0)
    folder.mkdir(exist_ok=True)
    scenes = tokenised(folder / "tokens")
    config = LoopConfig(epochs=2, batch=3, warmup=1, device="cpu", **loop)
    return RosettaTask(config, SequenceCloning(decisions), network, OPTIONS, scenes, scenes, folder)


@pytest.mark.parametrize("decisions", [0, 3])
def test_a_batch_that_is_shared_teaches_the_same(tmp_path, monkeypatch, decisions):
    monkeypatch.setattr(hands, "open_stream", lambda setup, workers: Here(setup, workers))
    task = task_in(tmp_path / "a", decisions)
    whole = task.differentiate(task.taught([0, 1, 2], (0, 0, 0)))
    wanted = {name: value.grad.clone() for name, value in task.network.named_parameters() if value.grad is not None}
    assert {"start_token", "newcomer", "motion_token"} <= set(wanted)
    task.network.zero_grad(set_to_none=True)
    with Hands(task, 2):
        shared = task.differentiate(Asked([0, 1, 2], (0, 0, 0)))
        judged = task.evaluate(0)
    assert float(shared.total) == pytest.approx(float(whole.total), rel=1e-5)
    for name, value in task.network.named_parameters():
        assert (value.grad is not None) == (name in wanted)
        if name in wanted:
            torch.testing.assert_close(value.grad, wanted[name], atol=1e-5, rtol=1e-4)
    assert judged["val"] == pytest.approx(task.evaluate(0)["val"], rel=1e-6)


def test_decisions_are_drawn_by_scene_and_seed(tmp_path):
    scenes = tokenised(tmp_path)
    one, other = scenes[0], scenes[1]
    drawn = _drawn(one, 3, (5,))
    assert drawn == _drawn(one, 3, (5,)) == sorted(set(drawn))
    assert all(1 <= moment < one.token.shape[1] for moment in drawn)
    assert any(_drawn(one, 3, (seed,)) != drawn for seed in range(6, 9))
    assert _drawn(other, 0, (5,)) is None
    assert _drawn(other, other.token.shape[1] - 1, (5,)) is None
    every = {moment for seed in range(200) for moment in _drawn(other, 1, (seed,))}
    assert every == set(range(1, other.token.shape[1]))


@pytest.mark.slow
def test_two_workers_learn_what_one_does(tmp_path):
    _, rows = train_stage(task_in(tmp_path / "a", 3, workers=2), {}, part="rosetta")
    _, alone = train_stage(task_in(tmp_path / "b", 3), {}, part="rosetta")
    for row, single in zip(rows, alone, strict=True):
        assert row["loss"] == pytest.approx(single["loss"], rel=1e-3)
        assert row["val"] == pytest.approx(single["val"], rel=1e-3)


def test_weights_of_its_own_take_another_dropout(tmp_path):
    small_rosetta(vocabulary=tiny_vocabulary(), dropout=0.2).save(tmp_path / "own.safetensors")
    made = starting_model(dataclasses.replace(plan(tmp_path), init=tmp_path / "own.safetensors", dropout=0.4))
    assert isinstance(made, RosettaModel)
    shares = {module.p for module in made.network.modules() if isinstance(module, torch.nn.Dropout)}
    assert shares == {0.4} == {made.network.rosetta.dropout}
