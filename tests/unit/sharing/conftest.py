import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.unit.sharing.local_hub import TOKEN, local_hub


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The client's hub, on this machine."""
    pytest.importorskip("huggingface_hub")
    # The hub's own protocol of large files ends in a service of its own; this server takes them as git does.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with local_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture
def weights():
    """Writes a weights file with one tensor and a header."""

    def write(file, architecture, **header):
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({"w": np.arange(3.0)}, file, {"architecture": architecture, **header})
        return file

    return write


@pytest.fixture
def policy_run(tmp_path, monkeypatch, weights):
    """The run folder of a training, with a policy, tables, and a picture."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "runs" / "ego"
    weights(folder / "policy.safetensors", "gauntlet-actor-1", config=json.dumps({"algorithm": "ppo"}))
    about = {
        "command": ["/x/train_ego.py", "best", "--out", str(folder)],
        "started": "2026-12-01T00:00:00+00:00",
        "versions": {"gauntlet-drive": "0.1.0"},
        "commit": "abc",
    }
    record = {"verb": "train_ego", "config": {"data": "procedural"}, "provenance": about, "resumed": []}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "curve.csv").write_text("step,return\n1,2\n")
    (folder / "curve.png").write_bytes(b"\x89PNG")
    (folder / ".lock").write_text("")
    return folder
