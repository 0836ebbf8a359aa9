"""Retrieval by latents and by trajectories, and the command that validates either."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.errors import ConfigError, WeightsError
from harness.evaluate_longterm import main
from harness.metrics.longterm.retrieval import latent_distances
from harness.metrics.wosac import Scorer
from harness.report.retrieval_tables import retrieval_report, retrieval_tables
from harness.traffic.baselines import LogSimulator
from harness.traffic.log_policies import ConstantVelocityTraffic
from harness.traffic.longterm.comparison import compare_long
from harness.traffic.longterm.config import TRAJECTORIES, EvaluateLongtermConfig, vae_file
from harness.traffic.longterm.engines import RetrievalBase, load_vae
from harness.traffic.longterm.evaluation import references_used, run_long, score_long
from harness.traffic.longterm.scene import LongScene
from harness.traffic.longterm.short_runs import SHORT, run_short, scores_by_retrieval, stacked
from harness.traffic.longterm.validation import accuracies, decoded_names, follow, validate_retrieval
from harness.traffic.longterm.validation_config import DECODINGS, ValidateRetrievalConfig
from harness.traffic.make import make_simulator
from harness.traffic.scene_vae.model import SceneVae
from harness.traffic.scene_vae.moments import LaneTable
from harness.traffic.scene_vae.network import SceneVaeNetwork
from harness.traffic.scene_vae.training import logged_traffic
from scenarios.export import write_folder
from tests.scenes import Agent, lasting
from tests.unit.metrics.test_wosac import road
from tests.unit.traffic.test_longterm import Visited, scene
from tests.unit.traffic.test_scene_vae import SMALL


@pytest.fixture(scope="module")
def vae() -> SceneVae:
    torch.manual_seed(0)
    return SceneVae(SceneVaeNetwork(SMALL))


@pytest.fixture
def file(vae, tmp_path):
    vae.save(tmp_path / "v.safetensors")
    return f"vae:{tmp_path / 'v.safetensors'}"


class Jittered:
    """Everybody as recorded up to step 10, then at constant velocity, with steps to the side of up to `size` m."""

    name = "jittered"

    def __init__(self, size: float = 0.0) -> None:
        self.size = size

    def reset(self, scenario, rng):
        self.steady, self.rng = ConstantVelocityTraffic(), rng
        self.steady.reset(scenario, rng)

    def step(self, step, states, valid):
        following, present = self.steady.step(step, states, valid)
        if step >= 10:
            following[:, 1] += self.size * self.rng.uniform(-1, 1, len(following))
        return following, present


def three() -> list:
    """Short scenes that differ in speed and distance."""
    made = []
    for number, (gap, speed) in enumerate(((15, 10.0), (25, 4.0), (8, 14.0))):
        made.append(replace(road(Agent("ahead", gap, 0, speed=speed), Agent("beside", -12, 1.0)), id=f"s{number}"))
    return [lasting(one, 91) for one in made]


class Source:
    def __init__(self, scenes):
        self.scenes, self.ids = scenes, tuple(one.id for one in scenes)

    def __len__(self):
        return len(self.scenes)

    def __getitem__(self, index):
        return self.scenes[index]


def validation(**changes) -> ValidateRetrievalConfig:
    model = f"{__name__}:Jittered"
    plain = {"traffic": (model, "log"), "decoded": (), "references": (1, 2), "map_weights": (0.0, 1.0)}
    return ValidateRetrievalConfig(**{**plain, **changes})


def test_retrievals_have_a_grammar(file, tmp_path):
    assert vae_file(TRAJECTORIES) is None
    assert load_vae(TRAJECTORIES) is None
    assert load_vae(file).config == SMALL
    for wrong in ("vae", "vae:", "ways", "trajectories:x", "vae:file?k=1"):
        with pytest.raises(ConfigError, match="--retrieval"):
            EvaluateLongtermConfig(retrieval=wrong)
    with pytest.raises(WeightsError, match="no scene autoencoder"):
        load_vae(f"vae:{tmp_path / 'none'}")
    with pytest.raises(ConfigError, match="--passed-over"):
        EvaluateLongtermConfig(passed_over=1.0)


def test_a_recording_is_nearest_to_itself(vae):
    scenes = [LongScene.of(scene(name, speed), 311, "ego", vae) for name, speed in (("one", 9.0), ("two", 5.0))]
    logs = [one.log() for one in scenes]
    rows = [np.arange(0, 7, 2)] * 2
    base = RetrievalBase.of(logs, rows)
    assert [len(values) for values in base.latents] == [8] * 4
    distances = base.distances(logs[1], "vae:x", 1.0)
    assert distances.shape == (7, 8)
    assert distances[[0, 2, 4, 6], [4, 5, 6, 7]] == pytest.approx(np.zeros(4), abs=1e-9)
    # The first windows of both are equal: who differs is farther away than the square reaches.
    assert (distances[0, 1:4] > 0.1).all()
    # λ weighs the map alone.
    none, double = (base.distances(logs[1], "vae:x", weight) for weight in (0.0, 2.0))
    assert double - distances == pytest.approx(distances - none)
    assert base.scales[0] > 0
    bare = RetrievalBase.of([LongScene.of(scene(), 311, "ego").log()], rows[:1])
    with pytest.raises(ConfigError, match="no latents"):
        bare.distances(logs[0], "vae:x", 1.0)
    assert bare.distances(logs[0], TRAJECTORIES, 1.0).shape == (7, 4)


def test_a_roll_out_is_seen_from_the_recorded_ego_with_whoever_entered(vae):
    found = LongScene.of(scene(), 311, "ego", vae)
    log, steady, visited = (
        found.log(),
        found.roll_out(ConstantVelocityTraffic(), 0),
        found.roll_out(Visited(50.0), 0),
    )
    assert np.array_equal(steady.latents.map_mean, log.latents.map_mean)
    assert not np.allclose(visited.latents.object_mean, steady.latents.object_mean)
    # "late" is in the recording and in no roll-out.
    assert not np.allclose(steady.latents.object_mean[-1], log.latents.object_mean[-1])
    fixed = LongScene.of(scene(), 311, "middle", vae).log()
    assert np.ptp(fixed.latents.map_mean, axis=0) == pytest.approx(np.zeros(24), abs=1e-6)


def test_latents_of_a_recording_are_those_of_everybody_around_its_ego(vae):
    aslant = lasting(road(Agent("ahead", 15, 0), Agent("aslant", -10, 1.0, heading=0.4, speed=2.0)), 121)
    found = LongScene.of(aslant, 311, "ego", vae)
    plain = vae.windows(LaneTable(aslant, vae.config), logged_traffic(aslant), found.observer, found.starts)
    for values, others in zip(found.log().latents, plain, strict=True):
        assert values == pytest.approx(others, abs=1e-6)


def test_the_weight_of_the_map_is_heeded(vae, file, monkeypatch):
    seen = []

    def weighed(query, base, weight, scales):
        seen.append((weight, scales))
        return latent_distances(query, base, weight, scales)

    monkeypatch.setattr("harness.traffic.longterm.engines.latent_distances", weighed)
    config = EvaluateLongtermConfig(traffic=("log",), references=1, retrieval=file, map_weight=3.0)
    run = run_long({}, [scene("one"), scene("two", 5.0)], config, vae)
    score_long(run, config)
    assert {weight for weight, _ in seen} == {3.0}
    assert all(scales != (1.0, 1.0) for _, scales in seen)


def test_scores_by_latents(vae, file):
    config = EvaluateLongtermConfig(traffic=("log", "constant_velocity"), references=2, every=1, retrieval=file)
    result = compare_long(config, [scene("one"), scene("two", 5.0)])
    log = result["models"]["log"]
    assert log["behaviour"] > 0.8
    assert result["settings"]["retrieval"] == file
    # What is passed over cannot be retrieved: of 14 windows 3 are left.
    run = run_long({}, [scene("one"), scene("two", 5.0)], replace(config, traffic=("log",)), vae)
    far = replace(config, traffic=("log",), passed_over=0.8, references=5)
    assert references_used(run, far) == 3
    assert score_long(run, far)["log"]["behaviour"] < log["behaviour"]


def test_short_roll_outs_of_the_log_are_the_log(vae):
    one = three()[0]
    found = LongScene.of(one, SHORT, "ego", vae)
    log, simulated = found.log(), LogSimulator().simulate(one, 1, 0)
    again = found.short_term(simulated, 0)
    assert all(np.array_equal(log.counts[name], again.counts[name]) for name in log.counts)
    for values, others in zip(log.latents, again.latents, strict=True):
        assert values == pytest.approx(others, abs=1e-5)
    # The ego that watches is the simulated one.
    shifted = replace(simulated, states=simulated.states + np.array([0.0, 10.0, 0.0, 0.0]))
    moved = found.short_term(shifted, 0)
    assert not np.allclose(moved.latents.map_mean, log.latents.map_mean)


@pytest.mark.parametrize("by", ["latents", "trajectories"])
def test_roll_outs_find_their_own_recording(vae, file, by):
    config = validation(retrieval=file if by == "latents" else TRAJECTORIES, queries=2)
    run = run_short({name: make_simulator(name) for name in config.traffic}, three(), 2, config, vae)
    assert (run.queries, len(run.scenes), run.left_out) == (2, 3, {})
    rows = accuracies(run, config)
    # Of two recordings only K = 1 says anything; of three K = 2 as well. Trajectories know no λ.
    assert len(rows) == (2 if by == "latents" else 1) * 2 * (1 + 2)
    assert all(row["accuracy"] == 1.0 for row in rows if row["model"] == "log")
    assert {row["setting"] for row in rows} == {"equal", "more"}
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    counts = stacked(run.windows("log")[0])
    own, other = (scores_by_retrieval(counts, run.counts(), np.array(rows)) for rows in ([[0], [1]], [[1], [0]]))
    assert own["behaviour"] > other["behaviour"]


def test_accuracies_are_told_for_every_weight(vae, file, monkeypatch):
    seen = []

    def weighed(query, base, weight, scales):
        seen.append((weight, len(base.map_mean)))
        return latent_distances(query, base, weight, scales)

    monkeypatch.setattr("harness.traffic.longterm.engines.latent_distances", weighed)
    config = validation(retrieval=file, queries=2, traffic=("log",), map_weights=(0.0, 4.0))
    rows = accuracies(run_short({"log": make_simulator("log")}, three(), 2, config, vae), config)
    assert {row["map_weight"] for row in rows} == {0.0, 4.0}
    # Two roll-outs each, among as many recordings and among all.
    assert sorted(seen) == [(0.0, 2), (0.0, 2), (0.0, 3), (0.0, 3), (4.0, 2), (4.0, 2), (4.0, 3), (4.0, 3)]


def test_scores_of_the_challenge_keep_their_names():
    model = f"{__name__}:Jittered?size=1"
    one, simulator = three()[0], make_simulator(model)
    run = run_short({model: simulator}, [one], 1, validation())
    expected = Scorer(one, "2025", partial=True).score(simulator.simulate(one, 1, 0)).as_dict()
    names = {"behaviour": "meta", "kinematic": "kinematic", "interactive": "interactive", "map": "map"}
    assert len({expected[other] for other in names.values()}) == 4
    assert run.challenge_means(model) == {name: pytest.approx(expected[other]) for name, other in names.items()}


def test_scores_follow_the_challenge_over_variants():
    model = f"{__name__}:Jittered"
    config = validation(decoded=(model,), decodings=("size=0", "size=0.1", "size=0.3", "size=1", "size=2"))
    names = decoded_names(config)
    assert names[1] == f"{model}?size=0.1"
    run = run_short({name: make_simulator(name) for name in names}, three(), 3, config)
    found = follow(run, names, config)
    assert [row["variant"] for row in found["variants"]] == names
    correlation = found["correlation"]
    assert (correlation["references"], correlation["variants"]) == (2, 5)
    assert correlation["scores"]["kinematic"]["retrieved"] > 0.7
    assert [row["references"] for row in found["sweep"]] == [1, 2]
    assert found["sweep"][1]["r"] == pytest.approx(correlation["scores"]["behaviour"]["retrieved"])
    assert found["sweep"][1]["r"] != pytest.approx(correlation["scores"]["kinematic"]["retrieved"])
    # One variant follows nothing.
    alone = follow(run, names[:1], config)
    assert np.isnan(alone["correlation"]["scores"]["behaviour"]["retrieved"])


def test_decodings_are_many():
    config = ValidateRetrievalConfig(decoded=("smart", "smart:FILE?shield=true"))
    names = decoded_names(config)
    assert len(set(names)) == 2 * len(DECODINGS) >= 40
    assert names[-1] == "smart:FILE?shield=true&top_k=48&temperature=2"
    assert [ValidateRetrievalConfig().asked(scenes) for scenes in (1, 3, 40)] == [1, 1, 10]
    assert ValidateRetrievalConfig(queries=9).asked(5) == 5
    assert ValidateRetrievalConfig(decoded=()).decoded == ()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"traffic": ()}, "--traffic: expected at least one value"),
        ({"references": (1, 1)}, "--references: .* each only once"),
        ({"decoded": ("smart", "smart")}, "--decoded: .* each only once"),
        ({"decodings": ("top_k=5", "top_k=5")}, "--decodings: .* each only once"),
        ({"decodings": ()}, "--decodings: expected at least one value"),
        ({"map_weights": (-1.0,)}, "--map-weights -1.0: expected at least 0"),
        ({"map_weights": (1.0, float("inf"))}, "--map-weights inf: expected a finite number"),
        ({"queries": -1}, "--queries -1"),
        ({"horizon": 20}, "--horizon 20: expected at least 91"),
    ],
)
def test_validations_that_cannot_be_are_refused_at_once(wrong, message):
    with pytest.raises(ConfigError, match=message):
        ValidateRetrievalConfig(**wrong)


class WholeScenes:
    """Simulates whole scenes and nothing else."""

    name = "whole"

    def simulate(self, scenario, rollouts, seed):
        return LogSimulator().simulate(scenario, rollouts, seed)


def test_models_that_cannot_be_ranked_are_named_before_anything_is_rolled_out():
    def never(scenes, text, count):
        raise AssertionError(text)

    config = validation(traffic=(f"{__name__}:WholeScenes",))
    with pytest.raises(ConfigError, match="no `reset` and `step`"):
        validate_retrieval(config, Source(three()), never)


def test_everything_is_measured_and_shown(file):
    model = f"{__name__}:Jittered"
    many = {"decoded": (model,), "decodings": ("size=0.1", "size=0.5", "size=1")}
    config = validation(retrieval=file, queries=3, traffic=(f"{model}?size=1", "log"), **many)
    result = validate_retrieval(config, Source(three()), lambda scenes, text, count: scenes)
    kinds = {(row["retrieval"], row["passed_over"]) for row in result["degraded"]}
    assert kinds == {(file, 0.0), (TRAJECTORIES, 0.0), (file, 0.8)}
    assert [row["rank"] for row in result["degraded"] if row["model"] == "log"][:2] == [1, 1]
    assert sorted(row["rank"] for row in result["degraded"]) == [1, 1, 1, 2, 2, 2]
    near, _, far = (row["behaviour"] for row in result["degraded"] if row["model"] == "log")
    assert far < near
    accuracy, correlation, sweep, degraded = retrieval_tables(result)
    assert "λ 1" in correlation.title
    assert len(sweep.rows) == 2 * 2
    assert {"equal", "more"} <= set(sweep.rows[0])
    assert [row["score"] for row in correlation.rows] == ["behaviour", "kinematic", "interactive", "map"]
    assert accuracy.rows[0]["setting"] == "3 recordings"
    assert degraded.rows[-1]["retrieval"] == f"{file}, nearest 80 % passed over"
    lines = [part for part in retrieval_report(result) if isinstance(part, str)]
    assert len(lines) == 1
    # By trajectories there is no λ; without variants there is no correlation.
    plain = {**result["settings"], "retrieval": TRAJECTORIES}
    alone = {**result, "settings": plain, "correlation": {**result["correlation"], "variants": 0}}
    accuracy, sweep, _ = retrieval_tables(alone)
    assert {row["map_weight"] for row in (*accuracy.rows, *sweep.rows)} == {None}


def test_the_validating_command(tmp_path, capsys):
    write_folder(three(), tmp_path / "d")
    out = tmp_path / "out.json"
    options = ["--decoded", "--models", "constant_velocity", "log", "--references", "1", "--queries", "2"]
    main(["retrieval", "--data", str(tmp_path / "d"), *options, "--json", str(out)])
    found = json.loads(out.read_text())
    assert found["queries"] == 2
    assert found["correlation"]["variants"] == 0
    said = capsys.readouterr().out
    assert "find their own recording: 2 of 3 scenes" in " ".join(said.split())
    assert "no model was decoded in several ways" in said
