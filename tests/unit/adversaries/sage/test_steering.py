"""Mixing by hand, and the soup's identities."""

import numpy as np
import pytest
import torch
from torch import nn

from adversaries.sage.steering import (
    Dial,
    PreferenceVectors,
    coefficient_at,
    extrapolated,
    flatten,
    matched_coefficient,
    mix_logits,
    mix_trajectories,
    preference_vectors,
    weights_at,
)
from harness.errors import ConfigError, WeightsError
from tests.unit.adversaries.sage.toys import small_network

VECTORS = PreferenceVectors(torch.tensor([1.0, 1.0]), torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0]))


@pytest.mark.parametrize(
    ("intensity", "extrapolation", "expected"),
    [
        (0.0, "vector", [1.0, 5.0]),
        (1.0, "vector", [3.0, 1.0]),
        (0.25, "vector", [1.5, 4.0]),
        (1.5, "vector", [4.0, 1.0]),  # one and a half times Δ_adv, nothing of Δ_real
        (-0.5, "vector", [1.0, 7.0]),
        (0.25, "direct", [1.5, 4.0]),
        (1.5, "direct", [4.0, -1.0]),  # eq. 6 takes half of Δ_real away
        (-0.5, "direct", [0.0, 7.0]),
    ],
)
def test_weights_by_hand(intensity, extrapolation, expected) -> None:
    assert weights_at(VECTORS, intensity, extrapolation).tolist() == expected


def test_general_extrapolation() -> None:
    assert extrapolated(VECTORS, 0.5, 1.0, -0.5).tolist() == [1.0 + 1.5 * 2, 1.0 + 0.0 * 4]


def test_soup_identities() -> None:
    reference, adv, real = (small_network(seed) for seed in range(3))
    dial = Dial(small_network(9), preference_vectors(reference, adv, real))
    for intensity, expert in ((0.0, real), (1.0, adv), (0.0, real)):
        torch.testing.assert_close(flatten(dial.turn(intensity)), flatten(expert), atol=1e-6, rtol=1e-6)
    half = {name: (adv.state_dict()[name] + real.state_dict()[name]) / 2 for name in adv.state_dict()}
    for name, value in dial.turn(0.5).state_dict().items():
        torch.testing.assert_close(value, half[name], atol=1e-6, rtol=1e-6)


def test_the_dial_moves_the_network_itself() -> None:
    layer = nn.Linear(2, 1)
    vectors = PreferenceVectors(torch.zeros(3), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([10.0, 0.0, 0.0]))
    dial = Dial(layer, vectors)
    data = torch.tensor([[1.0, 1.0]])
    assert float(dial.turn(1.0)(data)) == 6.0
    assert float(dial.turn(0.0)(data)) == 10.0
    assert float(dial.turn(0.5)(data)) == 8.0
    assert float(dial.put(torch.tensor([1.0, 0.0, 0.0]))(data)) == 1.0
    assert float(dial.turn(0.5)(data)) == 8.0  # `put` does not leave a stale λ behind


def test_experts_of_another_architecture_are_refused() -> None:
    with pytest.raises(WeightsError, match="one prior"):
        preference_vectors(nn.Linear(2, 1), nn.Linear(2, 1), nn.Linear(3, 1))
    with pytest.raises(ConfigError, match="extrapolation"):
        Dial(nn.Linear(2, 1), VECTORS, "sideways")  # type: ignore[arg-type]


def test_logits_mix_geometrically() -> None:
    real, adv = (torch.log(torch.tensor(row)) for row in ([0.8, 0.2], [0.2, 0.8]))
    torch.testing.assert_close(mix_logits(real, adv, 0.5).exp(), torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(mix_logits(real, adv, 0.0), real)
    torch.testing.assert_close(mix_logits(real, adv, 1.0), adv)
    # 0.8^0.75 0.2^0.25 against 0.2^0.75 0.8^0.25 is 2 to 1.
    torch.testing.assert_close(mix_logits(real, adv, 0.25).exp(), torch.tensor([2 / 3, 1 / 3]))


def test_trajectories_mix_and_headings_turn_the_short_way() -> None:
    real = np.array([[0.0, 0.0, 3.0, 1.0, 0.0]])
    adv = np.array([[4.0, 2.0, -3.0, 3.0, 0.0]])
    mixed = mix_trajectories(real, adv, 0.25)
    np.testing.assert_allclose(mixed[0, [0, 1, 3, 4]], [1.0, 0.5, 1.5, 0.0])
    np.testing.assert_allclose(mixed[0, 2], 3.0 + 0.25 * (2 * np.pi - 6))
    np.testing.assert_allclose(mix_trajectories(real, adv, 1.0), adv)


@pytest.mark.parametrize(
    ("preference", "expected"), [(0.0, 0.0), (0.1, 0.0), (0.3, 0.25), (0.5, 0.5), (0.7, 0.75), (0.9, 1.0), (1.0, 1.0)]
)
def test_the_matched_coefficient_by_hand(preference, expected) -> None:
    # (μ + 0.9 - 1) / 0.8.
    assert matched_coefficient(preference, 0.9) == pytest.approx(expected)
    assert matched_coefficient(preference, 1.0) == preference


def test_theorem_2_puts_the_mixture_where_the_optimum_is() -> None:
    # Optima of one weight: realism at 0, adversariality at 8; experts with w* = ¾ at 6 and 2 (eq. 25).
    vectors = PreferenceVectors(torch.zeros(1), torch.tensor([6.0]), torch.tensor([2.0]))
    for preference in (0.25, 0.5, 0.625, 0.75):
        place = matched_coefficient(preference, 0.75)
        assert float(weights_at(vectors, place)) == pytest.approx(8.0 * preference)


def test_beyond_the_experts_the_coefficient_is_the_intensity() -> None:
    assert [coefficient_at(x, "matched", 0.9) for x in (-0.5, 0.0, 0.3, 1.0, 1.5)] == pytest.approx(
        [-0.5, 0.0, 0.25, 1.0, 1.5]
    )
    assert coefficient_at(0.3, "equal", 0.9) == 0.3
    for weight in (0.5, 1.1):
        with pytest.raises(ConfigError, match="w\\*"):
            matched_coefficient(0.5, weight)
