"""λ(μ), the gaps of theorems 1 and 2 on rewards that are solved by hand, and their quantities on real networks."""

import numpy as np
import pytest
import torch

from adversaries.sage.config import Recipe
from adversaries.sage.objectives import Values
from adversaries.sage.steering import flatten
from adversaries.sage.theory import (
    PREFERENCES,
    bends,
    coefficient_curve,
    curve_places,
    expected_rewards,
    gap_bound,
    gaps,
    quadratic,
    quadratic_gap,
    reward_gradients,
)
from tests.unit.adversaries.sage.toys import small_network


def group(adversarial: float, penalty: float) -> list[Values]:
    """One scene with one feasible candidate."""
    no, yes = np.array([False]), np.array([True])
    return [Values(np.array([adversarial]), np.array([penalty]), np.zeros(1), no, no, no, yes)]


def test_the_best_coefficient_by_hand() -> None:
    # R_adv = λ and P_real = λ²: for μ = ½ the best of the λ is ½ (⅛); λ = ¾ gives 3/32, λ = 1 nothing.
    groups = {x: group(x, x**2) for x in (0.0, 0.25, 0.5, 0.75, 1.0)}
    low, half, high = coefficient_curve(groups, 0.75, (0.25, 0.5, 0.75))
    assert half["choice"] == pytest.approx({"best": 0.5, "reward": 0.125, "equal": 0.0, "matched": 0.0})
    assert half["group"] == half["choice"]
    # λ(¼) is (¼ + ¾ - 1) / ½ = 0, and λ(¾) is 1.
    assert (low["matched"], high["matched"]) == (0.0, 1.0)
    # μ = ¼: λ / 4 - 3 λ² / 4 is 1/64 at λ = ¼ and 0 at λ = 0.
    assert low["choice"] == pytest.approx({"best": 0.25, "reward": 1 / 64, "equal": 0.0, "matched": 1 / 64})
    # μ = ¾: 3 λ / 4 - λ² / 4 is ½ at λ = 1 and 27/64 at λ = ¾.
    assert high["group"] == pytest.approx({"best": 1.0, "reward": 0.5, "equal": 5 / 64, "matched": 0.0})


def test_every_place_of_the_curve_is_asked_for() -> None:
    places = curve_places(0.9)
    for mu in PREFERENCES:
        assert min(abs(place - mu) for place in places) < 1e-9
        matched = min(max((mu - 0.1) / 0.8, 0.0), 1.0)
        assert min(abs(place - matched) for place in places) < 1e-9


def test_a_parabola_is_found() -> None:
    places = np.linspace(0, 1, 5)
    found = quadratic(places, 3.0 - 2.0 * (places - 0.25) ** 2)
    assert (found["curvature"], found["peak"], found["explained"]) == pytest.approx((4.0, 0.25, 1.0))
    assert np.isnan(quadratic(places, places**2)["peak"])


def quadratic_rewards(mu: float, beta: float, eta: float, apart: float) -> tuple[float, float]:
    """The gap by search in one dimension, with the pure optima at `apart` and 0; and the distance of the experts."""
    first, second = beta * apart, (1 - beta) * apart
    theta = np.linspace(-0.5 * apart, 1.5 * apart, 200_001)
    reward = -0.5 * eta * (mu * (theta - apart) ** 2 + (1 - mu) * theta**2)
    between = (theta >= second - 1e-12) & (theta <= first + 1e-12)
    return float(reward.max() - reward[between].max()), first - second


@pytest.mark.parametrize(("mu", "beta"), [(1.0, 0.9), (0.0, 0.9), (0.95, 0.75), (0.5, 0.9), (0.1, 0.9)])
def test_theorem_2_is_exact_for_quadratic_rewards(mu, beta) -> None:
    measured, distance = quadratic_rewards(mu, beta, eta=3.0, apart=2.0)
    assert quadratic_gap(mu, beta, 3.0, distance) == pytest.approx(measured, abs=1e-6)


def test_theorem_2_by_hand() -> None:
    # μ = 1 is 0.1 beyond β = 0.9; the experts are 0.8 of the pure optima's distance 2 apart: ½ · 3 · 0.01 · 4.
    assert quadratic_gap(1.0, 0.9, 3.0, 1.6) == pytest.approx(0.06)
    assert np.isnan(quadratic_gap(1.0, 0.9, -3.0, 1.6))


def test_theorem_1_by_hand_and_above_the_gap() -> None:
    # μ = ½: c_1 = c_2 = ½, L = m = 3, experts 1.6 apart: (½ · 3 · 1.6)² / (2 · 3).
    assert gap_bound(0.5, 0.9, (3.0, 3.0), (3.0, 3.0), 1.6) == pytest.approx(0.96)
    # μ = 1: c_1 = 0.9 / 0.8 is the larger; L_1 = 0.9 · 2 + 0.1 · 4, and R_adv alone bends.
    assert gap_bound(1.0, 0.9, (2.0, 4.0), (1.0, 0.5), 1.0) == pytest.approx((1.125 * 2.2) ** 2 / 2.0)
    # μ = 0: R_real alone, with L_2 = 0.1 · 2 + 0.9 · 4.
    assert gap_bound(0.0, 0.9, (2.0, 4.0), (1.0, 0.5), 1.0) == pytest.approx((1.125 * 3.8) ** 2 / 1.0)
    assert np.isnan(gap_bound(0.5, 0.9, (3.0, 3.0), (1.0, -0.1), 1.6))
    for mu in (0.0, 0.3, 1.0):
        measured, distance = quadratic_rewards(mu, 0.9, 3.0, 2.0)
        assert gap_bound(mu, 0.9, (3.0, 3.0), (3.0, 3.0), distance) >= measured


def test_bends_of_a_parabola() -> None:
    # ∇R = -(2 θ_1, 6 θ_2), along (3, 4) from the origin.
    step = np.array([3.0, 4.0])
    places = (0.0, 0.5, 1.0)
    slopes = [-np.array([2.0, 6.0]) * place * step for place in places]
    smooth, concave = bends(slopes, places, step)
    assert smooth == pytest.approx(np.hypot(6.0, 24.0) / 5.0)
    assert concave == pytest.approx((2.0 * 9 + 6.0 * 16) / 25.0)


def test_gradients_are_those_of_the_rewards(probe) -> None:
    weights = probe.between(0.4)
    slopes = reward_gradients(probe, weights)
    generator = torch.Generator().manual_seed(0)
    # Along the gradient the change is large against the rounding of single precision; kinks of the network remain.
    for side, slope in enumerate(slopes):
        way = torch.as_tensor(slope / np.linalg.norm(slope), dtype=torch.float32)
        way = way + 0.01 * torch.randn(len(way), generator=generator) / len(way) ** 0.5
        more, less = (expected_rewards(probe, weights + sign * 0.004 * way)[side] for sign in (1, -1))
        assert (more - less) / 0.008 == pytest.approx(float(slope @ way.double().numpy()), rel=0.05)


def test_rewards_of_one_sample_are_a_sum(probe) -> None:
    found = expected_rewards(probe, flatten(small_network(1)))
    log_probs = probe.log_probs(flatten(small_network(1)))
    by_hand = [np.exp(row) @ table.realism for row, table in zip(log_probs, probe.tables, strict=True)]
    assert found.real == pytest.approx(-np.mean(by_hand))
    assert found.at(0.25) == pytest.approx(0.25 * found.adv + 0.75 * found.real)


def test_gaps_of_networks(probe) -> None:
    # A "separately trained" network that is a mixture itself cannot be better than the best mixture.
    half = probe.between(0.5)
    found = gaps(probe, 0.9, {"half": (Recipe(0.5, 0.5), half)}, lambda *_: None, 3)
    step = flatten(small_network(1)) - flatten(small_network(2))
    assert found["distance"] == pytest.approx(float(step.norm()), rel=1e-4)
    assert (found["peaks"]["adv"], found["peaks"]["real"]) == pytest.approx((1.125, -0.125))
    (separate,) = found["separate"]
    assert separate["sample"]["gap"] <= 1e-6
    assert separate["group"]["gap"] <= 1e-6
    assert separate["sample"]["own"] == pytest.approx(expected_rewards(probe, half).at(0.5))
    assert [row["preference"] for row in found["rows"]] == list(PREFERENCES)
    assert all(row["measured"] >= 0 for row in found["rows"])
    # By hand for μ = 1: the best R_adv up to ½ beyond the experts, less the best between them.
    wide = [expected_rewards(probe, probe.between(x)).adv for x in np.linspace(-0.5, 1.5, 9)]
    assert found["rows"][-1]["measured"] == pytest.approx(max(wide) - max(wide[2:7]), abs=1e-7)
    assert found["gradients"]["adv_at_expert"] > 0
