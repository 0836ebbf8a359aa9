"""The plane of two experts: what stands at its corners, barriers by hand, and fronts beyond the segment."""

import math

import numpy as np
import pytest
import torch

from adversaries.sage.alignment import evaluate
from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.config import RECIPES, HgpoConfig
from adversaries.sage.hgpo import group_loss
from adversaries.sage.landscape import NEUTRAL, barrier, extrapolation_front, landscape, linearity
from adversaries.sage.steering import flatten
from tests.unit.adversaries.sage.toys import small_network, small_prior


def test_the_probe_visits_the_experts_and_the_prior(probe) -> None:
    prior = small_prior(0)
    places = ((prior.network, probe.at(0.0, 0.0)), (small_network(1), probe.at(1.0, 0.0)))
    for network, weights in (*places, (small_network(2), probe.between(0.0))):
        direct = evaluate(GoalBackbone(prior, module=network), probe.bank, NEUTRAL, 32)
        assert probe(weights) == pytest.approx(direct, abs=1e-5)
    torch.testing.assert_close(probe.at(0.25, 0.75), probe.between(0.25))


def test_at_the_reference_every_pair_is_even(probe) -> None:
    reference = probe.at(0.0, 0.0)
    for losses in (probe.losses(reference), probe.own_losses(reference)):
        assert losses == pytest.approx({"adv": math.log(2), "real": math.log(2)}, abs=1e-5)


def test_losses_on_own_pairs_are_those_of_alignment(probe) -> None:
    # Far from the prior, where pairs are ranked otherwise.
    weights, network = probe.at(4.0, -2.0), small_network(1)
    torch.nn.utils.vector_to_parameters(weights, network.parameters())
    policy = GoalBackbone(small_prior(0), module=network)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        direct = group_loss(policy, probe.bank.entries, RECIPES["adv"], HgpoConfig(), rng).loss
    assert probe.own_losses(weights)["adv"] == pytest.approx(float(direct), abs=1e-5)
    # Pairs of the prior's groups are other pairs.
    assert probe.losses(weights)["adv"] != pytest.approx(float(direct), abs=1e-3)


def test_barrier_by_hand() -> None:
    # The straight line from 1 to 3: 1.5 at a quarter, 2 in the middle.
    assert barrier([1.0, 1.75, 2.125, 3.0], [0.0, 0.25, 0.5, 1.0]) == pytest.approx(0.25)
    assert barrier([1.0, 0.0, 3.0], [0.0, 0.5, 1.0]) == 0.0


def test_the_segment(probe) -> None:
    line = linearity(probe, 3)
    even = line["even"]
    assert even["line"][1] == pytest.approx(np.mean([even["measured"][end] for end in (0, -1)]))
    assert even["shortfall"] == pytest.approx(max(even["line"][1] - even["measured"][1], 0.0), abs=1e-12)
    loss = line["losses"]["adv"]
    assert loss["measured"][1] == pytest.approx(probe.losses(probe.between(0.5))["adv"])
    # Losses are better below the line, rewards above it.
    assert loss["shortfall"] == pytest.approx(max(loss["measured"][1] - loss["line"][1], 0.0), abs=1e-12)


def test_the_landscape_has_the_experts_where_it_says(probe) -> None:
    found = landscape(probe, 0.0, 1.0, 2, lambda *_: None)
    assert found["axis"] == [0.0, 1.0]
    corner = probe(flatten(small_network(1)))
    assert found["adversarial"][1][0] == pytest.approx(corner["adversarial"], abs=1e-5)
    assert found["chosen_realism"][1][0] == pytest.approx(corner["chosen_realism"], abs=1e-5)
    assert found["loss"][0][0] == pytest.approx(math.log(2), abs=1e-5)


def test_the_front_beyond_the_segment_by_hand() -> None:
    along = [{"adversarial": x, "realism": y} for x, y in ((1.0, 2.0), (2.0, 3.0), (3.0, 4.0), (2.5, 4.5))]
    # φ_adv by rows, φ_real by columns: (2, 1) beats the second of the segment, (4, 4.25) the last.
    grid = {"axis": [0.0, 1.0], "adversarial": [[0.0, 2.25], [4.0, 0.5]], "realism": [[1.5, 2.5], [4.25, 5.0]]}
    found = extrapolation_front(grid, along)
    assert [(point["phi_adv"], point["phi_real"]) for point in found["extrapolated"]] == [(0, 0), (0, 1), (1, 0)]
    assert [point["adversarial"] for point in found["interpolated"]] == [1.0, 2.0, 3.0]
    assert found["interpolated"][1]["phi_adv"] == pytest.approx(1 / 3)
    assert (found["beaten"], found["points"]) == (2, 4)
    # Above R_adv 1 and P_real 4.5: 2 x ½ + 1 x 1; with the grid 3 x ¼ + 2 x ¼ + 1.25 x 1.5 (R_adv below 1 is worth 0).
    assert found["hypervolume"]["interpolated"] == pytest.approx(2 * 0.5 + 1 * 1.0)
    assert found["hypervolume"]["extrapolated"] == pytest.approx(3 * 0.25 + 2 * 0.25 + 1.25 * 1.5)
