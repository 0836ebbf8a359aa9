"""`train_traffic`: stages, recipes, vocabularies, resumption."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from harness import train_traffic
from harness.errors import ConfigError, RunError
from harness.traffic.comparison import compare
from harness.traffic.config import EvaluateTrafficConfig
from harness.traffic.model import SmartModel
from harness.traffic.model.simulator import SmartSimulator
from harness.traffic.tokens.config import VocabularyConfig
from harness.traffic.tokens.vocabulary import Vocabulary
from harness.traffic.training.config import LoopConfig, ReinforcementOptions, StageOptions
from harness.traffic.training.options import TrainTrafficConfig, VocabularyCommand
from harness.traffic.training.run import build, sources, train
from tests.sessions import quiet
from tests.unit.traffic.scenes import OPTIONS, tiny_vocabulary
from tests.unit.traffic.test_training import Scenes, two_scenes


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda *names, **options: two_scenes())
    tiny_vocabulary().save(tmp_path / "v.safetensors")
    return {
        "vocabulary": tmp_path / "v.safetensors",
        "cache": tmp_path / "tokens",
        "mirror": False,
        "scene": OPTIONS,
        "loop": LoopConfig(epochs=1, batch=2, device="cpu"),
        "options": StageOptions(rl=ReinforcementOptions(rollouts=2)),
    }


def test_cloning_then_recipe(tmp_path, base):
    shown = quiet(train_traffic.train)
    folder = train(TrainTrafficConfig(out=tmp_path / "bc", **base), shown)
    assert "bc: 2 scenes" in shown.console.file.getvalue()
    weights = folder / "smart.safetensors"
    assert SmartModel.load(weights).info["stages"] == ["bc"]
    assert any((folder / "tensorboard").iterdir())
    assert (folder / "curve.png").stat().st_size > 1000
    config = TrainTrafficConfig(stage="sft-rft-sft", init=weights, out=tmp_path / "r1", **base)
    folder = train(config, quiet(train_traffic.train))
    assert SmartModel.load(folder / "smart.safetensors").info["stages"] == ["bc", "catk", "mpo", "catk"]
    rows = json.loads((folder / "history.json").read_text())
    assert list(rows) == ["1_catk", "2_mpo", "3_catk"]
    # Resuming a finished recipe repeats nothing.
    stamp = (folder / "2_mpo" / "smart.safetensors").stat().st_mtime_ns
    resumed = TrainTrafficConfig(stage="sft-rft-sft", init=weights, resume=folder, **base)
    train(resumed, quiet(train_traffic.train))
    assert (folder / "2_mpo" / "smart.safetensors").stat().st_mtime_ns == stamp


def test_an_ego_policy_is_cloned_fine_tuned_and_evaluated(tmp_path, base):
    """CAT-K §10.3: a mixture head, from its first epoch to its realism, by the commands alone."""
    cloned = train(TrainTrafficConfig(stage="gmm", out=tmp_path / "gmm", **base), quiet(train_traffic.train))
    start = cloned / "smart.safetensors"
    tuned = TrainTrafficConfig(stage="gmm_catk", init=start, out=tmp_path / "catk", **base)
    weights = train(tuned, quiet(train_traffic.train)) / "smart.safetensors"
    assert SmartModel.load(weights).info["stages"] == ["gmm", "gmm_catk"]
    name = f"smart:{weights}?temperature=0"
    result = compare(EvaluateTrafficConfig(traffic=(name,), rollouts=1), two_scenes().scenes[1:])
    assert list(result["scenes"]["scores"]) == [name]
    with pytest.raises(ConfigError, match="gmm_catk"):
        train(replace(tuned, stage="catk", out=tmp_path / "x"), quiet(train_traffic.train))
    with pytest.raises(ConfigError, match="warm_k chooses among tokens"):
        SmartSimulator(weights, method="warm_k")


def test_fine_tuning_needs_weights(tmp_path, base):
    with pytest.raises(ConfigError, match="--init"):
        train(TrainTrafficConfig(stage="catk", out=tmp_path / "x", **base), quiet(train_traffic.train))


def test_scenes_without_road_edges_are_left_out_where_they_are_judged(tmp_path, base, monkeypatch):
    one, other = two_scenes().scenes
    bare = replace(one, id="bare", features=tuple(item for item in one.features if not item.is_road_edge))
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda *names, **options: Scenes(bare, other))
    monkeypatch.setattr("harness.traffic.training.run.run_stages", lambda plan, *rest: (seen.append(rest), 1 / 0))
    seen: list = []
    config = TrainTrafficConfig(stage="mpo", init=tmp_path / "w", out=tmp_path / "x", **base)
    shown = quiet(train_traffic.train)
    with pytest.raises(ZeroDivisionError):
        train(config, shown)
    assert [source.ids for source in seen[0][:2]] == [("b",), ("b",)]
    assert "left out 2 of 4 scenes: no road edges 2." in shown.console.file.getvalue()
    assert json.loads((tmp_path / "x" / "left_out.json").read_text()) == {
        "bare": "no road edges: stage mpo judges by them"
    }
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda *names, **options: Scenes(bare))
    with pytest.raises(ConfigError, match="stage mpo judges by road edges, and none of the 1 scenes has any"):
        train(replace(config, out=tmp_path / "y"), shown)


def test_a_run_is_not_overwritten(tmp_path, base):
    config = TrainTrafficConfig(out=tmp_path / "bc", **base)
    train(config, quiet(train_traffic.train))
    with pytest.raises(RunError, match="not empty"):
        train(config, quiet(train_traffic.train))


def test_vocabulary_command(tmp_path):
    config = VocabularyCommand(
        data="none", out=tmp_path / "v.safetensors", config=VocabularyConfig(tokens=32, pieces=16, analytic=600)
    )
    path = build(config, quiet(train_traffic.vocabulary))
    assert Vocabulary.load(path).size == 32


def test_training_is_what_happens_without_a_name(tmp_path, base, monkeypatch, capsys):
    """`train_traffic --stage …` trains, `train_traffic vocabulary …` builds tokens, and other names are unknown."""
    told = []
    monkeypatch.setattr("harness.traffic.training.run.train", lambda config, session: told.append(config.stage))
    monkeypatch.setattr("harness.traffic.training.run.build", lambda config, session: told.append(config.scenes))
    train_traffic.main([])
    train_traffic.main(["--stage", "catk"])
    train_traffic.main(["vocabulary", "--split", "0:60", "--measure-split", "val"])
    assert told == ["bc", "catk", "0:60"]
    with pytest.raises(SystemExit):
        train_traffic.main(["vocabulry"])
    assert "vocabulary" in capsys.readouterr().err


def test_old_spellings_of_scenes():
    config = train_traffic.train.parse(["--train", "0:280", "--val", "train", "--test", ""])
    assert (config.train_split, config.train_scenes) == ("all", "0:280")
    assert (config.val_split, config.test_split) == ("train", "none")


def test_held_out_scenes_are_left_out_of_more_folders(base, monkeypatch):
    pools = []
    asked = []
    monkeypatch.setattr(
        "harness.traffic.training.run.open_scenes", lambda *names, **_: asked.append(names) or two_scenes()
    )
    monkeypatch.setattr("harness.traffic.training.run.open_part", lambda name: two_scenes())
    opened = {"train": Scenes(), "val": Scenes(), "test": two_scenes()}
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda data, split, scenes, **_: opened[split])
    shown = quiet(train_traffic.train)
    for test_split in ("test", "none"):
        pools.append(sources(TrainTrafficConfig(extra=("more@train",), test_split=test_split, **base), shown)[0])
    options = {"extra": ("more",), "held_out": ("other@test",), "test_split": "none"}
    pools.append(sources(TrainTrafficConfig(**options, **base), shown)[0])
    assert asked == [("more", "train"), ("more", "train"), ("more", None)]
    assert [len(pool) for pool in pools] == [0, 2, 0]
    assert "0 scenes to train on; 2 left out:" in shown.console.file.getvalue()
