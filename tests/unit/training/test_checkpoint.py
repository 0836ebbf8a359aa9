"""Checkpoints that are cut, damaged, or name what is none: one line that says what to do."""

import json

import numpy as np
import pytest

from harness.errors import RunError
from harness.training import checkpoint
from tests.fuzz import samples


@pytest.fixture
def run(tmp_path):
    samples.checkpoint(tmp_path)
    return tmp_path


def test_a_checkpoint_comes_back(run):
    learner = samples.learner()
    progress, ego = checkpoint.load(run, learner)
    assert (progress.step, progress.segments, len(learner.memory)) == (3, [[0, 4]], 3)
    assert ego["ego"].shape == (2, 5)
    assert not checkpoint.complete(run, 4)


@pytest.mark.parametrize(
    "change",
    [
        {"step": "../../3"},
        {"step": None},
        {"step": 3.5},
        {"step": 10**400},
        {"segments": [[0, 10**9]]},
        {"segments": [["a", "b"]]},
        {"segments": 5},
        {"curriculum": []},
        {"unknown": 1},
    ],
)
def test_a_manifest_that_says_something_else_is_one_line(run, change):
    file = run / "checkpoint" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(RunError, match=r"checkpoint.* cannot be read") as caught:
        checkpoint.load(run, samples.learner())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["manifest.json", "replay-0-4.npz", "ego-3.npz", "model-3.safetensors"])
@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"[1]", None])
def test_a_damaged_file_is_one_line(run, name, data):
    file = run / "checkpoint" / name
    file.write_bytes(file.read_bytes()[:-20] if data is None else data)
    with pytest.raises(RunError, match="cannot be read"):
        checkpoint.load(run, samples.learner())


def test_rows_that_are_fewer_than_their_name_says_are_refused(run):
    file = run / "checkpoint" / "replay-0-4.npz"
    with np.load(file) as arrays:
        cut = {name: rows[:2] for name, rows in arrays.items()}
    np.savez(file, **cut)
    with pytest.raises(RunError, match="does not hold 4 rows"):
        checkpoint.load(run, samples.learner())
