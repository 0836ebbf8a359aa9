"""Who sees what, and how both lie to one another: in rows of one length on a GPU, or listed one by one on a CPU."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from harness.traffic.model.embeddings import Relation


class DenseEdges(NamedTuple):
    """Edges in rows of one length: N that look, K places each.

    Attributes:
        rows: [N, K] row of the source.
        relation: [N, K, R].
        mask: [N, K] whether there is one.
    """

    rows: Tensor
    relation: Tensor
    mask: Tensor

    def at(self, place: Tensor) -> DenseEdges:
        """The same edges, where row r of the source lies at `place[r]`."""
        return self._replace(rows=place[self.rows.clamp(min=0)])

    def of(self, which: Tensor) -> DenseEdges:
        """The edges of some [N] of those that look."""
        return DenseEdges(self.rows[which], self.relation[which], self.mask[which])


class ListedEdges(NamedTuple):
    """The E edges that exist, ordered by who looks.

    Attributes:
        rows: [E] row of the source.
        relation: [E, R].
        start: [N + 1] first edge of each that looks, and E.
    """

    rows: Tensor
    relation: Tensor
    start: Tensor

    def at(self, place: Tensor) -> ListedEdges:
        """The same edges, where row r of the source lies at `place[r]`."""
        return self._replace(rows=place[self.rows])

    def of(self, which: Tensor) -> ListedEdges:
        """The edges of some [N] of those that look."""
        counts = self.start.diff()
        kept = which.repeat_interleave(counts)
        return ListedEdges(self.rows[kept], self.relation[kept], starts(counts[which]))


Edges = DenseEdges | ListedEdges


def starts(counts: Tensor) -> Tensor:
    """Where the edges of each begin [N + 1], from their numbers [N]."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def link(rows: Tensor, mask: Tensor, source: Tensor, pose: Tensor, relation: Relation, *, aged: bool = False) -> Edges:
    """Edges from what is seen where.

    On a CPU those that exist are listed, unless numbers of less precision are computed with.

    Args:
        rows: [N, K] row of what is seen; anything where there is none.
        mask: [N, K] whether there is one.
        source: [M, 3] poses of what is seen.
        pose: [N, 3] poses of those that look.
        relation: Embedding of relative poses.
        aged: Whether place k holds what was k + 1 tokens ago.
    """
    if _lists(pose.device):
        who, place = mask.nonzero(as_tuple=True)
        row = rows[who, place]
        start = starts(mask.sum(1))
        age = (place + 1).to(pose.dtype) if aged else pose.new_zeros(len(row))
        return ListedEdges(row, relation.listed(source, row, pose, start, age), start)
    seen = source[rows.clamp(min=0)] if len(source) else pose[:, None].expand(-1, rows.shape[1], -1)
    ages = torch.arange(1, rows.shape[1] + 1, device=pose.device, dtype=pose.dtype) if aged else None
    return DenseEdges(rows, relation(seen, pose[:, None], ages), mask)


def selected(rows: Tensor, mask: Tensor, relation: Tensor) -> Edges:
    """Edges to what is seen by all that look at it from one place.

    Args:
        rows: [N, K] row of what is seen; anything where there is none.
        mask: [N, K] whether there is one.
        relation: [M, R] embedded relative poses, of every row.
    """
    if _lists(mask.device):
        row = rows[mask]
        return ListedEdges(row, relation[row], starts(mask.sum(1)))
    return DenseEdges(rows, relation[rows.clamp(min=0)], mask)


def _lists(device: torch.device) -> bool:
    """Whether edges are listed on a device."""
    return device.type == "cpu" and not torch.is_autocast_enabled("cpu")
