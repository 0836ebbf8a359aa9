"""Training on the fast engine end to end: files, the chosen policy, and a run that is stopped and goes on exactly."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from adversaries.sage.experts import SHIPPED
from harness import registry
from harness.commands.runs import RunDirectory
from harness.commands.scaffold import Session
from harness.engine.scene import parse_scene
from harness.errors import ConfigError, RunError
from harness.fast.lanes import drivers_of
from harness.fast.packing import pack
from harness.files import write_json
from harness.training import checkpoint, vector_checkpoint, vector_setup
from harness.training.config import PRESETS, PPOConfig, TrainConfig
from harness.training.evaluation import Row
from harness.training.run import train
from harness.training.validation import driving_score
from harness.training.vector_loop import VectorTrainer
from harness.training.vector_setup import build_vector
from scenarios.export import write_folder
from scenarios.scenario import Kind
from tests.integration.test_train_ego import data  # noqa: F401  # A fixture: scenes on disk.
from tests.scenes import Agent, straight_road

EVERY = 8 * 16


@pytest.fixture(scope="module")
def config(data) -> TrainConfig:  # noqa: F811
    best = PRESETS["best"][1]
    return replace(
        best,
        data=str(data),
        adversary="rule",
        eval_adversary="rule",
        curriculum="constant?probability=0.5",
        environments=8,
        threads=1,
        steps=6 * EVERY,
        eval_every=2 * EVERY,
        checkpoint_every=2 * EVERY,
        val_split="train",
        val_scenes="#0,#2",
        pictures=False,
        tensorboard=False,
        ppo=PPOConfig(steps=16, minibatch=64, hidden=16),
    )


def records(folder, name):
    rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "steps_per_second"} for row in rows]


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with (folder.parent / "news.txt").open("w") as news:
        assert train(replace(config, out=folder), Session("train_ego", Console(quiet=True), Console(file=news))) == 0
    return folder


def test_whoever_waits_is_told_what_for(config, whole, tmp_path):
    (line,) = [line for line in (whole.parent / "news.txt").read_text().splitlines() if "before it learns" in line]
    assert line.startswith("before it learns: opens and packs the scenes, ")
    assert line.endswith("plans the first attacks")
    seen = []

    def track(items, description):
        seen.append((description, len(items)))
        return items

    with RunDirectory.create(tmp_path / "run", "train_ego", asdict(replace(config, out=tmp_path / "run"))) as run:
        parts = build_vector(config, run, track)
        assert seen == [("packing scenes", 2), ("packing scenes", 2), ("planning first attacks", 8)]
        parts.learner.round()
        assert len(seen) == 3, "later attacks are planned in silence"
        parts.close()


def test_a_run_leaves_what_it_promises_and_reports_the_chosen_policy(config, whole):
    scenes = json.loads((whole / "scenes.json").read_text())
    assert sorted(scenes["train"]) == ["b", "d"]
    assert sorted(scenes["val"]) == ["a", "c"]
    progress = checkpoint.read_progress(whole / checkpoint.FOLDER)
    assert (progress.step, progress.evaluated) == (config.steps, config.steps)
    assert checkpoint.complete(whole, config.steps)
    validated = [Row(**row) for row in records(whole, "validation")]
    steps = sorted({row.step for row in validated})
    assert steps == [256, 512, 768]
    scores = {step: driving_score([row for row in validated if row.step == step]) for step in steps}
    assert progress.score == max(scores.values())
    assert progress.chosen == min(step for step in steps if scores[step] == progress.score)
    tested = [Row(**row) for row in records(whole, "evaluation")]
    assert {row.step for row in tested} == {progress.chosen}
    assert sorted((row.scene, row.stage) for row in tested) == [
        *(("e", "adversarial"), ("e", "normal"), ("f", "adversarial"), ("f", "normal"))
    ]
    assert not [row.error for row in tested if row.error]
    assert (whole / "results.md").exists()
    policy = registry.make("policy", "ppo", path=whole / "policy.safetensors")
    assert policy.observation == "route"
    metrics = records(whole, "metrics")
    assert len(metrics) == 6
    assert any(row.get("attacked", 0) > 0 for row in metrics)


def test_a_run_that_is_stopped_goes_on_exactly(config, whole, tmp_path):
    config = replace(config, out=tmp_path / "run")
    with RunDirectory.create(config.out, "train_ego", asdict(config)) as run:
        parts = build_vector(config, run)
        trainer = VectorTrainer(config, run, parts)

        def stop_in_the_third_round(record):
            trainer.stop_requested = record["step"] == 3 * EVERY

        trainer.watcher.metrics = stop_in_the_third_round
        trainer.run()
        assert trainer.progress.step == 3 * EVERY
        assert not trainer.finished
        trainer.close()
        again = VectorTrainer(config, run, build_vector(config, run))
        again.resume()
        again.run()
        again.close()
        file = config.out / checkpoint.FOLDER / checkpoint.env_file(config.steps)
        file.write_bytes(file.read_bytes()[:1000])
        with pytest.raises(RunError, match="Start anew"):
            vector_checkpoint.load(config.out, parts.learner, parts.env, parts.episodes)
    for name in ("metrics", "validation", "evaluation"):
        assert records(config.out, name) == records(whole, name), name
    mine, theirs = (load_file(folder / "policy.safetensors") for folder in (config.out, whole))
    assert mine.keys() == theirs.keys()
    assert all(np.array_equal(tensor, theirs[name]) for name, tensor in mine.items())


def driven(config, stop):
    """The trainer of a run that is made or gone on with, and stopped after so many steps, before its end."""
    new = not config.out.exists()
    made = RunDirectory.create(config.out, "train_ego", asdict(config)) if new else None
    with made or RunDirectory.reopen(config.out, "train_ego") as run:
        trainer = VectorTrainer(config, run, build_vector(config, run))
        trainer.watcher.metrics = lambda record: setattr(trainer, "stop_requested", record["step"] == stop)
        trainer.resume()
        trainer.run()
        trainer.close()
    assert trainer.progress.step == stop
    return trainer


def test_refused_attacks_are_in_the_records(config, tmp_path, monkeypatch):
    monkeypatch.setattr(vector_setup, "precondition_of", lambda _: lambda scene, *_: scene.id == "b")
    config = replace(config, attacks="avoidable", val_split=None, out=tmp_path / "run")
    told = []
    for stop in (EVERY, 3 * EVERY):
        trainer = driven(config, stop)
        told.append(sum(row["attacks_refused"] for row in records(config.out, "metrics")))
        assert told[-1] == trainer.progress.refused_attacks == trainer.parts.episodes.refused
    assert 0 < told[0] <= told[1]


def test_an_adversary_that_learns_beside_the_ego_goes_on_exactly(config, tmp_path):
    config = replace(config, adversary="sage", co_train=EVERY, co_train_updates=1, train_horizon=30, val_split=None)
    for name, stops in (("whole", (4 * EVERY,)), ("parts", (2 * EVERY, 4 * EVERY))):
        for stop in stops:
            driven(replace(config, out=tmp_path / name), stop)
    whole = records(tmp_path / "whole", "metrics")
    assert records(tmp_path / "parts", "metrics") == whole
    assert sum("adversary_drift" in row for row in whole) >= 2
    adapted = [load_file(tmp_path / name / "co_trained" / "adv.safetensors") for name in ("whole", "parts")]
    assert all(np.array_equal(tensor, adapted[1][name]) for name, tensor in adapted[0].items())
    shipped = load_file(SHIPPED / "adv.safetensors")
    assert any(not np.array_equal(tensor, shipped[name]) for name, tensor in adapted[0].items())


def test_the_score_of_a_policy_by_hand():
    def row(stage, completion, **more):
        return Row(0, stage, "s", completion=completion, **{"collision": 0.0, **more})

    rows = [
        row("normal", 1.0),
        row("normal", 0.5, collision=1.0),
        row("adversarial", 0.8),
        row("adversarial", 0.9, off_road=True),
        Row(0, "adversarial", "s", error="no"),
    ]
    assert driving_score(rows) == pytest.approx((0.5 + 0.4) / 2)
    assert driving_score([]) == 0.0
    assert np.isfinite(driving_score(rows[:1]))


def packed_here(source, *, traffic, watch, left_out):
    """Instead of `playable_scenes`: without the physics that settles traffic."""
    scenes = [parse_scene(source[index], static_vehicles=False) for index in range(len(source))]
    return pack(scenes, drivers_of(traffic)), source


def test_others_drive_along_the_lanes_in_training_and_validation(config, tmp_path, monkeypatch):
    monkeypatch.setattr(vector_setup, "playable_scenes", packed_here)
    config = replace(config, traffic="idm-lane", out=tmp_path / "run")
    with RunDirectory.create(config.out, "train_ego", asdict(config)) as run:
        parts = build_vector(config, run)
        for env in (parts.env, parts.validator._env):
            assert env.options.traffic == "idm-lane"
            assert env.lanes is not None
        assert len(set(parts.validator._traffic_seeds)) == 2
        parts.close()


def test_training_scenes_are_mirrored_and_no_others(config, tmp_path, monkeypatch):
    monkeypatch.setattr(vector_setup, "playable_scenes", packed_here)
    config = replace(config, mirror=True, out=tmp_path / "run")
    with RunDirectory.create(config.out, "train_ego", asdict(config)) as run:
        parts = build_vector(config, run)
        played = parts.env.ids
        parts.close()
    used = json.loads((config.out / "scenes.json").read_text())
    assert played == tuple(used["train"])
    half = len(used["train"]) // 2
    assert used["train"][half:] == [f"{name}-mirrored" for name in used["train"][:half]]
    assert not [name for name in (*used["val"], *used["test"]) if name.endswith("-mirrored")]


def test_whoever_is_asked_for_attacks_in_training_validation_and_test(config, tmp_path, monkeypatch):
    monkeypatch.setattr(vector_setup, "playable_scenes", packed_here)
    walker = Agent("walker", 50.0, -6.0, np.pi / 2, 0.0, Kind.PEDESTRIAN, (0.8, 0.8, 1.75))
    write_folder([straight_road(scene_id=name, extra=[walker]) for name in "abc"], tmp_path / "data")
    write_json(tmp_path / "data" / "splits.json", {"train": ["a"], "val": ["b"], "test": ["c"]})
    given = {"opponent": "pedestrian", "adversary": "vulnerable", "eval_adversary": "vulnerable", "fit_only": True}
    chosen = {"val_split": "val", "val_scenes": None, "curriculum": "constant?probability=1"}
    config = replace(config, data=str(tmp_path / "data"), out=tmp_path / "run", **given, **chosen)
    with RunDirectory.create(config.out, "train_ego", asdict(config)) as run:
        parts = build_vector(config, run)
        for source in (parts.episodes.source, parts.validator._source, parts.test):
            assert [scene.kinds[scene.opponent] for scene in source] == [Kind.PEDESTRIAN]
        assert parts.episodes.attacked == config.environments
        parts.close()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"engine": "metadrive"}, "--engine fast"),
        ({"traffic": "idm-path"}, "--traffic"),
        ({"traffic": "idm-lane", "start_steps": 5}, "--start-steps"),
        ({"environments": 0}, "--environments"),
        ({"engine": "metadrive", "algorithm": "td3"}, "--val-split"),
    ],
)
def test_what_the_engine_cannot_do_is_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        replace(PRESETS["best"][1], **options)
