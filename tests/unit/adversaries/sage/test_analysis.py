"""`sage_analysis`: its measures by hand, and one whole run with pictures."""

import json

import numpy as np
import pytest
import torch

from adversaries.sage.adversary import SageAdversary
from adversaries.sage.analysis import vectors_report
from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.experts import save_expert
from adversaries.sage.merging_config import MergingConfig
from adversaries.sage.steering import PreferenceVectors
from harness import sage_analysis
from harness.errors import ConfigError
from harness.report.sage_tables import remarks, tables
from harness.sage_analysis import SageAnalysisConfig
from tests.scenes import crossing, straight_road
from tests.sessions import quiet
from tests.unit.adversaries.fakes import context
from tests.unit.adversaries.sage.toys import small_network, small_prior


def test_vectors_report() -> None:
    vectors = PreferenceVectors(torch.tensor([3.0, 4.0, 0.0]), torch.tensor([2.0, 0, 0]), torch.tensor([0, 0, 1.0]))
    found = vectors_report(vectors, (0.0, 0.5, 1.0), (2.0,))
    assert found["norm_reference"] == 5
    assert (found["norm_adv"], found["norm_real"], found["angle_degrees"]) == pytest.approx((2, 1, 90))
    assert [step["norm"] for step in found["path"]] == pytest.approx([1, np.hypot(1, 0.5), 2])
    assert [step["cosine_adv"] for step in found["path"]] == pytest.approx([0, 1 / np.hypot(1, 0.5), 1])
    assert sum(found["explained"]) == pytest.approx(1)
    places = {name: np.array(point) for name, point in found["plane"].items()}
    # The plane keeps distances: the experts are sqrt(5) apart, λ = 2 is twice as far from the reference as λ = 1.
    assert np.linalg.norm(places["vector 1"] - places["vector 0"]) == pytest.approx(np.sqrt(5))
    assert np.linalg.norm(places["vector 2"] - places["reference"]) == pytest.approx(4)
    assert np.linalg.norm(places["direct 2"] - places["reference"]) == pytest.approx(np.hypot(4, 1))


def scenes():
    return [straight_road(scene_id="a"), crossing(scene_id="b"), crossing(opponent_delay=0.5, scene_id="c")]


def test_command_writes_numbers_and_pictures(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda *names, **options: scenes())
    prior = small_prior()
    prior.save(tmp_path / "prior.safetensors")
    for seed, name in enumerate(("adv", "real", "scalar_55"), start=1):
        save_expert(tmp_path, name, GoalBackbone(prior, module=small_network(seed)), GoalBackbone(prior), {})
    options = {"steps": 3, "grid": 3, "candidates": (4,), "novelties": (0.0, 2.0)}
    config = SageAnalysisConfig(adversary=f"sage:{tmp_path}", **options, out=tmp_path / "run")
    result, folder = sage_analysis.run(config, quiet(sage_analysis.main))
    names = ("fronts", "vectors", "landscape", "extrapolation", "theory", "mixing", "merging")
    pictures = {f"{name}.png" for name in names}
    assert pictures <= {path.name for path in folder.iterdir()}
    written = json.loads((folder / "analysis.json").read_text())
    assert written["scenes"] == 3
    by_end = {mixing: [row for row in rows if row["intensity"] in (0, 1)] for mixing, rows in result["fronts"].items()}
    # All strategies are the experts themselves at the ends.
    for mixing in ("logits", "trajectories"):
        for ours, theirs in zip(by_end["weights"], by_end[mixing], strict=True):
            assert ours["adversarial"] == pytest.approx(theirs["adversarial"], abs=1e-6)
    assert [row["intensity"] for row in result["fronts"]["weights"]] == [0, 0.25, 0.5, 0.75, 1]
    assert [one["candidates"] for one in result["candidates"]] == [4]
    assert [row["name"] for row in result["theory"]["gaps"]["separate"]] == ["scalar_55"]
    assert [row["intensity"] for row in result["completions"]["goals"]] == [0, 0.25, 0.5, 0.75, 1]
    begins = [table.title.split(" ")[0] for table in tables(result)]
    assert begins[:7] == ["sage", "Wasserstein", "strategies", "novelty,", "λ", "R_μ", "proposition"]
    assert [row["novelty"] for row in result["novelty"]] == [0, 2]
    assert begins[7:] == ["along", "beyond", "hypervolume", "one", "parts", "the", "ways", "the"]
    assert remarks(result)[0].startswith("Spearman's ρ with λ: ")
    with pytest.raises(ConfigError, match="--grid 1"):
        SageAnalysisConfig(grid=1)
    with pytest.raises(ConfigError, match="--candidates 0"):
        SageAnalysisConfig(candidates=(4, 0))
    with pytest.raises(ConfigError, match="--novelties -1"):
        SageAnalysisConfig(novelties=(-1.0, 2.0))
    with pytest.raises(ConfigError, match="sage:EXPERTS"):
        SageAnalysisConfig(adversary="cat")


def test_merging_alone_with_a_third_expert(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda *names, **options: scenes())
    prior = small_prior()
    prior.save(tmp_path / "prior.safetensors")
    for seed, name in enumerate(("adv", "real", "novel"), start=1):
        save_expert(tmp_path, name, GoalBackbone(prior, module=small_network(seed)), GoalBackbone(prior), {})
    merging = MergingConfig(only=True, third=tmp_path / "novel.safetensors", densities=(1.0,), parts=2)
    config = SageAnalysisConfig(adversary=f"sage:{tmp_path}", merging=merging, out=tmp_path / "run")
    result, folder = sage_analysis.run(config, quiet(sage_analysis.main))
    assert "fronts" not in result
    assert "merging.png" in {path.name for path in folder.iterdir()}
    assert "fronts.png" not in {path.name for path in folder.iterdir()}
    assert len(tables(result)) == 5
    assert remarks(result) == []
    # What is written is what the adversary takes.
    merged = SageAdversary(tmp_path, merge="task", coefficients=folder / "coefficients.json")
    assert merged.plan(context(crossing())) is not None


def test_old_spellings() -> None:
    config = sage_analysis.main.parse(["--experts", "DIR", "--scenes", "val"])
    assert (config.spec.file, config.split, config.scenes) == ("DIR", "val", None)
