"""Checkpoints that are cut, damaged, or name what is none: one line that says what to do."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

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
        {"seconds": 10**400},
        {"seconds": float("nan")},
        {"segments": []},
        {"segments": [[2, 4], [0, 2]]},
        {"segments": [[1, 5]]},
    ],
)
def test_a_manifest_that_says_something_else_is_one_line(run, change):
    file = run / "checkpoint" / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    file.with_name("replay-1-5.npz").write_bytes(file.with_name("replay-0-4.npz").read_bytes())
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


NAN = "NaN or infinite"


@pytest.mark.parametrize(
    ("name", "says"),
    [("replay-0-4.npz", "packed too well"), ("replay-0-4.npz", NAN), ("ego-3.npz", NAN), ("model-3.safetensors", NAN)],
)
def test_what_is_packed_or_no_number_is_refused(run, name, says):
    file = run / "checkpoint" / name
    if file.suffix == ".safetensors":
        save_file({key: torch.full_like(value, torch.nan) for key, value in load_file(file).items()}, file)
    else:
        with np.load(file) as arrays:
            found = dict(arrays)
        if says == NAN:
            np.savez(
                file, **{key: value * np.nan if value.dtype.kind == "f" else value for key, value in found.items()}
            )
        else:
            np.savez_compressed(file, **found, more=np.zeros(2_000_000))
    with pytest.raises(RunError, match=f"cannot be read.*{says}"):
        checkpoint.load(run, samples.learner())
