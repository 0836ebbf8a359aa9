"""`train_traffic`: stages, recipes, vocabularies, resumption."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from harness import train_traffic
from harness.errors import ConfigError, RunError
from harness.traffic.model import SmartModel
from harness.traffic.tokens.build import VocabularyConfig
from harness.traffic.tokens.vocabulary import Vocabulary
from harness.traffic.training.config import LoopConfig
from harness.traffic.training.reinforcement import ReinforcementOptions
from harness.traffic.training.stages import StageOptions
from tests.unit.traffic.scenes import OPTIONS, tiny_vocabulary
from tests.unit.traffic.test_training import two_scenes


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.setattr(train_traffic, "sources", lambda config, console: (two_scenes(), two_scenes()))
    tiny_vocabulary().save(tmp_path / "v.safetensors")
    return {
        "vocabulary": tmp_path / "v.safetensors",
        "cache": tmp_path / "tokens",
        "mirror": False,
        "scene": OPTIONS,
        "loop": LoopConfig(epochs=1, batch=2, device="cpu"),
        "options": StageOptions(rl=ReinforcementOptions(rollouts=2)),
    }


def console() -> Console:
    return Console(file=io.StringIO(), width=160)


def test_cloning_then_recipe(tmp_path, base):
    shown = console()
    folder = train_traffic.run(train_traffic.TrainTrafficConfig(out=tmp_path / "bc", **base), shown)
    assert "bc: 2 scenes" in shown.file.getvalue()
    weights = folder / "smart.safetensors"
    assert SmartModel.load(weights).info["stages"] == ["bc"]
    assert any((folder / "tensorboard").iterdir())
    assert (folder / "curve.png").stat().st_size > 1000
    config = train_traffic.TrainTrafficConfig(stage="sft-rft-sft", init=weights, out=tmp_path / "r1", **base)
    folder = train_traffic.run(config, console())
    assert SmartModel.load(folder / "smart.safetensors").info["stages"] == ["bc", "catk", "mpo", "catk"]
    rows = json.loads((folder / "history.json").read_text())
    assert list(rows) == ["1_catk", "2_mpo", "3_catk"]
    # Resuming a finished recipe repeats nothing.
    stamp = (folder / "2_mpo" / "smart.safetensors").stat().st_mtime_ns
    resumed = train_traffic.TrainTrafficConfig(stage="sft-rft-sft", init=weights, resume=folder, **base)
    train_traffic.run(resumed, console())
    assert (folder / "2_mpo" / "smart.safetensors").stat().st_mtime_ns == stamp


def test_fine_tuning_needs_weights(tmp_path, base):
    with pytest.raises(ConfigError, match="--init"):
        train_traffic.run(train_traffic.TrainTrafficConfig(stage="catk", out=tmp_path / "x", **base), console())


def test_a_run_is_not_overwritten(tmp_path, base):
    config = train_traffic.TrainTrafficConfig(out=tmp_path / "bc", **base)
    train_traffic.run(config, console())
    with pytest.raises(RunError, match="not empty"):
        train_traffic.run(config, console())


def test_vocabulary_command(tmp_path):
    config = train_traffic.VocabularyCommand(
        data="none", out=tmp_path / "v.safetensors", config=VocabularyConfig(tokens=32, pieces=16, analytic=600)
    )
    path = train_traffic.build(config, console())
    assert Vocabulary.load(path).size == 32
