"""The command end to end on the real engine: hand-made scenes on disk, a kill, a resumption, all files."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from stable_baselines3 import TD3

from harness import train_ego, train_matrix
from scenarios.description import to_description
from tests.scenes import LANE_WIDTH, Agent, crossing, straight_road

ROOT = Path(__file__).parents[2]
STEPS = 500
OPTIONS = [
    "--adversary", "rule", "--eval-adversary", "rule", "--curriculum", "constant", "--steps", str(STEPS),
    "--eval-every", "250", "--checkpoint-every", "250", "--td3.warmup", "150", "--td3.batch-size", "64",
    "--td3.precision", "float32", "--train-scenes", "None", "--test-scenes", "None",
]  # fmt: skip
MATRIX_OPTIONS = [
    "--train.eval-adversary", "rule", "--train.steps", "200", "--train.eval-every", "100",
    "--train.checkpoint-every", "200", "--train.td3.warmup", "100", "--train.td3.batch-size", "64",
    "--train.td3.precision", "float32", "--train.train-scenes", "None", "--train.test-scenes", "None",
    "--train.no-pictures", "--train.no-tensorboard",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with four training and two test scenes."""
    folder = tmp_path_factory.mktemp("data")
    aside = Agent("aside", -15.0, LANE_WIDTH, 0.0, 10.0)
    scenes = {
        "train": [
            straight_road(scene_id="a"),
            straight_road(scene_id="b", extra=[aside]),
            crossing(scene_id="c"),
            crossing(scene_id="d", opponent_delay=-2.0),
        ],
        "test": [straight_road(scene_id="e", opponent_gap=10.0), crossing(scene_id="f", opponent_delay=1.0)],
    }
    for split, members in scenes.items():
        (folder / split).mkdir()
        for scene in members:
            with open(folder / split / f"{scene.id}.pkl", "wb") as file:
                pickle.dump(to_description(scene), file)
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "harness.train_ego", *arguments]


def records(path: Path) -> list[dict]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "attack_ms"} for line in lines]


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory) -> Path:
    """A run that nobody disturbed, in this process."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train_ego.main(["quick", "--data", str(data), "--out", str(run), *OPTIONS])
    return run


def test_a_run_leaves_everything_that_it_promises(whole: Path) -> None:
    for name in ("run.json", "scenes.json", "results.md", "results.json", "curve.csv", "policy.zip", "tensorboard"):
        assert (whole / name).exists(), name
    rows = records(whole / "evaluation.jsonl")
    assert not [row["error"] for row in rows if row["error"]]
    assert {row["scene"] for row in rows} == {"e", "f"}
    assert all(row["attacked"] == (row["stage"] == "adversarial") for row in rows)
    episodes = records(whole / "episodes.jsonl")
    assert {record["scene"] for record in episodes} <= {"a", "b", "c", "d"}
    assert any(record["attacked"] for record in episodes)
    assert max(record["steps"] for record in episodes) <= 90
    assert Image.open(whole / "learning_curve.png").size[0] > 500
    for stage in ("normal", "adversarial"):
        assert Image.open(whole / f"playback_{stage}.gif").n_frames > 3
    model = TD3.load(whole / "policy.zip", device="cpu")
    assert model.action_space.shape == (2,)


def test_a_killed_run_resumes_on_the_same_curve(data: Path, whole: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "killed"
    process = subprocess.Popen(
        command("quick", "--data", str(data), "--out", str(run), *OPTIONS),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 600
    try:
        while not (run / "checkpoint" / "manifest.json").exists():
            assert process.poll() is None, "it ended before its first checkpoint"
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    train_ego.main(["--resume", str(run)])
    assert "everything lies in" in capsys.readouterr().out
    for name in ("evaluation.jsonl", "episodes.jsonl"):
        assert records(run / name) == records(whole / name)
    assert len(json.loads((run / "run.json").read_text())["resumed"]) == 1


def children(process: int) -> list[int]:
    """Processes that a process has started, oldest first."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return sorted(int(child) for task in tasks for child in (task / "children").read_text().split())


@pytest.mark.slow
def test_runs_with_workers_are_equal_whoever_is_stopped(data: Path, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "killed"
    options = [*OPTIONS, "--workers", "2"]
    subprocess.run(
        command("quick", "--data", str(data), "--out", str(whole), *options), cwd=ROOT, check=True, capture_output=True
    )
    process = subprocess.Popen(
        command("quick", "--data", str(data), "--out", str(run), *options),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for file in ("episodes.jsonl", "checkpoint/manifest.json"):
        while not (run / file).exists():
            assert process.poll() is None, "it ended too early"
            time.sleep(0.05)
        # First a worker dies, then Ctrl-C comes to all processes.
        if file == "episodes.jsonl":
            os.kill(children(process.pid)[-1], signal.SIGKILL)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 130
    subprocess.run(command("--resume", str(run)), cwd=ROOT, check=True, capture_output=True)
    for name in ("evaluation.jsonl", "episodes.jsonl"):
        assert records(run / name) == records(whole / name)
    assert not [record["error"] for record in records(run / "episodes.jsonl") if record["error"]]
    models = [next((folder / "checkpoint").glob("model-*.safetensors")) for folder in (run, whole)]
    assert models[0].read_bytes() == models[1].read_bytes()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["quick", "--data", "/nowhere"], "no such file or folder"),
        (["quick", "--adversary", "catt"], "cat"),
        (["--resume", "/nowhere"], "not a run folder"),
        (["quick", "--out", "/proc/nowhere"], "run folder"),
    ],
    ids=["data", "name", "resume", "unwritable"],
)
def test_bad_input_is_one_clear_error(arguments: list[str], says: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        train_ego.main(arguments)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "error:" in told
    assert says in " ".join(told.split())
    assert "Traceback" not in told


def test_a_matrix_trains_evaluates_and_repeats_nothing(data, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    out = tmp_path / "matrix"
    train_matrix.main([
        "quick", "--out", str(out), "--workers", "1", "--adversary", "none", "rule", "--ablate",
        "--evaluate-against", "rule", "--train.data", str(data), *MATRIX_OPTIONS,
    ])  # fmt: skip
    tables = json.loads((out / "tables.json").read_text())
    assert [(row["row"], row["stage"]) for row in tables] == [
        ("none", "normal"), ("rule", "normal"), ("none", "adversarial"), ("rule", "adversarial"),
    ]  # fmt: skip
    assert all(row["scenes"] == 2 and 0 <= row["columns"]["completion"]["mean"] <= 1 for row in tables)
    text = (out / "tables.md").read_text()
    made = (out / "none-seed0" / "policy.zip").stat().st_mtime_ns
    train_matrix.main(["--resume", str(out)])
    assert (out / "none-seed0" / "policy.zip").stat().st_mtime_ns == made
    assert (out / "tables.md").read_text() == text
