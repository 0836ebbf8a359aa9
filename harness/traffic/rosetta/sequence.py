"""The structured sequence of a decision, [agents, motion, map, layout, newcomers], and what is to be predicted in it.

Paper: RosettaSim, section 4.2 and equation 8. One decision is one sequence: nothing is carried over from the decision
before but what the agents' own features know. The paper leaves open, and this is ours, besides what
`harness.traffic.open.decisions` says: newcomers are numbered after the agents (J of them after N), so that nobody
shares an index; the end of the newcomers is predicted and never read, as nothing comes after it; whoever has left after
the motion has no layout token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import torch
from torch import Tensor

from harness.traffic.open.decisions import NONE, UNSCORED, DecisionBatch, Decisions, join_decisions
from harness.traffic.tokens.layout import END

PARTS: Final = 3
"""Tokens of a newcomer: type, grid, yaw."""


@dataclass(frozen=True, slots=True, eq=False)
class SequenceBatch(DecisionBatch):
    """Decisions of several scenes as sequences. B sequences of length L = 3N + M + 3J + 1."""

    @property
    def parts(self) -> dict[str, slice]:
        """Where in the sequence the agents, their motion, the map, their layout and the newcomers are."""
        agents, pieces, newcomers = self.agent.shape[1], self.piece.shape[1], 1 + PARTS * self.kind.shape[1]
        sizes = {"agents": agents, "motion": agents, "map": pieces, "layout": agents, "newcomers": newcomers}
        places, begin = {}, 0
        for name, size in sizes.items():
            places[name] = slice(begin, begin + size)
            begin += size
        return places

    @property
    def present(self) -> Tensor:
        """[B, L] which tokens exist; the others are padding."""
        agents = self.agent != NONE
        start = torch.ones_like(self.scene, dtype=torch.bool)[:, None]
        newcomers = (self.kind != NONE).repeat_interleave(PARTS, 1)
        return torch.cat([agents, agents, self.piece != NONE, self.grid != NONE, start, newcomers], 1)

    @property
    def spawn_labels(self) -> Tensor:
        """[B, 3J + 1] what each token of the newcomers' part predicts: a type, then a grid, then a yaw token."""
        return spawn_labels(self.kind, self.new_grid, self.new_yaw, self.ends)

    @property
    def labels(self) -> Tensor:
        """[B, L] what each token predicts, in the vocabulary of its part (equation 8); `UNSCORED` for nothing."""
        count, agents, pieces = len(self.scene), self.agent.shape[1], self.piece.shape[1]
        before, between = (self.scene.new_full((count, size), UNSCORED) for size in (agents, pieces + agents))
        return torch.cat([before, self.motion, between, self.spawn_labels], 1)

    @property
    def scored(self) -> Tensor:
        """[B, L] where there is a loss."""
        return self.labels != UNSCORED


def join_sequences(parts: Sequence[Decisions]) -> SequenceBatch:
    """Decisions of scenes, one scene after another, padded to the longest sequence."""
    found = join_decisions(parts)
    return SequenceBatch(*(getattr(found, item.name) for item in fields(found)))


def spawn_labels(kind: Tensor, grid: Tensor, yaw: Tensor, ends: Tensor) -> Tensor:
    """What the newcomers' tokens [B, 3J + 1] predict, the start token first.

    The start predicts the first type, a type its grid token, that its yaw token, and that the next type or, after the
    last newcomer, `END`.

    Args:
        kind, grid, yaw: [B, J] tokens, `NONE` after the last newcomer.
        ends: [B] whether nobody follows; without it nothing is asked after the last one.
    """
    count = (kind != NONE).sum(1)
    following = torch.cat([kind, kind.new_full((len(kind), 1), NONE)], 1)
    number = torch.arange(following.shape[1], device=kind.device)
    last = torch.where(ends, END, UNSCORED)[:, None].expand(following.shape)
    following = torch.where(number == count[:, None], last, following)
    apart = torch.stack([grid, yaw, following[:, 1:]], -1).flatten(1)
    labels = torch.cat([following[:, :1], apart], 1)
    return labels.masked_fill(labels == NONE, UNSCORED)


def causal_mask(present: Tensor, first: int = 0) -> Tensor:
    """Which token looks at which [B, L - first, L]: at those before it that exist, and at itself.

    Args:
        present: [B, L] which tokens exist.
        first: Number of the first token that looks.
    """
    place = torch.arange(present.shape[1], device=present.device)
    back = place[first:, None] - place
    return ((back > 0) & present[:, None, :]) | (back == 0)
