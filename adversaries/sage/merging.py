"""Merging more than two experts, and better than by a straight line: pure functions on dictionaries of weights.

A *task vector* is what alignment added to the reference, Δ = θ_expert - θ_reference (Ilharco et al., "Editing Models
with Task Arithmetic", ICLR 2023; SAGE's preference vectors, eq. 14). It is a dictionary from the name of a layer to the
layer's weights. Every function takes the task vectors of M experts and their shares, M numbers ≥ 0 with the sum 1: a
point of the simplex, at whose corners the experts are.

Task vectors can be added only where all experts started from one reference. Networks that were trained apart may hold
the same function with their hidden units in another order (Ainsworth et al., "Git Re-Basin", ICLR 2023), so that sums
of their weights mean nothing. Files of experts name their reference, and an expert of another one is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from adversaries.sage.merging_config import DENSITY
from harness.errors import ConfigError

Layers = Mapping[str, Tensor]
Merge = Literal["linear", "ties", "task", "geodesic"]
MERGES: Final[tuple[Merge, ...]] = get_args(Merge)

ROUNDS: Final = 50
"""Most rounds of the search for a spherical mean."""
CLOSE: Final = 1e-9
"""Angles and lengths below this are nought."""


def split(module: nn.Module, flat: Tensor) -> dict[str, Tensor]:
    """A flat vector [P] of a module's weights by layer: the weights and biases of one sub-module are one layer.

    The layers follow one another as in the vector, so that their concatenation is the vector again.
    """
    sizes: dict[str, int] = {}
    for name, parameter in module.named_parameters():
        layer = name.rpartition(".")[0] or name
        sizes[layer] = sizes.get(layer, 0) + parameter.numel()
    return dict(zip(sizes, flat.split(list(sizes.values())), strict=True))


def join(layers: Layers) -> Tensor:
    """The flat vector [P] of layers."""
    return torch.cat([layer.reshape(-1) for layer in layers.values()])


def linear(tasks: Sequence[Layers], shares: Sequence[float]) -> dict[str, Tensor]:
    """Σ share_i Δ_i: the straight line between two experts (SAGE's eq. 6), the plane of three."""
    return {name: _weighted([task[name] for task in tasks], shares) for name in tasks[0]}


def arithmetic(
    tasks: Sequence[Layers], shares: Sequence[float], coefficients: Sequence[Mapping[str, float]]
) -> dict[str, Tensor]:
    """Task arithmetic with a coefficient per expert and layer: Σ share_i c_i,l Δ_i,l.

    Ilharco et al. (ICLR 2023) scale the sum of task vectors by one coefficient, which they choose on held-out data.
    Yang et al. ("AdaMerging", ICLR 2024) have one per layer and task, and learn them.

    Args:
        tasks: Task vectors.
        shares: A share each.
        coefficients: By expert, c of every layer; 1 where a layer is not named.
    """
    scaled = [
        {name: own.get(name, 1.0) * layer for name, layer in task.items()}
        for task, own in zip(tasks, coefficients, strict=True)
    ]
    return linear(scaled, shares)


def trim(task: Layers, density: float) -> dict[str, Tensor]:
    """The first step of TIES: the largest weights of a task vector, by magnitude over all its layers; others are 0.

    Args:
        task: Task vector.
        density: Share of the weights that are kept, in (0, 1]. Equals of the smallest kept one are kept, too.
    """
    flat = join(task).abs()
    kept = max(round(density * len(flat)), 1)
    # A layer that alignment never moves is nought anyway.
    least = flat.kthvalue(len(flat) - kept + 1).values
    return {name: torch.where(layer.abs() >= least, layer, 0.0) for name, layer in task.items()}


def ties(trimmed: Sequence[Layers], shares: Sequence[float]) -> dict[str, Tensor]:
    """The second and third step of TIES: elect a sign for every weight, and average whoever agrees with it.

    Yadav et al., "TIES-Merging: Resolving Interference When Merging Models", NeurIPS 2023, section 4. With equal shares
    it is theirs: the sign is that of the sum, and the mean is over the experts that kept this weight with that sign.
    With others both are weighted. An expert without a share has no say, so that at a corner of the simplex the merged
    vector is that expert's trimmed one. Beside a corner, however small the share of another expert, it alone decides
    about the weights that the first one did not keep: the path jumps there, unless all weights are kept.

    Args:
        trimmed: Task vectors after `trim`.
        shares: A share each.
    """
    merged = {}
    for name in trimmed[0]:
        stacked = torch.stack([task[name] for task in trimmed])
        weight = torch.tensor(shares, dtype=stacked.dtype).reshape(-1, *[1] * (stacked.ndim - 1))
        elected = (weight * stacked).sum(0).sign()
        agree = weight * ((stacked.sign() == elected) & (elected != 0))
        merged[name] = (agree * stacked).sum(0) / agree.sum(0).clamp_min(torch.finfo(stacked.dtype).tiny)
    return merged


def geodesic(tasks: Sequence[Layers], shares: Sequence[float]) -> dict[str, Tensor]:
    """Task vectors turned along a sphere, layer by layer; their lengths are averaged.

    For two experts the direction is that of spherical linear interpolation (Shoemake, "Animating Rotation with
    Quaternion Curves", SIGGRAPH 1985), which Ramé et al. ("WARP", 2024) use on the task vectors of aligned policies
    layer by layer. For more it is the weighted mean on the sphere (Buss and Fillmore, "Spherical Averages", ACM
    Transactions on Graphics 2001), which does not depend on the experts' order. A straight line cuts the corner: the
    mean of two vectors of equal length at 63° is 15 % shorter.

    Where a direction is not defined (a layer that some expert with a share left as it was, or directions whose mean is
    nought), the layer is merged by a straight line.
    """
    merged = {}
    present = [i for i, share in enumerate(shares) if share > 0]
    part = [shares[i] for i in present]
    for name in tasks[0]:
        flat = torch.stack([tasks[i][name].reshape(-1) for i in present])
        length = torch.linalg.vector_norm(flat.double(), dim=-1)
        mixture = part
        if (length > CLOSE).all():
            unit = flat.double() / length[:, None]
            turned = spherical_mean((unit @ unit.T).numpy(), np.asarray(part))
            if turned is not None:
                size = float(torch.tensor(part, dtype=length.dtype) @ length)
                mixture = [size * one / float(long) for one, long in zip(turned, length, strict=True)]
        merged[name] = _weighted(list(flat), mixture).reshape(tasks[0][name].shape)
    return merged


def spherical_mean(cosines: np.ndarray, shares: np.ndarray) -> list[float] | None:
    """The weighted mean on the unit sphere as a combination of the unit vectors that are averaged.

    Args:
        cosines: [M, M] inner products of the unit vectors.
        shares: [M], with the sum 1.

    Returns:
        M coefficients of the unit vectors, or None where the mean is not defined.
    """
    mean = np.asarray(shares, dtype=np.float64)
    for _ in range(ROUNDS):
        length = np.sqrt(max(mean @ cosines @ mean, 0.0))
        if length < CLOSE:
            return None
        mean = mean / length
        towards = np.clip(cosines @ mean, -1.0, 1.0)
        angle = np.arccos(towards)
        if (np.pi - angle < CLOSE).any():
            return None
        # Each vector seen from the mean along the sphere: (u - cos(a) m) a / sin(a).
        pull = shares * np.where(angle < CLOSE, 1.0, angle / np.maximum(np.sin(angle), CLOSE))
        step = pull - (pull @ towards) * mean
        far = np.sqrt(max(step @ cosines @ step, 0.0))
        if far < CLOSE:
            break
        mean = np.cos(far) * mean + np.sin(far) * step / far
    return [float(one) for one in mean]


def simplex(parts: int, experts: int) -> list[tuple[float, ...]]:
    """Every point of the simplex whose shares are multiples of 1/`parts`, the corners included."""
    if experts == 1:
        return [(1.0,)]
    found = []
    for first in range(parts, -1, -1):
        rest = parts - first
        inner = simplex(rest, experts - 1) if rest else [(0.0,) * (experts - 1)]
        found += [(first / parts, *(share * rest / parts for share in point)) for point in inner]
    return found


def check_shares(shares: Sequence[float]) -> None:
    """Refuse what is no point of a simplex.

    Raises:
        ConfigError: A share is negative, or they do not add up to 1.
    """
    if min(shares) < 0 or abs(sum(shares) - 1.0) > 1e-6:
        raise ConfigError(f"merging: expected shares >= 0 with the sum 1, got {', '.join(f'{x:g}' for x in shares)}.")


@dataclass(frozen=True)
class Merger:
    """A way of merging given experts: weights for any point of their simplex.

    Attributes:
        reference: The reference's weights by layer.
        tasks: Task vectors, one per expert.
        merge: How they are merged.
        density: Share of the weights that TIES keeps, in (0, 1].
        coefficients: By expert, c of every layer (`task`); 1 where a layer is not named.

    Raises:
        ConfigError: An option cannot work.
    """

    reference: Layers
    tasks: tuple[Layers, ...]
    merge: Merge = "linear"
    density: float = DENSITY
    coefficients: tuple[Mapping[str, float], ...] = ()
    _trimmed: tuple[Layers, ...] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        if self.merge not in MERGES:
            raise ConfigError(f"sage: expected merge to be one of {', '.join(MERGES)}, got {self.merge!r:.80}.")
        if not 0.0 < self.density <= 1.0:
            raise ConfigError(f"sage: expected a density in (0, 1], got {self.density:g}.")
        if self.merge == "task" and len(self.coefficients) != len(self.tasks):
            raise ConfigError(
                f"sage: merge=task needs coefficients of {len(self.tasks)} experts, got {len(self.coefficients)}. "
                "`sage_analysis` fits them and writes them to a file, which `coefficients=FILE` names."
            )
        for own in self.coefficients:
            if unknown := sorted(set(own) - set(self.reference)):
                raise ConfigError(f"sage: coefficients of layers that the network does not have: {unknown[0]!r:.80}.")
        if self.merge == "ties":
            object.__setattr__(self, "_trimmed", tuple(trim(task, self.density) for task in self.tasks))

    @cached_property
    def identity(self) -> str:
        """A check sum of everything that decides the weights."""
        weights = b"".join(join(layers).numpy().tobytes() for layers in (self.reference, *self.tasks))
        options = json.dumps([self.merge, self.density, [dict(own) for own in self.coefficients]])
        return hashlib.sha256(weights + options.encode()).hexdigest()

    def task(self, shares: Sequence[float]) -> dict[str, Tensor]:
        """The merged task vector at a point of the simplex.

        Raises:
            ConfigError: It is none.
        """
        check_shares(shares)
        if self.merge == "ties":
            return ties(self._trimmed, shares)
        if self.merge == "task":
            return arithmetic(self.tasks, shares, self.coefficients)
        return (geodesic if self.merge == "geodesic" else linear)(self.tasks, shares)

    def weights(self, shares: Sequence[float]) -> Tensor:
        """The merged weights [P] at a point of the simplex.

        Raises:
            ConfigError: It is none.
        """
        return join(self.reference) + join(self.task(shares))

    def dialled(self, intensity: float, third: float = 0.0) -> Tensor:
        """The weights [P] at λ, for experts in the order adversarial, realistic, and perhaps a third one.

        Within [0, 1] the shares are (1 - ρ) λ, (1 - ρ) (1 - λ) and ρ. Beyond, whatever is merged at the nearer end is
        left and the task vector of that end's expert, as this way of merging has it, is followed on (eq. 16).

        Args:
            intensity: λ.
            third: ρ, the third expert's share.
        """
        inside = min(max(intensity, 0.0), 1.0)
        shares = [(1.0 - third) * inside, (1.0 - third) * (1.0 - inside), third][: len(self.tasks)]
        found = self.weights(shares)
        beyond = abs(intensity - inside)
        if beyond == 0.0:
            return found
        corner = [1.0, 0.0, 0.0] if intensity > 1.0 else [0.0, 1.0, 0.0]
        return found + beyond * join(self.task(corner[: len(self.tasks)]))


def _weighted(vectors: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    total = shares[0] * vectors[0]
    for share, vector in zip(shares[1:], vectors[1:], strict=True):
        total = total + share * vector
    return total
