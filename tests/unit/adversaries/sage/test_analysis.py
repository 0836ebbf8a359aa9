"""`sage_analysis`: its measures by hand, and one whole run with pictures."""

import json

import numpy as np
import pytest
import torch

from adversaries.sage.analysis import Probe, dominated, hypervolume, linearity, monotone, vectors_report
from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.bank import build_bank
from adversaries.sage.experts import Experts, save_expert
from adversaries.sage.steering import PreferenceVectors
from harness import sage_analysis
from harness.errors import ConfigError
from harness.report.sage_tables import remarks, tables
from harness.sage_analysis import SageAnalysisConfig
from tests.scenes import crossing, straight_road
from tests.sessions import quiet
from tests.unit.adversaries.sage.toys import small_network, small_prior


def row(intensity, adversarial, realism, success=0.0):
    return {
        "intensity": intensity,
        "adversarial": [adversarial] * 3,
        "realism": [realism] * 3,
        "success": [success] * 3,
    }


def test_monotone_response() -> None:
    rows = [row(x, x**2, 2 + x, success=0.5) for x in (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)]
    found = monotone(rows)
    assert found["adversarial"] == pytest.approx(1.0)
    assert found["realism"] == pytest.approx(1.0)
    assert np.isnan(found["success"])  # a quantity that never moves shows no response
    # One inversion of neighbours among five: ρ = 1 - 6 * 2 / (5 * 24).
    rows = [row(x, y, 2.0) for x, y in zip((0.0, 0.25, 0.5, 0.75, 1.0), (1, 3, 2, 4, 5), strict=True)]
    assert monotone(rows)["adversarial"] == pytest.approx(0.9)


def test_domination_needs_both_to_be_better() -> None:
    weights = [row(0.0, 1.0, 2.0), row(1.0, 4.0, 3.0)]
    assert dominated({"weights": weights, "logits": [row(0.5, 5.0, 3.5), row(0.5, 0.5, 1.5)]}) == []
    found = dominated({"weights": weights, "logits": [row(0.5, 4.5, 2.5)]})
    assert found == [{"intensity": 1.0, "by": "logits", "points": 1}]


def test_hypervolume_by_hand() -> None:
    # Worst corner: R_adv 0, P_real 4. Weights: steps of 1 x 3 and 2 more wide at height 1.
    fronts = {"weights": [row(0.0, 1.0, 1.0), row(1.0, 3.0, 3.0)], "logits": [row(0.0, 0.0, 1.0), row(1.0, 2.0, 4.0)]}
    areas = hypervolume(fronts)
    assert areas["weights"] == pytest.approx(3 * 1 + 1 * 2)
    assert areas["logits"] == pytest.approx(0.0)


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


def test_probe_visits_the_experts_and_the_prior() -> None:
    experts = Experts(small_prior(0), small_network(1), small_network(2), {})
    bank = build_bank(scenes(), GoalBackbone(experts.prior))
    probe = Probe(experts, bank)
    from adversaries.sage.alignment import evaluate
    from adversaries.sage.analysis import NEUTRAL

    for network, place in ((experts.prior.network, (0.0, 0.0, -1.0)), (experts.adv, (1.0, 0.0, 0.0))):
        direct = evaluate(GoalBackbone(experts.prior, module=network), bank, NEUTRAL, 32)
        assert probe(*place) == pytest.approx(direct, abs=1e-5)
    line = linearity(probe, 3)
    assert line["even"]["line"][1] == pytest.approx(np.mean([line["even"]["measured"][end] for end in (0, -1)]))
    assert line["even"]["shortfall"] == pytest.approx(
        max(line["even"]["line"][1] - line["even"]["measured"][1], 0.0), abs=1e-12
    )


def test_command_writes_numbers_and_pictures(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("harness.commands.options.open_scenes", lambda *names, **options: scenes())
    prior = small_prior()
    prior.save(tmp_path / "prior.safetensors")
    for seed, name in enumerate(("adv", "real"), start=1):
        save_expert(tmp_path, name, GoalBackbone(prior, module=small_network(seed)), GoalBackbone(prior), {})
    config = SageAnalysisConfig(adversary=f"sage:{tmp_path}", steps=3, grid=3, out=tmp_path / "run")
    result, folder = sage_analysis.run(config, quiet(sage_analysis.main))
    assert {"fronts.png", "vectors.png", "landscape.png", "extrapolation.png"} <= {p.name for p in folder.iterdir()}
    written = json.loads((folder / "analysis.json").read_text())
    assert written["scenes"] == 3
    by_end = {mixing: [row for row in rows if row["intensity"] in (0, 1)] for mixing, rows in result["fronts"].items()}
    # All strategies are the experts themselves at the ends.
    for mixing in ("logits", "trajectories"):
        for ours, theirs in zip(by_end["weights"], by_end[mixing], strict=True):
            assert ours["adversarial"] == pytest.approx(theirs["adversarial"], abs=1e-6)
    assert [row["intensity"] for row in result["fronts"]["weights"]] == [0, 0.25, 0.5, 0.75, 1]
    assert len(tables(result)) == 2
    assert remarks(result)[0].startswith("Spearman's ρ with λ: ")
    with pytest.raises(ConfigError, match="--grid 1"):
        SageAnalysisConfig(grid=1)
    with pytest.raises(ConfigError, match="sage:EXPERTS"):
        SageAnalysisConfig(adversary="cat")


def test_old_spellings() -> None:
    config = sage_analysis.main.parse(["--experts", "DIR", "--scenes", "val"])
    assert (config.spec.file, config.split, config.scenes) == ("DIR", "val", None)
