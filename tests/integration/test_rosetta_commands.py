"""Commands that take traffic play `rosetta`: beyond the log, in benchmarks, in its own training and evaluations."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import harness.envs  # noqa: F401
from harness import benchmark, evaluate_longterm, evaluate_traffic, simulate, train_ego, train_traffic
from harness.files import read_json
from scenarios.export import write_folder
from tests.scenes import Agent, straight_road
from tests.unit.traffic.scenes import small_rosetta, tiny_vocabulary


def run(command, line: str) -> None:
    """Run a command as it is typed."""
    command.main(line.split())


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "rosetta.safetensors"
    small_rosetta(vocabulary=tiny_vocabulary()).save(path)
    return path


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """Two scenes of 9.1 s, in which somebody may attack."""
    folder = tmp_path_factory.mktemp("scenes")
    aside = Agent("aside", -15.0, 3.5, 0.0, 10.0)
    write_folder(
        [straight_road(extra=[aside], interest=("ego", "opponent"), scene_id=name) for name in ("first", "second")],
        folder,
    )
    return folder


def test_simulate_for_half_a_minute(weights, scenes, tmp_path):
    # An untrained model likes but one place: it is to draw from all of them.
    name = f"rosetta:{weights}?grid_k=0&reserve=9"
    out = tmp_path / "out"
    run(simulate, f"--data {scenes} --traffic {name} --seconds 31 --rollouts 1 --gifs 0 --out {out} --scenes 1")
    (summary,) = out.glob("*/summary.json")
    assert len(read_json(summary)["rollouts"]) == 1
    with np.load(summary.parent / "rollouts.npz", allow_pickle=False) as found:
        assert found["states"].shape[2] == 310
        assert found["states"].shape[1] > 3, "nobody has entered"


def test_benchmark_beyond_the_log(weights, scenes, tmp_path):
    table = tmp_path / "table.json"
    run(
        benchmark,
        f"--data {scenes} --split all --scenes 1 --adversary none --sut idm --traffic "
        f"rosetta:{weights}?grid_k=0&reserve=9 --horizon 120 --executor serial --out {tmp_path / 'run'} "
        f"--json {table}",
    )
    (cell,) = json.loads(table.read_text())
    assert (cell["n"], cell["failures"]) == (1, 0)
    assert (tmp_path / "run" / "summary.json").is_file()


def test_the_environment_of_long_episodes(weights, scenes):
    env = gymnasium.make(
        "Gauntlet/LongTerm-v0", data=str(scenes), traffic=f"rosetta:{weights}?grid_k=0&reserve=9", horizon=150
    )
    try:
        env.reset(seed=1)
        steps, ended = 0, False
        while not ended:
            *_, terminated, truncated, _ = env.step(np.zeros(2, dtype=np.float32))
            steps, ended = steps + 1, terminated or truncated
        record = env.unwrapped.core.recording()
    finally:
        env.close()
    assert steps == 150
    assert record.newcomers


@pytest.mark.slow
def test_an_ego_is_trained_in_it_beyond_the_log(weights, tmp_path):
    aside = Agent("aside", -15.0, 3.5, 0.0, 10.0)
    for split, names in (("train", "ab"), ("test", "c")):
        write_folder([straight_road(extra=[aside], scene_id=name) for name in names], tmp_path / "data" / split)
    folder = tmp_path / "run"
    run(
        train_ego,
        f"quick --data {tmp_path / 'data'} --traffic rosetta:{weights}?grid_k=0&reserve=9 --horizon 120 --out {folder} "
        "--adversary none --eval-adversary none --curriculum constant --steps 400 --eval-every 400 "
        "--checkpoint-every 400 --td3.warmup 150 --td3.batch-size 64 --td3.precision float32 --train-scenes None "
        "--test-scenes None --no-pictures --no-tensorboard",
    )
    evaluated, played = (
        [json.loads(line) for line in (folder / name).read_text().splitlines()]
        for name in ("evaluation.jsonl", "episodes.jsonl")
    )
    assert {row["scene"] for row in evaluated} == {"sd_c"}
    assert not [row["error"] for row in evaluated if row["error"]]
    assert {record["scene"] for record in played} <= {"sd_a", "sd_b"}
    assert 0 < max(record["steps"] for record in played) <= 120
    settings = read_json(folder / "run.json")["config"]
    assert (settings["train_horizon"], settings["eval_horizon"]) == (120, 120)


def test_from_training_to_realism(scenes, tmp_path):
    vocabulary = tmp_path / "v.safetensors"
    tiny_vocabulary().save(vocabulary)
    folder = tmp_path / "run"
    run(
        train_traffic,
        f"--stage rosetta --data {scenes} --train-split all --val-split all --test-split none "
        f"--vocabulary {vocabulary} --out {folder} --no-mirror --loop.epochs 1 --loop.batch 1 --loop.device "
        "cpu --examples.phases 1 --rosetta.layers 1 --rosetta.width 16 --rosetta.heads 2 "
        "--options.decisions 2 --options.observer middle",
    )
    name, table = f"rosetta:{folder / 'rosetta.safetensors'}?top_k=48", tmp_path / "short.json"
    run(evaluate_traffic, f"--data {scenes} --traffic {name} --rollouts 2 --json {table}")
    assert 0 < json.loads(table.read_text())["models"][name]["meta"] < 1


def test_who_stands_watches_it_for_long(weights, scenes, tmp_path):
    name, table = f"rosetta:{weights}?grid_k=0&reserve=9", tmp_path / "long.json"
    run(evaluate_longterm, f"--data {scenes} --scenes 1 --traffic log {name} --observer middle --json {table}")
    assert f'"{name}"' in table.read_text()
