"""Proposition 1 on models that are solved by hand."""

import numpy as np
import pytest

from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.bank import build_bank
from adversaries.sage.experts import Experts
from adversaries.sage.landscape import Probe
from adversaries.sage.objectives import Values
from adversaries.sage.proposition import ListedPaths, ideal, listed_paths, proposition, propositions, square_loss
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.sage.toys import small_network, small_prior

PLACES = np.linspace(0.0, 1.0, 5)


def path(x: float) -> np.ndarray:
    """One step at (x, 0) m."""
    return np.array([[x, 0.0]])


def test_outputs_that_follow_the_weights_leave_no_difference() -> None:
    # f(λ) = 4 λ, y = 1: L = ½ (4 λ - 1)², d²L/dλ² = 16 = |Δf|², so that both terms cancel.
    found = proposition({x: [path(4 * x)] for x in PLACES}, [path(1.0)])
    assert [row["intensity"] for row in found] == [0.25, 0.5, 0.75]
    middle = found[1]
    assert (middle["weights"], middle["outputs"], middle["difference"]) == pytest.approx((0.5, 0.5, 0.0))
    assert (middle["curvature"], middle["diversity"]) == pytest.approx((-0.125 * 16, 0.125 * 16))
    assert [row["predicted"] for row in found] == pytest.approx([0.0] * 3)


def test_a_bend_of_the_weights_costs_what_the_loss_says() -> None:
    # f(λ) = λ (1 - λ) 4 with equal ends: the mixed outputs stay at 0, the mixed weights go to 1 in the middle.
    found = proposition({x: [path(4 * x * (1 - x))] for x in PLACES}, [path(1.0)])
    middle = found[1]
    assert (middle["weights"], middle["outputs"], middle["difference"]) == pytest.approx((0.0, 0.5, -0.5))
    assert middle["diversity"] == 0.0
    # L is ½ (4 λ (1 - λ) - 1)²: 0 in the middle and ½ / 16 at both neighbours, a quarter of λ away.
    assert middle["curvature"] == pytest.approx(-0.125 * (2 * 0.5 / 16) / 0.25**2)


def test_losses_are_means_over_steps_and_scenes() -> None:
    two = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert square_loss([two, path(2.0)], [np.zeros((2, 2)), path(0.0)]) == pytest.approx((12.5 / 2 + 2.0) / 2)


def test_the_ideal_is_the_best_feasible_future() -> None:
    off = np.array([False, False, True])
    clear = np.zeros(3, bool)
    values = Values(np.array([0.0, 4.0, 9.0]), np.array([1.0, 3.0, 1.0]), np.zeros(3), off, clear, clear, ~clear)
    futures = ListedPaths(np.zeros((3, 1, 2), np.float32), values)
    assert [ideal(futures, mu) for mu in (0.0, 0.25, 1.0)] == [0, 0, 1]
    everywhere = ListedPaths(futures.paths, values.take([2, 2, 2]))
    assert ideal(everywhere, 1.0) == 0  # nothing is feasible: the best of all


def test_on_networks() -> None:
    experts = Experts(small_prior(0), small_network(1), small_network(2), {})
    scenes = [straight_road(scene_id="a"), crossing(scene_id="b")]
    probe = Probe(experts, build_bank(scenes, GoalBackbone(experts.prior)))
    futures = [listed_paths(probe, scene, index) for index, scene in enumerate(scenes)]
    assert futures[0].paths.shape == (len(probe.tables[0].hits), 80, 2)
    rows = propositions(probe, futures, (0.5,))["0.5"]
    # λ = ½ by hand: mean paths of the mixture, of both experts, and the future that is wanted.
    means = {
        place: [np.tensordot(np.exp(row), one.paths, 1) for row, one in zip(log_probs, futures, strict=True)]
        for place in (0.0, 0.5, 1.0)
        if (log_probs := probe.log_probs(probe.between(place)))
    }
    wanted = [one.paths[ideal(one, 0.5)] for one in futures]
    middle = rows[4]
    assert middle["weights"] == pytest.approx(square_loss(means[0.5], wanted))
    both = [(first + second) / 2 for first, second in zip(means[0.0], means[1.0], strict=True)]
    assert middle["outputs"] == pytest.approx(square_loss(both, wanted))
