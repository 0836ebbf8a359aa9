"""RosettaSim's tables: likelihoods by hand, what scores say together, training by Zipf's law, and whole runs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness import traffic_tables
from harness.drawing import papers as drawing
from harness.errors import ConfigError, RunError
from harness.files import write_json
from harness.metrics.longterm.scores import rmm_f1
from harness.metrics.zipf import zipf_masses
from harness.report.paper_tables import gaps_table
from harness.traffic.longterm.config import LongtermOptions
from harness.traffic.longterm.evaluation import RATES as COUNTED
from harness.traffic.longterm.evaluation import SCENE_METRICS
from harness.traffic.open.config import DecisionLimits
from harness.traffic.papers import likelihood
from harness.traffic.papers.config import TrafficTablesConfig
from harness.traffic.papers.likelihood import LIKELIHOODS, likelihoods, load_model
from harness.traffic.papers.rosetta_rows import SMALL, SMART, language
from harness.traffic.papers.rows import TABLES
from harness.traffic.papers.run import run_tables
from harness.traffic.papers.scored import SCORES, WHOLE, Model, ScoreJob, TrafficScorer, models_of, score_file
from harness.traffic.papers.summary import ScoredRow, gaps_of, rows_of
from harness.traffic.papers.table import PaperRow, PaperStep, PaperTable
from harness.traffic.papers.trained import TrainedNode
from harness.traffic.rosetta.config import RosettaConfig
from harness.traffic.rosetta.model import around_encoder
from harness.traffic.training import zipf
from harness.traffic.training.config import ExampleOptions, LoopConfig, StageOptions
from harness.traffic.training.dataset import TokenisedScenes
from harness.traffic.training.infgen import INFGEN_WEIGHTS
from harness.traffic.training.loop import WEIGHTS
from harness.traffic.training.sequences import ROSETTA_WEIGHTS, RosettaTask, SequenceCloning, sequence_losses
from harness.traffic.training.stages import make_objective
from tests.scenes import Agent, straight_road
from tests.sessions import quiet
from tests.unit.traffic.scenes import OPTIONS, small_model, small_rosetta, tiny_vocabulary, traffic
from tests.unit.traffic.test_rosetta_model import EXAMPLES, busy, step_of
from tests.unit.traffic.test_training import Scenes, two_scenes

TINY = RosettaConfig(width=16, layers=1, heads=2, pieces=8)


# ---- likelihoods


def tokenised(folder, *scenes) -> TokenisedScenes:
    return TokenisedScenes(Scenes(*scenes), tiny_vocabulary(), OPTIONS, folder, examples=EXAMPLES, workers=1)


def test_likelihoods_are_those_of_the_loss(tmp_path) -> None:
    model = small_rosetta(vocabulary=tiny_vocabulary())
    (found,) = likelihoods(model, tokenised(tmp_path, busy()), DecisionLimits())
    step, objective = step_of(model), SequenceCloning()
    assert found.scene == "busy"
    assert tuple(found.values) == LIKELIHOODS
    assert found.values["all"] == pytest.approx(objective.validate(model.network, step), abs=1e-5)
    with torch.no_grad():
        parts = sequence_losses(model.network, step.maps, objective.prepare(model.network, step))
    for name in ("motion", "type", "grid", "yaw"):
        assert found.values[name] == pytest.approx(float(parts[name].mean()), abs=1e-5), name
    entering = torch.cat([parts[name] for name in ("type", "grid", "yaw")])
    assert found.values["entering"] == pytest.approx(float(entering.mean()), abs=1e-5)
    # Two agents appear, and nothing has led to where they are.
    assert found.values["known_motion"] != pytest.approx(found.values["motion"], abs=1e-6)


def test_smart_is_asked_the_same(tmp_path) -> None:
    """A new RosettaSim moves agents as its scene encoder does, where everybody is seen all the time."""
    encoder = small_model(vocabulary=tiny_vocabulary())
    open_model = around_encoder(encoder, TINY, 0)
    scenes = tokenised(tmp_path, straight_road(extra=[Agent("slow", 10.0, 3.5, speed=8.0)]))
    (smart,) = likelihoods(encoder, scenes, DecisionLimits())
    (rosetta,) = likelihoods(open_model, scenes, DecisionLimits())
    assert smart.values["known_motion"] == pytest.approx(rosetta.values["known_motion"], abs=1e-4)
    assert all(np.isnan(value) for name, value in smart.values.items() if name != "known_motion")


def test_whoever_comes_into_sight_has_done_nothing_yet(tmp_path, monkeypatch) -> None:
    """The log knows its motion, RosettaSim does not; SMART is asked by the same rule."""
    encoder = small_model(vocabulary=tiny_vocabulary())
    scenes = tokenised(tmp_path, straight_road(extra=[Agent("met", 95.0, 3.5, speed=0.0)]))
    asked: list[int] = []
    monkeypatch.setattr(likelihood, "_mean", lambda values: asked.append(len(values)) or 0.0)
    list(likelihoods(encoder, scenes, DecisionLimits()))
    list(likelihoods(around_encoder(encoder, TINY, 0), scenes, DecisionLimits()))
    smart, known, everybody = asked[:3]
    # The ego is 75 m away at step 20: at the decision after it the motion of the one that it has met is asked for.
    assert smart == known == everybody - 1


def test_limits_hold_for_smart_too(tmp_path) -> None:
    encoder, scenes = small_model(vocabulary=tiny_vocabulary()), tokenised(tmp_path, traffic())
    everybody, nearest = (
        next(likelihoods(encoder, scenes, DecisionLimits(agents=agents))).values["known_motion"] for agents in (128, 1)
    )
    assert everybody != pytest.approx(nearest, abs=1e-6)


def test_mixtures_have_no_likelihood_of_tokens(tmp_path) -> None:
    model = small_model(vocabulary=tiny_vocabulary(), head="gmm")
    with pytest.raises(ConfigError, match="a mixture head has no tokens"):
        next(likelihoods(model, tokenised(tmp_path, busy()), DecisionLimits()))


def test_weights_say_which_model_they_are(tmp_path) -> None:
    for name, model in (("smart", small_model()), ("rosetta", small_rosetta())):
        model.save(tmp_path / name)
        assert load_model(str(tmp_path / name)).name == name


# ---- rows


def test_weights_are_found_by_the_stage(tmp_path) -> None:
    """Stages name their weights after the traffic."""
    infgen = TrainedNode("tokens", (PaperStep("infgen"),), 0, tmp_path)
    rosetta, smart = (TrainedNode("tokens", steps, 0, tmp_path) for steps in (SMALL, SMART))
    config = TrafficTablesConfig()
    assert (rosetta.traffic, rosetta.weights(config)) == ("rosetta", rosetta.folder / ROSETTA_WEIGHTS)
    assert (smart.traffic, smart.weights(config)) == ("smart", smart.folder / WEIGHTS)
    assert (infgen.traffic, infgen.weights(config)) == ("infgen", infgen.folder / INFGEN_WEIGHTS)
    jobs = [
        model.job
        for model in models_of(TrafficTablesConfig(table=("rosetta_density",)), "rosetta_density", "val", tmp_path)
    ]
    assert jobs[0].traffic == f"rosetta:{rosetta.folder / ROSETTA_WEIGHTS}?spawning=false"
    assert jobs[1].traffic.endswith("?type_temperature=0.25")
    assert {job.measure for job in jobs} == {"longterm"}
    assert jobs[-1].traffic == "idm-lane"


def test_likelihoods_have_no_decoding_and_nothing_beside(tmp_path) -> None:
    config = TrafficTablesConfig(table=("rosetta_random",), decoding=("", "top_k=2"), only=("SMART",))
    models = models_of(config, "rosetta_random", "val", tmp_path)
    assert [model.label for model in models] == ["random, tuned: all", "SMART"]


def test_tables_share_what_they_can() -> None:
    steps = [{row.steps for row in TABLES[f"rosetta_{name}"].rows} for name in ("tunable", "random", "depth", "long")]
    assert language(tunable="none") in steps[0] & steps[1] & steps[2]
    assert SMART in steps[0] & steps[1] & steps[3]
    assert all(
        step.share == 1
        for table in TABLES.values()
        for row in table.rows
        for step in row.steps
        if "rosetta" in step.stage
    )


# ---- what scores say together


def row_of(label: str, flow, behaviour) -> ScoredRow:
    other = np.zeros_like(np.array(flow))
    values = {name: other for name in (*SCENE_METRICS, *COUNTED)}
    return ScoredRow(label, {**values, "flow": np.array(flow), "behaviour": np.array(behaviour)}, 1.0)


def test_f1_is_of_the_means() -> None:
    """As the paper's tables 7 and 9: the harmonic mean of two means over scenes, not a mean of harmonic means."""
    row = row_of("a", [[0.2, 0.8], [0.4, 1.0]], [[0.9, 0.5], [0.7, 0.5]])
    found = row.estimate("rmm_f1")
    assert found.interval.mean == pytest.approx(2 * 0.6 * 0.65 / 1.25)
    assert found.interval.low < found.interval.mean < found.interval.high
    assert found.spread == pytest.approx(np.std([rmm_f1(0.7, 0.5), rmm_f1(0.6, 0.7)], ddof=1))
    assert found.scenes == 2


def test_scenes_without_a_number_are_left_out_of_its_mean() -> None:
    row = row_of("a", [[0.2, np.nan], [0.4, np.nan]], [[0.9, 0.5], [0.7, 0.5]])
    estimate = row.estimate("flow")
    assert estimate.interval.mean == pytest.approx(0.3)
    assert (estimate.scenes, estimate.spread) == (1, pytest.approx(np.std([0.2, 0.4], ddof=1)))


def test_differences_are_of_what_is_measured() -> None:
    gaps = gaps_of([row_of("a", [[0.2, 0.4]], [[0.5, 0.6]]), row_of("b", [[0.3, 0.5]], [[0.5, 0.6]])], "longterm")
    assert list(gaps[0].differences) == ["flow", "flow_by_ones", "behaviour", "collision_indication"]
    assert gaps[0].differences["flow"].difference.mean == pytest.approx(0.1)
    assert "minus a" in gaps_table(gaps, "longterm", "a").markdown()[0]


def scored(scenes: list[str], value: float) -> dict:
    numbers = {name: [value] * len(scenes) for name in (*SCENE_METRICS, *COUNTED)}
    windows = {"flow": [value, value / 2], "behaviour": [value, None]}
    return {
        "scenes": scenes,
        "scores": numbers,
        "simulating": 1.0,
        "whole": dict.fromkeys(WHOLE, value),
        "windows": windows,
    }


def test_rows_without_a_seed_are_left_out_and_named(tmp_path) -> None:
    config = TrafficTablesConfig(seed=(0, 1))
    jobs = {name: ScoreJob(name, name, "val", "longterm") for name in ("a0", "a1", "b0", "b1", "c")}
    models = [Model(name[0], job) for name, job in jobs.items()]
    (tmp_path / SCORES).mkdir()
    for name, scenes in (("a0", ["x", "y"]), ("a1", ["x", "y"]), ("b0", ["x"]), ("c", ["x", "y"])):
        write_json(score_file(config, tmp_path, jobs[name]), scored(scenes, {"a0": 0.2, "a1": 0.4}.get(name, 0.5)))
    rows, left_out = rows_of(config, models, tmp_path)
    assert [row.label for row in rows] == ["a", "c"]
    assert [tuple(row) for row in left_out] == [("b", "1 of 2 seeds have no scores")]
    assert rows[0].values["flow"].tolist() == [[0.2, 0.2], [0.4, 0.4]]
    assert rows[0].whole["pooled_flow"] == pytest.approx(0.3)
    assert rows[0].windows["flow"] == pytest.approx([0.3, 0.15])
    assert rows[0].windows["behaviour"][0] == pytest.approx(0.3)
    assert np.isnan(rows[0].windows["behaviour"][1])
    # With the row that has one scene only, all are shown on that scene; what all scenes say together is then another.
    write_json(score_file(config, tmp_path, jobs["b1"]), scored(["x"], 0.5))
    rows, left_out = rows_of(config, models, tmp_path)
    assert [row.values["flow"].shape for row in rows] == [(2, 1), (2, 1), (1, 1)]
    assert not left_out
    assert np.isnan(rows[0].whole["pooled_flow"])
    assert rows[1].whole["pooled_flow"] == pytest.approx(0.5)
    assert not rows[0].windows
    write_json(score_file(config, tmp_path, jobs["c"]), {**scored(["x"], 0.5), "simulating": None})
    with pytest.raises(RunError, match="holds no scores of this version"):
        rows_of(config, models, tmp_path)


# ---- training by a law


def test_losses_are_those_of_tokens_that_are_drawn() -> None:
    weights = torch.zeros(3, 3)
    weights[0], weights[1] = torch.tensor([0.5, 2.0, 0.0]), torch.tensor([3.0, 3.0, 3.0])
    kinds, tokens = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 2])
    found = zipf.as_drawn(torch.tensor([1.0, 2.0, 4.0, 8.0]), kinds, tokens, weights)
    # Vehicles: weights 1/2, 1/2 and 2, of sum 3 over three tokens; the pedestrian is as heavy as it was.
    assert found.tolist() == pytest.approx([0.5, 1.0, 8.0, 8.0])
    none = zipf.as_drawn(torch.ones(1), torch.tensor([2]), torch.tensor([0]), weights)
    assert none.tolist() == [0.0]


def test_training_asks_by_the_law(tmp_path) -> None:
    model = small_rosetta(vocabulary=tiny_vocabulary())
    scenes = tokenised(tmp_path, busy(), traffic())
    counts = zipf.motion_counts(scenes)
    loop = LoopConfig(epochs=1, batch=1, warmup=0, average=0.0)
    tasks = {}
    for exponent in (None, 0.0, 1.0):
        objective = make_objective("rosetta", StageOptions(zipf=exponent))
        tasks[exponent] = RosettaTask(loop, objective, model.network, OPTIONS, scenes, scenes, tmp_path)
    assert tasks[None].objective.weights is None
    for exponent in (0.0, 1.0):
        weights = tasks[exponent].objective.weights.numpy()
        for kind, own in enumerate(counts):
            drawn = np.sort(weights[kind] * own)[::-1] / max(own.sum(), 1)
            kinds = int((own > 0).sum())
            assert drawn[:kinds] == pytest.approx(zipf_masses(kinds, exponent), abs=1e-6)
    step = step_of(model)
    lesson = SequenceCloning().prepare(model.network, step)
    losses = {exponent: task.objective.loss(model.network, step, lesson) for exponent, task in tasks.items()}
    assert losses[None].total != losses[0.0].total
    assert losses[0.0].total != losses[1.0].total
    assert losses[None].numbers == losses[0.0].numbers, "what is shown stays comparable"
    # Held-out scenes are as they are.
    assert len({task.objective.validate(model.network, step) for task in tasks.values()}) == 1


def test_tokens_are_counted_once(tmp_path) -> None:
    """The first phase, with its mirror image."""
    scenes = TokenisedScenes(
        Scenes(busy()), tiny_vocabulary(), OPTIONS, tmp_path, examples=ExampleOptions(phases=2), mirror=True, workers=1
    )
    first = [scenes[number] for number, entry in enumerate(scenes.entries) if entry.phase == 0]
    assert (len(scenes), len(first)) == (4, 2)
    wanted = sum(int((scene.token_valid & scene.road_user[:, None]).sum()) for scene in first)
    assert zipf.motion_counts(scenes).sum() == wanted


def test_laws_that_turn_ranks_around_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"--options.zipf -0.5"):
        make_objective("rosetta", StageOptions(zipf=-0.5))


# ---- whole runs


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Everything as small as it can be, on two scenes."""
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda *names, **options: two_scenes())
    monkeypatch.setattr("harness.traffic.papers.summary.RESAMPLES", 50)
    small_model(vocabulary=tiny_vocabulary()).save(tmp_path / "base.safetensors")
    return {
        "init": tmp_path / "base.safetensors",
        "mirror": False,
        "loop": LoopConfig(epochs=1, batch=2, device="cpu"),
        "rosetta": TINY,
        "longterm": LongtermOptions(horizon=91, every=1, references=1),
        "beside": ("log",),
        "executor": "serial",
    }


def test_a_table_by_likelihood(tmp_path, small, monkeypatch) -> None:
    rows = (
        PaperRow("small", SMALL),
        PaperRow("SMART"),
        PaperRow("uniform", (PaperStep("rosetta", (("zipf", 0.0),)),), level=0.0, series="small"),
        PaperRow("narrow", (PaperStep("rosetta", (("rosetta.width", 8),)),)),
    )
    table = PaperTable("Small", "ours", rows, measure="likelihood", axis="exponent")
    monkeypatch.setitem(TABLES, "rosetta_corruption", table)
    config = TrafficTablesConfig(out=tmp_path / "run", table=("rosetta_corruption",), **small)
    out = run_tables(config, quiet(traffic_tables.main))
    text = (out / "tables.md").read_text()
    assert "Small (ours): val, 2 scenes, negative log-likelihood (lower is better)" in text
    (numbers,) = json.loads((out / "tables.json").read_text())
    found = {row["row"]: row for row in numbers["rows"]}
    assert list(found) == ["small", "SMART", "uniform", "narrow"]
    assert numbers["first"] == "small"
    assert found["SMART"]["motion"]["mean"] is None
    assert found["SMART"]["known_motion"]["mean"] > 0
    values = [found[name]["all"]["mean"] for name in ("small", "uniform", "narrow")]
    assert len(set(values)) == 3
    assert (out / "pictures" / "rosetta_corruption-val.png").exists()
    assert (out / "trained" / "rosetta-width_8--seed0" / ROSETTA_WEIGHTS).exists()
    # Another base would stand beside rows that are finished.
    small_model(seed=1, vocabulary=tiny_vocabulary()).save(small["init"])
    with pytest.raises(RunError, match=r"bases.json was made with other settings \(tokens was"):
        run_tables(replace(config, out=None, resume=out), quiet(traffic_tables.main))


def test_a_table_over_minutes(tmp_path, small, monkeypatch) -> None:
    rows = (
        PaperRow("nobody enters", SMALL, "spawning=false"),
        PaperRow("temperature 1", SMALL, "type_temperature=1", level=1.0, series="small"),
    )
    table = PaperTable("Small", "ours", rows, measure="longterm", axis="temperature")
    monkeypatch.setitem(TABLES, "rosetta_density", table)
    config = TrafficTablesConfig(out=tmp_path / "run", table=("rosetta_density",), **small)
    out = run_tables(config, quiet(traffic_tables.main))
    assert "2 scenes × 1 roll-outs of up to 8 s" in (out / "tables.md").read_text()
    (numbers,) = json.loads((out / "tables.json").read_text())
    found = {row["row"]: row for row in numbers["rows"]}
    assert list(found) == ["nobody enters", "temperature 1", "log"]
    assert found["log"]["whole"]["pooled_flow"] == pytest.approx(1.0)
    assert found["nobody enters"]["entries_per_s"]["mean"] == 0.0
    assert found["log"]["rmm_f1"]["mean"] > 0
    assert set(found["log"]["windows"]) >= {"flow", "flow_by_retrieval", "behaviour", "behaviour_stability"}
    names = {file.name for file in (out / "pictures").iterdir()}
    assert names == {f"rosetta_density-val{end}.png" for end in ("", "-density", "-windows")}


def test_scenes_that_nothing_can_use_are_no_scores(tmp_path, small, monkeypatch) -> None:
    short = straight_road(steps=12, scene_id="short")
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda *names, **options: Scenes(short))
    scorer = TrafficScorer(TrafficTablesConfig(out=tmp_path, **small), tmp_path)
    with pytest.raises(Exception, match="none of the scenes of val can be used") as caught:
        scorer(ScoreJob("log", "log", "val", "longterm"))
    assert not isinstance(caught.value, RunError), "which would end the run"


def test_windows_are_drawn_by_time() -> None:
    keys = ["flow", "behaviour", "flow_stability", "behaviour_stability"]
    keys += [f"{name}{end}" for name in drawing._FLOW_BY_WINDOWS for end in ("", "_by_retrieval")]
    panels = drawing.window_panels({name: {key: [0.5, 0.4, 0.3] for key in keys} for name in ("a", "b")})
    assert len(panels) == 8
    assert [list(panel.series[0].x) for panel in panels] == [[0.0, 0.5, 1.0]] * 8
    assert [[one.style for one in panel.series] for panel in panels] == [["-", "--"] * 2] * 4 + [["-", "-"]] * 4
