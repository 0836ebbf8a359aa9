"""Losses of the InfGen-like model, one function per part, on logits and labels.

Weights and shares are those of InfGen's code (`InfGenLossOptions`). Not followed: the map tokens that it also predicts
(the trunk is RosettaSim's, which does not), and the shares .9 of nobody and .1 of somebody in the states of queries
that its configuration `ours_long_term` has. Its loop takes the most probable state: with them nobody would enter who is
not nearly certain to. The other configurations have .1 and .9, which is the default here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.traffic.infgen.config import InfGenLossOptions

STAYING = 0.1
"""Share of those who stay in the loss of who leaves (InfGen's `state_weight`)."""


def shared_entropy(logits: Tensor, labels: Tensor, shares: Sequence[float], count: Tensor | None = None) -> Tensor:
    """Mean cross-entropy in which every class has a share; 0 of nothing.

    Args:
        logits: [n, C].
        labels: [n].
        shares: C weights.
        count: [n] for how many each stands; None for one.
    """
    weight = logits.new_tensor(shares)[labels]
    weight = weight if count is None else weight * count
    found = F.cross_entropy(logits, labels, reduction="none")
    return (weight * found).sum() / weight.sum().clamp(min=1e-9)


def state_loss(logits: Tensor, enters: Tensor, queries: Tensor, options: InfGenLossOptions) -> Tensor:
    """Whether somebody enters by queries.

    A decision has as many queries as InfGen has seeds. All that come after the last newcomer know of the same others
    and are equal, so that one of them is computed and stands for all.

    Args:
        logits: [n, 2].
        enters: [n] whether somebody does.
        queries: [n] for how many queries each stands.
        options: Shares of classes.
    """
    return shared_entropy(logits, enters.long(), (1 - options.enters, options.enters), queries)


def leave_loss(logits: Tensor, leaves: Tensor, options: InfGenLossOptions) -> Tensor:
    """Who is gone at the next decision: logits [n, 2], labels [n]."""
    return shared_entropy(logits, leaves, (STAYING, options.leaves))


def kind_loss(logits: Tensor, kinds: Tensor, options: InfGenLossOptions) -> Tensor:
    """Types of newcomers: logits [n, 3], labels [n]."""
    rest = (1 - options.vehicles) / 2
    return shared_entropy(logits, kinds, (options.vehicles, rest, rest))


def place_loss(logits: Tensor, cells: Tensor, spread: float) -> Tensor:
    """Cells of newcomers: logits [n, C], labels [n], of which a share is spread over all cells; 0 of nothing."""
    return F.cross_entropy(logits, cells, label_smoothing=spread, reduction="sum") / max(len(cells), 1)


def squared_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of [n, k]; 0 of nothing."""
    return (found - wanted).square().sum() / max(wanted.numel(), 1)


def occupancy_loss(logits: Tensor, taken: Tensor, more: float, queries: Tensor) -> Tensor:
    """Which cells are taken: mean binary cross-entropy over cells.

    Args:
        logits: [n, C].
        taken: [n, C] whether each cell is.
        more: How much more a taken cell counts.
        queries: [n] for how many queries each row stands.
    """
    found = F.binary_cross_entropy_with_logits(
        logits, taken.to(logits.dtype), reduction="none", pos_weight=logits.new_tensor(more)
    )
    return (found.mean(-1) * queries).sum() / queries.sum().clamp(min=1)


def taken_cells(grid: Tensor, known: Tensor, count: int) -> Tensor:
    """Which of `count` cells [n, count] are among grid tokens [n, K], of which those known [n, K] count."""
    table = torch.zeros(len(grid), count + 1, dtype=torch.bool, device=grid.device)
    table.scatter_(1, torch.where(known, grid, count), True)
    return table[:, :-1]


def total_loss(parts: dict[str, Tensor], options: InfGenLossOptions) -> Tensor:
    """The weighted sum of all parts."""
    weights = {
        "motion": options.motion,
        "leave": options.state,
        "state": options.state,
        "kind": options.kind,
        "shape": options.shape,
        "place": options.place,
        "taken": options.occupancy,
        "mapped": options.occupancy,
        "heading": options.heading,
        "offset": options.offset,
    }
    return torch.stack([weights[name] * value for name, value in parts.items()]).sum()
