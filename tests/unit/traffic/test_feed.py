"""Scenes on their way into training: gathered on the device, shared among workers, packed for another machine."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.errors import RunError
from harness.performance import traffic_training
from harness.performance.config import PerfConfig
from harness.traffic.model.config import SIZES
from harness.traffic.model.smart import SmartModel
from harness.traffic.tokens.scene import tokenise_scene
from harness.traffic.tokens.vocabulary import shipped
from harness.traffic.training import hands, rewards
from harness.traffic.training.config import ExampleOptions, LoopConfig, StageOptions
from harness.traffic.training.dataset import TokenisedScenes
from harness.traffic.training.feed import ResidentScenes, SceneFeed, joined
from harness.traffic.training.hands import Hand, Hands, helped, split
from harness.traffic.training.loop import Asked, TrafficTask, train_stage
from harness.traffic.training.packed import UnpackedScenes, pack
from harness.traffic.training.stages import make_objective
from scenarios.scenario import LoadedScenes
from tests.scenes import Agent, crossing, lasting, straight_road
from tests.unit.traffic.scenes import OPTIONS, SMALL, small_model, tiny_vocabulary, traffic

CPU = torch.device("cpu")


def recorded() -> LoadedScenes:
    """Three scenes of different sizes and lengths."""
    scenes = (traffic(), lasting(crossing(), 41), traffic(rotation=0.4))
    return LoadedScenes([dataclasses.replace(scene, id=str(number)) for number, scene in enumerate(scenes)])


def tokenised(folder, vocabulary=None, options=OPTIONS) -> TokenisedScenes:
    once = ExampleOptions(phases=1)
    return TokenisedScenes(recorded(), vocabulary or tiny_vocabulary(), options, folder, examples=once)


def task_in(folder, stage="bc", **loop) -> TrafficTask:
    head = "gmm" if stage == "gmm" else "tokens"
    model = small_model(vocabulary=tiny_vocabulary(), dropout=0.0, past_dropout=0.0, head=head)
    folder.mkdir(exist_ok=True)
    scenes = tokenised(folder / "tokens")
    config = LoopConfig(epochs=2, batch=3, warmup=1, device="cpu", **loop)
    return TrafficTask(config, make_objective(stage, StageOptions()), model.network, OPTIONS, scenes, scenes, folder)


def equal(one: object, other: object) -> bool:
    names = [field.name for field in dataclasses.fields(one) if field.name not in ("table", "first", "lanes")]
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize("entries", [[0, 1, 2], [2, 1], [1], [1, 1]])
def test_a_batch_that_is_gathered_is_the_one_that_is_joined(tmp_path, entries):
    scenes = [tokenised(tmp_path)[k] for k in range(3)]
    found = ResidentScenes(scenes, OPTIONS.lanes, CPU).batch(entries)
    wanted = joined([scenes[k] for k in entries], OPTIONS.lanes, CPU)
    assert found.scenes == wanted.scenes
    assert found.maps.lanes == wanted.maps.lanes
    for one, other in zip(found[:3], wanted[:3], strict=True):
        assert equal(one, other)
    # Cells are shared with all scenes; what they list is the same.
    world = torch.arange(len(entries))[:, None].expand(-1, found.agents.pose.shape[1])
    place = found.agents.pose[:, :, 1, :2]
    listed = [maps.listed(maps.cells(place, world), world) for maps in (found.maps, wanted.maps)]
    assert torch.equal(*listed)
    assert (listed[0] >= 0).any()


def test_batches_come_in_order_wherever_they_lie(tmp_path):
    scenes, groups = tokenised(tmp_path), [[2], [0, 1], [1]]
    feeds = [SceneFeed(scenes, OPTIONS.lanes, CPU, resident) for resident in (None, True)]
    both = [list(feed.batches(groups)) for feed in feeds]
    for (entries, one), (again, other), wanted in zip(*both, groups, strict=True):
        assert entries == again == wanted
        assert equal(one.agents, other.agents)
    assert feeds[0]._resident is None, "on the CPU nothing has to be put anywhere"


@pytest.mark.parametrize("layers", [1, 3])
def test_pieces_that_nobody_sees_are_left_out_and_change_nothing(tmp_path, layers):
    network = small_model(vocabulary=tiny_vocabulary(), map_layers=layers, lanes=2, edges=1).network
    options = dataclasses.replace(OPTIONS, lanes=3, edges=2)
    scenes = tokenised(tmp_path, options=options)
    maps, agents, _, _ = joined([scenes[0], scenes[1]], options.lanes, CPU)
    with torch.no_grad():
        every, some = network.encode_map(maps), network.encode_map(maps, agents=agents)
        (wanted, _), (found, _) = network(every, agents), network(some, agents)
    assert 0 < len(some.keys[0]) < 0.9 * len(every.keys[0]) == 0.9 * len(maps.pose)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


# ---- workers


class Here:
    """A stream whose only worker is this process, with a copy of what it would be sent."""

    def __init__(self, setup, workers):
        self._hand = Hand(**setup.kwargs)
        self._jobs, self.closed = [], False

    def give(self, job):
        self._jobs.insert(0, job)

    @property
    def unfinished(self):
        return len(self._jobs)

    def results(self):
        job = self._jobs.pop()
        yield hands.JobResult(job, self._hand(job), "", 1)

    def close(self):
        self.closed = True


def test_shares():
    assert split([5, 6, 7], [1, 1, 1], 2) == [(5, 7), (6,)]
    assert split([5], [3], 2) == [(5,)]
    assert split([5, 6, 7, 8], [2, 9, 3, 4], 2) == [(6,), (5, 7, 8)]
    assert split([5, 6, 7], [0, 0, 0], 2) == [(5, 7), (6,)], "nobody is left without a share"


@pytest.mark.parametrize("stage", ["bc", "gmm"])
def test_a_batch_that_is_shared_has_the_gradient_of_the_whole(tmp_path, monkeypatch, stage):
    monkeypatch.setattr(hands, "open_stream", lambda setup, workers: Here(setup, workers))
    task = task_in(tmp_path / "a", stage)
    network = task.network
    whole = task.differentiate(task.taught([0, 1, 2], (0, 0, 0)))
    wanted = [None if value.grad is None else value.grad.clone() for value in network.parameters()]
    assert any(value is None for value in wanted) == (stage == "gmm"), "a mixture needs no scores of tokens"
    network.zero_grad(set_to_none=True)
    with Hands(task, 2):
        shared = task.differentiate(Asked([0, 1, 2], (0, 0, 0)))
        judged = task.evaluate(0)
    assert float(shared.total) == pytest.approx(float(whole.total), rel=1e-5)
    for value, gradient in zip(network.parameters(), wanted, strict=True):
        assert (value.grad is None) == (gradient is None)
        if gradient is not None:
            torch.testing.assert_close(value.grad, gradient, atol=1e-5, rtol=1e-4)
    assert judged["val"] == pytest.approx(task.evaluate(0)["val"], rel=1e-6)


class JudgingHere(Here):
    def __init__(self, setup, workers):
        self._hand, self._jobs, self.closed = setup.build(), [], False


def test_roll_outs_are_judged_the_same_by_other_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(rewards, "open_stream", lambda setup, workers: JudgingHere(setup, workers))
    task = task_in(tmp_path / "a", "mpo", workers=2)
    alone = task.taught([0, 2], (0, 0, 0))[1]
    with helped(task):
        assert isinstance(task.objective._judge, rewards.Judges)
        shared = task.taught([0, 2], (0, 0, 0))[1]
    assert not isinstance(task.objective._judge, rewards.Judges)
    with pytest.raises(RunError), helped(task):
        raise RunError("the loss became nan")
    assert not isinstance(task.objective._judge, rewards.Judges)
    for name in ("reward", "advantage"):
        assert torch.equal(alone.extra[name], shared.extra[name])


@pytest.mark.slow
def test_two_workers_learn_the_same_again(tmp_path):
    (one, rows), (same, again) = (
        train_stage(task_in(tmp_path / name, workers=2), {}, part="bc") for name in ("a", "b")
    )
    for name, value in one.network.state_dict().items():
        assert torch.equal(value, same.network.state_dict()[name])
    _, alone = train_stage(task_in(tmp_path / "c"), {}, part="bc")
    # Not the weights: those without a gradient drift with its rounding errors, as Adam makes steps of one size.
    for row, repeated, single in zip(rows, again, alone, strict=True):
        assert row["loss"] == repeated["loss"] == pytest.approx(single["loss"], rel=1e-3)
        assert row["val"] == repeated["val"] == pytest.approx(single["val"], rel=1e-3)


# ---- another machine


def test_tables_are_left_out_and_made_again(tmp_path):
    scenes = tokenised(tmp_path / "tokens")
    pack(scenes, tmp_path / "p.tar.xz")
    again = UnpackedScenes(tmp_path / "p.tar.xz", scenes.vocabulary, OPTIONS, tmp_path / "there", workers=0)
    assert (len(again), again.digest()) == (3, scenes.digest())
    for entry in range(3):
        for item in dataclasses.fields(scenes[entry]):
            found, wanted = getattr(again[entry], item.name), getattr(scenes[entry], item.name)
            assert found.shape == wanted.shape
            if item.name == "table":
                # Poses are kept in single precision: a tie is decided either way, and a regular road has many.
                assert np.array_equal(found < 0, wanted < 0)
                assert np.mean(found == wanted) > 0.9
            else:
                assert np.array_equal(found, wanted), item.name
    with pytest.raises(RunError, match="no recordings"):
        again.scenario(0)
    whole = (tmp_path / "p.tar.xz").read_bytes()
    (tmp_path / "q.tar.xz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="no packed scenes"):
        UnpackedScenes(tmp_path / "q.tar.xz", scenes.vocabulary, OPTIONS, tmp_path / "there", workers=0)


def test_unpacked_scenes_of_those_who_are_there(tmp_path):
    late = straight_road(extra=(Agent("late", -60.0, 3.5, 0.0, 8.0, first=40),))
    once, vocabulary = ExampleOptions(phases=1), tiny_vocabulary()
    scenes = TokenisedScenes(LoadedScenes([late]), vocabulary, OPTIONS, tmp_path / "tokens", examples=once)
    pack(scenes, tmp_path / "p.tar.xz")
    again = UnpackedScenes(tmp_path / "p.tar.xz", vocabulary, OPTIONS, tmp_path / "there", workers=0)
    assert again[0].agents.tolist() == [0, 1, 2]
    assert again.of_those_there()[0].agents.tolist() == [0, 1]
    assert again[0].agents.tolist() == [0, 1, 2]


def test_the_script_for_a_gpu_runs_small_on_a_cpu(tmp_path, monkeypatch):
    monkeypatch.setitem(SIZES, "nano", dataclasses.replace(SMALL, dropout=0.1))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    file = Path(__file__).parents[3] / "scripts" / "train_traffic_on_gpu.py"
    spec = importlib.util.spec_from_file_location("train_traffic_on_gpu", file)
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, script)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "open_scenes", lambda *_: recorded())
    script.packed(script.Pack("here", tmp_path / "p.tar.xz", mirror=False, phases=1))
    config = script.Train(
        *[tmp_path / "p.tar.xz"] * 2, tmp_path / "out", "nano", cloning=1e-6, tuning=1e-6, updates=1, workers=0
    )
    script.trained(config)
    found = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (found["scenes"], found["held_out"]) == (3, 3)
    assert {*found["rates"]} == {"nano bc", "nano catk"}
    assert all(rate["scenes_per_s"] > 0 and 0 <= rate["waiting"] < 1 for rate in found["rates"].values())
    assert len(found["bc"]) == len(found["catk"]) == 1
    model = SmartModel.load(tmp_path / "out" / "catk.safetensors")
    assert torch.equal(model.network.motions, torch.as_tensor(shipped().motions.copy()))
    scene = tokenise_scene(traffic(), model.vocabulary, model.options)
    assert model.unroll(scene, 1, torch.Generator().manual_seed(0))[0].isfinite().all()


def test_perf_measures_both_sizes_and_stages(monkeypatch):
    for name in ("nano", "tiny"):
        monkeypatch.setitem(SIZES, name, SMALL)
    monkeypatch.setattr(traffic_training.os, "cpu_count", lambda: 1)
    found = traffic_training.measure_traffic_training(list(recorded()), PerfConfig(traffic_updates=1))
    keys = [
        f"traffic_{name}_{key}"
        for name in ("nano", "nano_catk", "tiny", "tiny_catk")
        for key in ("scenes_per_s", "waiting")
    ]
    assert [*found] == keys
    assert all(value >= 0 for value in found.values())
