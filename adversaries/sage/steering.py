"""Steering at test time: mixing two experts in weight space (SAGE), and the two rivals that mix outputs.

Paper: section 3.3 (eq. 6), appendix B.3 (eq. 14 to 16), appendix B.1 (trajectory and logit mixing). λ = 0 is the
realism expert, λ = 1 the adversarial one, everything between a mixture, everything beyond an extrapolation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.errors import ConfigError, WeightsError
from harness.geometry import wrap_angle
from harness.interfaces import HEADING

Floats = NDArray[np.float64]
Extrapolation = Literal["vector", "direct"]
Mixing = Literal["weights", "logits", "trajectories"]
Coefficient = Literal["equal", "matched"]
MIXINGS: Final[tuple[Mixing, ...]] = get_args(Mixing)
COEFFICIENTS: Final[tuple[Coefficient, ...]] = get_args(Coefficient)


def matched_coefficient(preference: float, expert_weight: float) -> float:
    """λ(μ) = (μ + β - 1) / (2 β - 1), eq. 27, clipped to [0, 1]: where theorem 2 has the optimum for a preference.

    It is exact where both rewards are quadratic with equal curvature. For β = 1 it is μ itself.

    Args:
        preference: μ, the user's weight of R_adv.
        expert_weight: β of appendix C, the weight w* of eq. 5 with which the experts were aligned, in (0.5, 1]. (It is
            not the β of HGPO's loss.)

    Raises:
        ConfigError: The experts' weight is out of range: at 0.5 both experts want the same.
    """
    if not 0.5 < expert_weight <= 1.0:
        raise ConfigError(f"sage: expected experts with a weight w* in (0.5, 1], got {expert_weight:g}.")
    place = (preference + expert_weight - 1.0) / (2.0 * expert_weight - 1.0)
    # Without the rounding of the division: candidates are kept by λ.
    return min(max(round(place, 12), 0.0), 1.0)


def coefficient_at(intensity: float, coefficient: Coefficient, expert_weight: float) -> float:
    """λ for an intensity: itself (`equal`), or within [0, 1] that of eq. 27 (`matched`).

    Beyond [0, 1] μ stays at its end and λ extrapolates, so that both agree there.
    """
    if coefficient == "equal" or not 0.0 <= intensity <= 1.0:
        return intensity
    return matched_coefficient(intensity, expert_weight)


def flatten(module: nn.Module) -> Tensor:
    """Every parameter of a module as one float32 vector (a copy)."""
    return torch.cat([parameter.detach().reshape(-1).float() for parameter in module.parameters()])


class PreferenceVectors(NamedTuple):
    """What alignment added to the reference, eq. 14: Δ = θ_expert - θ_ref, flat vectors [P]."""

    reference: Tensor
    adv: Tensor
    real: Tensor


def preference_vectors(reference: nn.Module, adv: nn.Module, real: nn.Module) -> PreferenceVectors:
    """Eq. 14.

    Raises:
        WeightsError: The three are not of one architecture.
    """
    flat = [flatten(module) for module in (reference, adv, real)]
    if len({len(vector) for vector in flat}) != 1:
        raise WeightsError(
            f"experts cannot be mixed: the prior has {len(flat[0])} weights, the adversarial expert {len(flat[1])}, "
            f"the realism expert {len(flat[2])}. Experts must come from one prior (python -m harness.train_experts)."
        )
    return PreferenceVectors(flat[0], flat[1] - flat[0], flat[2] - flat[0])


def extrapolated(vectors: PreferenceVectors, base: float, phi_adv: float, phi_real: float) -> Tensor:
    """Eq. 16: θ(base) + φ_adv Δ_adv + φ_real Δ_real, with θ(base) the interpolation of eq. 15."""
    adv, real = base + phi_adv, 1.0 - base + phi_real
    return vectors.reference + adv * vectors.adv + real * vectors.real


def weights_at(vectors: PreferenceVectors, intensity: float, extrapolation: Extrapolation = "vector") -> Tensor:
    """θ(λ) [P]: eq. 6 within [0, 1]; beyond, by `vector` (eq. 16 from the nearer expert along its own Δ) or `direct`.

    Args:
        vectors: Reference and preference vectors.
        intensity: λ.
        extrapolation: `direct` continues eq. 6 as it stands, which the paper finds unstable.
    """
    if extrapolation == "direct":
        return extrapolated(vectors, intensity, 0.0, 0.0)
    inside = min(max(intensity, 0.0), 1.0)
    return extrapolated(vectors, inside, max(intensity - 1.0, 0.0), max(-intensity, 0.0))


class Dial:
    """A network whose weights follow λ, in place.

    All parameters are views of one flat buffer, so that a change of λ is two fused vector operations, whatever the
    number of layers.
    """

    def __init__(
        self,
        module: nn.Module,
        vectors: PreferenceVectors,
        extrapolation: Extrapolation = "vector",
        weights: Callable[[float], Tensor] | None = None,
    ) -> None:
        """Take over `module`'s parameters.

        Args:
            module: The network.
            vectors: Reference and preference vectors.
            extrapolation: See `weights_at`.
            weights: The weights [P] at λ where they are not those of `weights_at`.

        Raises:
            ConfigError: Unknown extrapolation.
        """
        if extrapolation not in get_args(Extrapolation):
            raise ConfigError(f"sage: expected extrapolation vector or direct, got {extrapolation!r}.")
        self.module, self.extrapolation = module, extrapolation
        self._weights = weights or partial(weights_at, vectors, extrapolation=extrapolation)
        self._flat = vectors.reference.clone()
        self._at: float | None = None
        offset = 0
        for parameter in module.parameters():
            parameter.requires_grad_(False)
            count = parameter.numel()
            parameter.data = self._flat[offset : offset + count].view_as(parameter)
            offset += count

    def turn(self, intensity: float) -> nn.Module:
        """Set the weights to θ(λ) and return the module."""
        if intensity != self._at:
            self.put(self._weights(intensity))
            self._at = intensity
        return self.module

    def put(self, weights: Tensor) -> nn.Module:
        """Set the weights to any flat vector [P]."""
        self._flat.copy_(weights)
        self._at = None
        return self.module


def mix_logits(real: Tensor, adv: Tensor, intensity: float) -> Tensor:
    """Log-probabilities [..., G] of g(λ) = (1 - λ) g_real + λ g_adv (multi-objective decoding).

    Args:
        real, adv: [..., G] log-probabilities (logits up to a constant that the normalisation removes).
        intensity: λ.
    """
    return torch.log_softmax((1.0 - intensity) * real + intensity * adv, -1)


def mix_trajectories(real: Floats, adv: Floats, intensity: float) -> Floats:
    """τ(λ) = (1 - λ) τ_real + λ τ_adv, states [..., T, 5]; headings turn the shorter way."""
    mixed = (1.0 - intensity) * real + intensity * adv
    mixed[..., HEADING] = wrap_angle(
        real[..., HEADING] + intensity * wrap_angle(adv[..., HEADING] - real[..., HEADING])
    )
    return mixed
