"""What merging is worth: hypervolume by hand, coefficients that raise the reward, and the sweep of a simplex."""

import numpy as np
import pytest
import torch

from adversaries.sage.coefficients import fit_coefficients, sample_reward, unflattened
from adversaries.sage.experts import Experts, merger_of
from adversaries.sage.landscape import Probe
from adversaries.sage.merged_fronts import measure, sampled_gains, sweep, volumes
from adversaries.sage.merging import join
from adversaries.sage.merging_config import MergingConfig
from adversaries.sage.objectives import Values
from harness.drawing.merging import draw_merging
from harness.errors import ConfigError
from harness.report.merging_tables import merging_tables
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.sage.toys import small_network, small_prior


def scenes():
    return [straight_road(scene_id="a"), crossing(scene_id="b"), crossing(opponent_delay=0.5, scene_id="c")]


def experts() -> Experts:
    return Experts(small_prior(0), small_network(1), small_network(2), {})


def test_volumes_by_hand() -> None:
    # Two scenes, two points: means (1, -1) and (3, -3) against (0, -1) and (2, -4). The worst corner is (0, -4).
    first = np.array([[[0.0, -1.0], [3.0, -3.0]], [[2.0, -1.0], [3.0, -3.0]]])
    second = np.array([[[0.0, -1.0], [2.0, -4.0]], [[0.0, -1.0], [2.0, -4.0]]])
    found = volumes({"one": first, "two": second}, "one")
    assert found["one"]["volume"][0] == pytest.approx(3 * 1 + 1 * 2)
    assert found["two"]["volume"][0] == pytest.approx(0.0)
    assert found["two"]["gain"][0] == pytest.approx(-5.0)
    assert found["one"]["gain"] == [0.0, 0.0, 0.0]
    # Scenes are drawn for both alike: with the first alone the point (1, -1) is (0, -1), with the second (2, -1).
    assert found["one"]["volume"][1:] == pytest.approx([3.0, 3 * 1 + 2 * 2])
    assert found["two"]["gain"][1:] == pytest.approx([-7.0, -3.0])


def test_the_infeasible_is_worth_as_little_as_the_worst_feasible() -> None:
    off, no = np.array([True, False, False]), np.zeros(3, dtype=bool)
    values = Values(np.array([9.0, 4.0, 2.0]), np.full(3, 2.0), np.zeros(3), off, no, no, ~no)
    assert sample_reward(values, 0.5).tolist() == [0.0, 1.0, 0.0]
    nowhere = Values(np.array([9.0, 4.0, 2.0]), np.full(3, 2.0), np.zeros(3), ~no, no, no, ~no)
    assert sample_reward(nowhere, 1.0).tolist() == [9.0, 4.0, 2.0]


def test_weights_by_parameter() -> None:
    network = torch.nn.Linear(2, 1)
    found = unflattened(network, torch.tensor([1.0, 2.0, 3.0]))
    assert (found["weight"].tolist(), found["bias"].tolist()) == ([[1.0, 2.0]], [3.0])


def test_fitted_coefficients_raise_the_reward(probe: Probe) -> None:
    tasks = merger_of(experts()).tasks
    fitted = fit_coefficients(probe, tasks, [0, 1, 2])
    assert len(fitted) == 2
    moving = {name for name in tasks[0] if bool(tasks[0][name].any())}
    assert set(fitted[0]) == set(fitted[1]) == moving

    def reward(coefficients) -> float:
        total = 0.0
        for mu in (0.0, 0.5, 1.0):
            weights = merger_of(experts(), merge="task", coefficients=coefficients).dialled(mu)
            rows = zip(probe.log_probs(weights), probe.tables, strict=True)
            total += float(np.mean([np.exp(row) @ sample_reward(table, mu) for row, table in rows]))
        return total

    assert reward(fitted) > reward(({}, {})) + 0.01
    # Without an update they are 1, and the weights those of the straight line.
    ones = fit_coefficients(probe, tasks, [0], steps=0)
    assert set(ones[0].values()) == {1.0}


def test_everything_is_measured_tabulated_and_drawn(probe: Probe, tmp_path) -> None:
    config = MergingConfig(densities=(1.0,), parts=2)
    third = small_network(3)
    found = measure(experts(), probe, scenes(), config, lambda *_: None)
    assert found["sweep"] is None
    assert list(found["ways"]["fronts"]) == ["linear", "geodesic", "ties 1", "task"]
    # All ways but task arithmetic end at the experts.
    ends = {name: [rows[i]["adversarial"][0] for i in (0, -1)] for name, rows in found["ways"]["fronts"].items()}
    assert ends["geodesic"] == pytest.approx(ends["linear"], abs=1e-6)
    assert ends["ties 1"] == pytest.approx(ends["linear"], abs=1e-6)
    assert set(found["ways"]["coefficients"]) == {"adv", "real"}
    assert list(found["ways"]["samples"]) == list(found["ways"]["fronts"])
    assert len(merging_tables(found)) == 2
    draw_merging(found, tmp_path / "two.png")
    swept = sweep(experts(), third, probe, scenes(), config, lambda *_: None)
    assert [point["shares"] for point in swept["simplex"]][:2] == [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]
    by_shares = {tuple(point["shares"]): point for point in swept["simplex"]}
    row = probe.log_probs(probe.between(0.5))
    wanted = np.mean([np.exp(one) @ table.adversarial for one, table in zip(row, probe.tables, strict=True)])
    assert by_shares[0.5, 0.5, 0.0]["adversarial"][0] == pytest.approx(wanted, rel=1e-4)
    alone = probe.log_probs(probe.vectors.reference + join(merger_of(experts(), third).tasks[2]))
    wanted = np.mean([np.exp(one) @ table.realism for one, table in zip(alone, probe.tables, strict=True)])
    assert by_shares[0.0, 0.0, 1.0]["realism"][0] == pytest.approx(wanted, rel=1e-4)
    # Without the third expert the dial is the usual one.
    plain = found["ways"]["fronts"]["linear"]
    assert [row["realism"] for row in swept["dials"]["0"]] == [row["realism"] for row in plain]
    tables = merging_tables(found | {"sweep": swept})
    assert [table.title.split(" ")[0] for table in tables] == ["ways", "the", "three", "the", "one"]
    draw_merging(found | {"sweep": swept}, tmp_path / "three.png")
    assert {"two.png", "three.png"} <= {path.name for path in tmp_path.iterdir()}


def test_samples_of_every_scene_are_judged_with_coefficients_of_the_other_half(probe: Probe) -> None:
    double = [dict.fromkeys(merger_of(experts()).tasks[0], 2.0)] * 2
    found = sampled_gains(experts(), probe, MergingConfig(densities=(1.0,)), [[{}, {}], double])
    assert found["linear"].shape == (3, 5, 2)
    far = probe.log_probs(merger_of(experts(), merge="task", coefficients=double).dialled(0.25))
    assert found["task"][0] == pytest.approx(found["linear"][0], abs=1e-6)
    assert found["task"][1, 1] == pytest.approx(
        [np.exp(far[1]) @ probe.tables[1].adversarial, -np.exp(far[1]) @ probe.tables[1].realism], rel=1e-5
    )


@pytest.mark.parametrize("wrong", [{"parts": 0}, {"densities": (0.5, 0.0)}, {"densities": (1.5,)}])
def test_impossible_options_are_refused(wrong) -> None:
    with pytest.raises(ConfigError, match="--merging"):
        MergingConfig(**wrong)
