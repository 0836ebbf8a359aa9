"""Attention along edges, with relative positions on keys and values, gated as in SMART (QCNet).

SMART projects the relative embedding r of an edge to a key and a value in every layer. Here r itself, shared by the
layers of one kind of edge, is added to the key and to the value of the neighbour: what costs most on a CPU is then one
compiled pass along the edges. Queries still meet it (q·(k + r)), and the output projection still mixes it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.traffic.model import compiled
from harness.traffic.model.edges import DenseEdges, Edges


class RelativeAttention(nn.Module):
    """One attention layer with its feed-forward block.

    Args:
        hidden: Width, also of the relative embedding.
        heads: Number of heads.
        dropout: Dropout of the outputs of both blocks.
    """

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.width = heads, hidden // heads
        self.norm_query, self.norm_source = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.query = nn.Linear(hidden, hidden)
        self.key_value = nn.Linear(hidden, 2 * hidden)
        self.gate, self.own = nn.Linear(2 * hidden, hidden), nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, hidden)
        self.norm_out, self.norm_feed = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.feed = nn.Sequential(nn.Linear(hidden, 4 * hidden), nn.ReLU(), nn.Linear(4 * hidden, hidden))
        self.dropout = nn.Dropout(dropout)

    def keys(self, source: Tensor) -> Tensor:
        """Keys and values [M, 2·hidden] of the features [M, hidden] that are looked at."""
        return self.key_value(self.norm_source(source))

    def forward(self, x: Tensor, source: Tensor, edges: Edges) -> Tensor:
        """New features.

        Args:
            x: [N, hidden] features that look.
            source: [M, 2·hidden] from `keys`.
            edges: Who sees which of the M.

        Returns:
            [N, hidden].
        """
        normed = self.norm_query(x)
        query = self.query(normed)
        if isinstance(edges, DenseEdges):
            found = self._attend(query, source, edges)
        else:
            found = compiled.attend(query, source, edges.relation, edges.rows, edges.start, self.heads)
        gate = torch.sigmoid(self.gate(torch.cat([found, normed], -1)))
        found = found + gate * (self.own(normed) - found)
        x = x + self.norm_out(self.dropout(self.out(found)))
        return x + self.dropout(self.feed(self.norm_feed(x)))

    def _attend(self, query: Tensor, source: Tensor, edges: DenseEdges) -> Tensor:
        """As `harness.traffic.model.compiled.attend`, by one fused pass over rows of one length."""
        rows, relation, mask = edges
        (count, near), hidden = mask.shape, query.shape[-1]
        gathered = source.index_select(0, rows.clamp(min=0).flatten()).view(count, near, 2 * hidden)
        own_key, own_value = gathered.split(hidden, -1)
        key = (own_key + relation).view(count, near, self.heads, self.width).transpose(1, 2)
        value = (own_value + relation).view(count, near, self.heads, self.width).transpose(1, 2)
        some = mask.any(1, keepdim=True)
        query = query.view(count, self.heads, 1, self.width)
        # Attention over nothing is undefined: look at anything, and forget it.
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=(mask | ~some)[:, None, None])
        return found.reshape(count, hidden) * some


class Layer(nn.Module):
    """Temporal, map-to-agent and agent-to-agent attention, one after another."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.past = RelativeAttention(hidden, heads, dropout)
        self.map = RelativeAttention(hidden, heads, dropout)
        self.agents = RelativeAttention(hidden, heads, dropout)
