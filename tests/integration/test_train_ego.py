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

from scenarios.description import to_description
from tests.scenes import LANE_WIDTH, Agent, crossing, straight_road

ROOT = Path(__file__).parents[2]
STEPS = 500
OPTIONS = [
    "--adversary", "rule", "--eval-adversary", "rule", "--curriculum", "constant", "--steps", str(STEPS),
    "--eval-every", "250", "--checkpoint-every", "250", "--td3.warmup", "150", "--td3.batch-size", "64",
    "--td3.precision", "float32", "--train-scenes", "None", "--test-scenes", "None",
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
    """A run that nobody disturbed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    subprocess.run(
        command("quick", "--data", str(data), "--out", str(run), *OPTIONS), cwd=ROOT, check=True, capture_output=True
    )
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


def test_a_killed_run_resumes_on_the_same_curve(data: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    process = subprocess.Popen(
        command("quick", "--data", str(data), "--out", str(run), *OPTIONS),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (run / "checkpoint" / "manifest.json").exists():
        assert process.poll() is None, "it ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(command("--resume", str(run)), cwd=ROOT, check=True, capture_output=True, text=True)
    assert "everything lies in" in done.stdout
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
def test_bad_input_is_one_clear_error(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = subprocess.run(
        command(*arguments), cwd=tmp_path, capture_output=True, text=True, check=False, env=environment()
    )
    assert done.returncode == 2
    assert "error:" in done.stderr
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_matrix_trains_evaluates_and_repeats_nothing(data, tmp_path) -> None:
    shared = [f"--train.{option.removeprefix('--')}" if option.startswith("--") else option for option in OPTIONS]
    for name in ("--train.adversary", "--train.curriculum"):
        place = shared.index(name)
        del shared[place : place + 2]
    command = [
        sys.executable, "-m", "harness.train_matrix", "quick", "--out", str(tmp_path / "matrix"), "--workers", "2",
        "--adversary", "none", "rule", "--ablate", "--evaluate-against", "rule", "--train.data", str(data), *shared,
    ]  # fmt: skip
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert first.returncode == 0, first.stdout + first.stderr
    tables = json.loads((tmp_path / "matrix" / "tables.json").read_text())
    assert [(row["row"], row["stage"]) for row in tables] == [
        ("none", "normal"), ("rule", "normal"), ("none", "adversarial"), ("rule", "adversarial"),
    ]  # fmt: skip
    assert all(row["scenes"] == 2 and 0 <= row["columns"]["completion"]["mean"] <= 1 for row in tables)
    text = (tmp_path / "matrix" / "tables.md").read_text()
    made = (tmp_path / "matrix" / "none-seed0" / "policy.zip").stat().st_mtime_ns
    resumed = [*command[:3], "--resume", str(tmp_path / "matrix")]
    again = subprocess.run(resumed, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stdout + again.stderr
    assert (tmp_path / "matrix" / "none-seed0" / "policy.zip").stat().st_mtime_ns == made
    assert (tmp_path / "matrix" / "tables.md").read_text() == text
