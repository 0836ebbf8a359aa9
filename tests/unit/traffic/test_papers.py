"""The papers' tables of traffic: their rows exist, are trained once, and are compared with the first."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness import traffic_tables
from harness.errors import ConfigError, RunError, UnknownNameError
from harness.files import read_json
from harness.report.paper_tables import gaps_table
from harness.specs import parse
from harness.traffic.evaluation import METRICS
from harness.traffic.infgen.decoding import InfGenOptions
from harness.traffic.papers.config import TrafficTablesConfig
from harness.traffic.papers.rows import TABLES
from harness.traffic.papers.run import run_tables
from harness.traffic.papers.scored import models_of
from harness.traffic.papers.summary import ScoredRow, gaps_of
from harness.traffic.papers.table import PaperRow, PaperStep, PaperTable
from harness.traffic.papers.trained import NodeTrainer, TrainedNode, budgeted, changed, nodes_of
from harness.traffic.rosetta.decoding import RosettaOptions
from harness.traffic.training.config import PUBLISHED, LoopConfig, ReinforcementOptions, StageOptions
from harness.traffic.training.stages import OF_MIXTURES, make_objective
from tests.sessions import quiet
from tests.unit.traffic.scenes import small_model, tiny_vocabulary
from tests.unit.traffic.test_training import two_scenes


@pytest.mark.parametrize("name", TABLES)
def test_every_row_can_be_trained_and_decoded(name: str) -> None:
    table, trainer = TABLES[name], SimpleNamespace(config=TrafficTablesConfig(ego_init=Path("ego")))
    for row in table.rows:
        for step in row.steps:
            plan = NodeTrainer._plan(trainer, TrainedNode(table.head, row.steps, 0, Path("out")), step)
            objective = make_objective(step.stage, plan.options)
            assert objective.name == step.stage
            assert (step.stage in OF_MIXTURES) == (table.head == "gmm")
        spec = parse(f"smart:FILE?{row.decoding}")
        known = {"rosetta": RosettaOptions, "infgen": InfGenOptions}.get(row.steps[-1].stage if row.steps else "")
        if known is not None:
            known(**spec.options)
    labels = [row.label for row in table.rows]
    assert len(set(labels)) == len(labels)
    assert len({(row.steps, row.decoding) for row in table.rows}) == len(labels), "two rows are the same"


def test_published_rows_differ_in_one_number() -> None:
    """SMART-R1, tables 5 and 6: α and β around 0.77 and 0.04, all else as published."""

    def read(table: str) -> list[ReinforcementOptions]:
        steps = [row.steps[-1] for row in TABLES[table].rows[1:]]
        return [changed(StageOptions(), dict(step.changes)).rl for step in steps]

    assert read("alpha") == [replace(PUBLISHED, threshold=value) for value in (0.76, 0.77, 0.78, 0.0)]
    assert read("beta") == [replace(PUBLISHED, beta=value) for value in (0.004, 0.04, 0.4)]
    assert [row.label for row in TABLES["catk"].rows[1:3]] == ["CAT-5", "CAT-32"]


def test_what_tables_share_is_trained_once(tmp_path) -> None:
    config = TrafficTablesConfig(table=("r1", "policies", "alpha"), seed=(0, 1))
    nodes = nodes_of(config, tmp_path)
    assert len({node.folder for node in nodes}) == len(nodes)
    chains = [node.steps for node in nodes if node.seed == 1]
    sft, rft = PaperStep("catk"), PaperStep("mpo")
    assert chains.count((sft,)) == 1
    assert chains.count((sft, rft)) == 1
    # What others start from comes before them.
    assert all(node.before in nodes[:number] for number, node in enumerate(nodes) if len(node.steps) > 1)
    # The base is the same for every seed.
    shown = [model.label for model in models_of(config, "r1", "val", tmp_path)]
    assert shown.count("base") == 1
    assert shown.count("SFT") == 2
    assert shown[-2:] == ["log", "idm-lane"]


def table_of(*rows: list[list[float]]) -> list[ScoredRow]:
    return [
        ScoredRow(f"row {number}", {metric: np.array(values) for metric in METRICS}, 1.0)
        for number, values in enumerate(rows)
    ]


def test_rows_are_compared_with_the_first_one() -> None:
    first, same, better = [[0.5, 0.7, 0.6]], [[0.5, 0.7, 0.6]], [[0.6, 0.81, 0.71], [0.6, 0.79, 0.69]]
    rows = table_of(first, same, better)
    gaps = gaps_of(rows)
    assert [gap.label for gap in gaps] == ["row 1", "row 2"]
    assert gaps[0].differences["meta"].difference.mean == 0.0
    assert gaps[1].differences["meta"].difference.mean == pytest.approx(0.1)
    assert gaps[1].adjusted["meta"] == pytest.approx(2 * gaps[1].differences["meta"].p_value)
    estimate = rows[2].estimate("meta")
    assert (estimate.interval.mean, estimate.scenes) == (pytest.approx(0.7), 3)
    assert estimate.spread == pytest.approx(np.std([2.12 / 3, 2.08 / 3], ddof=1))
    assert gaps_of(rows[:1]) == []
    shown = gaps_table(gaps).markdown()
    assert "| row 2 | +0.1000 [" in shown[-1]


def test_options_that_cannot_work_are_named() -> None:
    with pytest.raises(UnknownNameError, match="table 'r2'"):
        TrafficTablesConfig(table=("r2",))
    with pytest.raises(ConfigError, match="--ego-init"):
        TrafficTablesConfig(table=("ego",))
    with pytest.raises(ConfigError, match="--score-on train"):
        TrafficTablesConfig(score_on=("train",))
    with pytest.raises(ConfigError, match="--seed"):
        TrafficTablesConfig(seed=())
    with pytest.raises(ConfigError, match="--score-on test, and --test-split none"):
        TrafficTablesConfig(score_on=("test",), test_split="none")
    with pytest.raises(ConfigError, match=r"--reinforced.seed: rows are trained with the seeds of --seed"):
        TrafficTablesConfig(reinforced=LoopConfig(seed=3))


@pytest.mark.parametrize("name", ["table", "seed", "score_on", "decoding", "beside"])
def test_nothing_counts_twice(name: str) -> None:
    """The same seed twice would be two seeds that agree to the digit: intervals far too narrow."""
    twice = {"table": ("r1", "r1"), "seed": (1, 1), "score_on": ("val", "val")}.get(name, ("log", "log"))
    with pytest.raises(ConfigError, match=rf"--{name.replace('_', '-')}: expected .*each only once"):
        TrafficTablesConfig(**{name: twice})


def test_a_share_that_is_no_fraction_is_refused() -> None:
    assert PaperStep("catk", share=1 / 3).nth == 3
    with pytest.raises(ConfigError, match=r"step catk: share 0.3 of the scenes is not 1, 1/2, 1/3"):
        PaperStep("catk", share=0.3)


def test_a_share_of_the_scenes_has_as_many_updates() -> None:
    loop = LoopConfig(epochs=5, patience=2, scenes_per_epoch=45)
    assert budgeted(loop, 1) == loop
    tenth = budgeted(loop, 10)
    # Ten times the epochs of a tenth of the scenes; patience is in epochs, too.
    assert (tenth.epochs, tenth.patience, tenth.scenes_per_epoch) == (50, 20, 5)
    assert budgeted(LoopConfig(), 10).scenes_per_epoch == 0, "all scenes"


def test_different_steps_have_different_folders(tmp_path) -> None:
    config = TrafficTablesConfig(table=tuple(TABLES), ego_init=tmp_path / "ego")
    nodes = nodes_of(config, tmp_path)
    assert len({node.folder for node in nodes}) == len(nodes)


def test_only_some_rows_beside_the_first(tmp_path) -> None:
    config = TrafficTablesConfig(table=("r1",), only=("RFT",))
    assert [row.label for row in config.rows("r1")] == ["base", "RFT", "SFT-RFT", "SFT-RFT-SFT"]
    assert len(nodes_of(config, tmp_path)) == 4, "what SFT-RFT starts from is trained, too"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A table of three rows over two scenes."""
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda *names, **options: two_scenes())
    sft = PaperStep("catk")
    rows = (
        PaperRow("base"),
        PaperRow("SFT", (sft,)),
        PaperRow("SFT, half", (PaperStep("catk", share=0.5),), "top_k=2"),
        PaperRow("SFT-SFT", (sft, sft)),
    )
    monkeypatch.setitem(TABLES, "r1", PaperTable("Small", "ours", rows))
    small_model(vocabulary=tiny_vocabulary()).save(tmp_path / "base.safetensors")
    loop = LoopConfig(epochs=1, batch=2, device="cpu")
    return {
        "init": tmp_path / "base.safetensors",
        "beside": ("constant_velocity",),
        "rollouts": 2,
        "mirror": False,
        "loop": loop,
        "reinforced": loop,
        "executor": "serial",
    }


def test_a_table_is_trained_scored_and_gone_on_with(tmp_path, small, monkeypatch) -> None:
    out = tmp_path / "run"
    shown = quiet(traffic_tables.main)
    run_tables(TrafficTablesConfig(out=out, **small), shown)
    text = (out / "tables.md").read_text()
    assert "Small (ours): val, 2 scenes × 2 roll-outs" in text
    for label in ("base", "SFT", "SFT, half", "SFT-SFT", "constant_velocity"):
        assert f"| {label} |" in text.replace("\\_", "_")
    numbers = json.loads((out / "tables.json").read_text())
    assert [row["row"] for row in numbers[0]["differences"]] == ["SFT", "SFT, half", "SFT-SFT", "constant_velocity"]
    # A share of a half learns from every second scene, in twice as many epochs.
    folders = {folder.name: folder for folder in (out / "trained").iterdir()}
    epochs = {
        name: [row["epoch"] for row in read_json(folder / "history.json")["catk"]] for name, folder in folders.items()
    }
    assert epochs["catk--seed0"] == [0]
    assert epochs["catk-share_0.5--seed0"] == [0, 1]
    # Another seed trains and scores what it lacks, and nothing else.
    stamps = {file: file.stat().st_mtime_ns for file in [*out.glob("trained/*/*.safetensors"), *out.glob("scores/*")]}
    run_tables(TrafficTablesConfig(resume=out, seed=(0, 1), **small), quiet(traffic_tables.main))
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in stamps.items())
    assert len(list((out / "trained").iterdir())) == 6
    numbers = json.loads((out / "tables.json").read_text())
    assert {row["row"]: row["seeds"] for row in numbers[0]["rows"]}["SFT-SFT"] == 2
    # A damaged file of scores is named.
    next(out.glob("scores/*")).write_text("{}")
    with pytest.raises(RunError, match="holds no scores"):
        run_tables(TrafficTablesConfig(resume=out, seed=(0, 1), **small), quiet(traffic_tables.main))


def test_a_share_of_the_scenes_is_taken_evenly(tmp_path, small) -> None:
    trainer = NodeTrainer(TrafficTablesConfig(out=tmp_path / "run", **small))
    half, whole = (trainer._scenes(PaperStep("catk", share=share)) for share in (0.5, 1.0))
    assert [source.ids for source in half] == [("a",), ("a", "b")]
    assert [source.ids for source in whole] == [("a", "b"), ("a", "b")]


def test_what_fails_is_told_and_left_out(tmp_path, small, monkeypatch) -> None:
    def break_down(*given):
        raise RunError("the loss is not finite")

    monkeypatch.setattr("harness.traffic.papers.trained.run_stages", break_down)
    shown = quiet(traffic_tables.main)
    run_tables(TrafficTablesConfig(out=tmp_path / "run", **small), shown)
    told = shown.news.file.getvalue()
    assert "catk, seed 0: " in told
    assert "the loss is not finite" in told
    assert "catk > catk, seed 0: what it starts from could not be trained" in told
    numbers = json.loads((tmp_path / "run" / "tables.json").read_text())
    assert [row["row"] for row in numbers[0]["rows"]] == ["base", "constant_velocity"]
