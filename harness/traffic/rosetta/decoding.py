"""One decision: everybody's motion at once, then newcomers one token after another.

Paper: RosettaSim, equations 1 to 7; sampling and heuristics of appendix D.3, each with a switch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from harness.errors import ConfigError
from harness.traffic.open.decisions import NONE
from harness.traffic.open.decoding import OpenOptions
from harness.traffic.rosetta.network import LayoutTables, RosettaNetwork, sinusoids
from harness.traffic.rosetta.sequence_model import Past
from harness.traffic.sampling import draw, top_k
from harness.traffic.tokens.layout import END, LayoutTokens


@dataclass(frozen=True)
class RosettaOptions(OpenOptions):
    """How `rosetta` traffic is sampled, and which of the paper's heuristics it uses (appendix D.3).

    The paper draws motion from 5 tokens, and from 48 for 8 s.
    """

    type_k: int = 2
    """Most probable types (or the end) that are drawn from."""
    type_temperature: float = 1.0
    """Temperature of types, the dial of density: the higher it is, the more often somebody enters. 0 for the most
    probable one."""
    grid_k: int = 1
    """Most probable places that are drawn from."""
    yaw_k: int = 1
    """Most probable headings that are drawn from."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range.
        """
        super().__post_init__()
        if min(self.type_k, self.type_temperature) < 0:
            raise ConfigError(f"traffic: {self}: expected type_k and type_temperature >= 0.")
        if min(self.grid_k, self.yaw_k) < 0:
            raise ConfigError(f"traffic: {self}: expected grid_k and yaw_k >= 0.")


class Spawned(NamedTuple):
    """A newcomer, as tokens."""

    kind: int
    grid: int
    yaw: int


class SequenceDecision:
    """The sequence of one decision in one world, as far as it has come.

    Args:
        network: In evaluation mode.
        tables: Its embeddings of layout tokens.
        features: [N, hidden] the encoder's features of the agents, the nearest to the observer first.
    """

    def __init__(self, network: RosettaNetwork, tables: LayoutTables, features: Tensor) -> None:
        self.network, self.tables, self.agents = network, tables, features
        self._past: Past | None = None
        with torch.no_grad():
            found = self._read(network.agent_tokens(features[None]))
        self._motion = found[0, len(features) :]
        self._start: Tensor | None = None

    @torch.no_grad()
    def _read(self, tokens: Tensor) -> Tensor:
        """Features [1, L, D] of the next tokens [1, L, D] of the sequence."""
        if tokens.shape[1] == 0:
            return tokens
        present = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        found, self._past = self.network.sequence(tokens, present, self._past)
        return found

    def _identities(self, count: int) -> Tensor:
        """Sinusoids [count, D] of newcomers: their numbers follow on those of the agents."""
        number = torch.arange(len(self.agents), len(self.agents) + count, device=self.agents.device)
        return sinusoids(number, self.network.rosetta.width)

    @torch.no_grad()
    def motion_logits(self, kinds: Tensor, motion: Tensor, known: Tensor, table: Tensor) -> Tensor:
        """Logits [N, V] of everybody's next motion; arguments as of `RosettaNetwork.motion_logits`."""
        return self.network.motion_logits(self._motion, self.agents, kinds, motion, known, table)

    @torch.no_grad()
    def look_around(self, pieces: Tensor, lies: LayoutTokens, after: LayoutTokens) -> None:
        """Read the map, where the agents are after their motion, and the start of the newcomers.

        Args:
            pieces: [M, hidden] the encoder's features of map pieces.
            lies: [M] layout tokens of the pieces.
            after: [N] layout tokens of the agents, `NONE` of who is gone.
        """
        device = pieces.device
        piece_grid, piece_yaw, grid, yaw = (
            torch.as_tensor(tokens, device=device)[None] for tokens in (lies.grid, lies.yaw, after.grid, after.yaw)
        )
        tokens = [
            self.network.map_tokens(pieces[None], piece_grid, piece_yaw, self.tables),
            self.network.layout_tokens(grid, yaw, self.tables)[:, grid[0] != NONE],
            (self.network.start_token + self._identities(1))[None],
        ]
        self._start = self._read(torch.cat(tokens, 1))[0, -1]

    @torch.no_grad()
    def newcomers(
        self,
        options: RosettaOptions,
        generator: torch.Generator,
        admit: Callable[[Spawned], bool],
        cells: Tensor | None = None,
    ) -> list[Spawned]:
        """Draw who enters, until the end is drawn, or somebody is not admitted; after `look_around`.

        Args:
            options: How is drawn.
            generator: Source of randomness.
            admit: Says of each whether it enters; the sequence ends with the first one that does not.
            cells: [1961] where somebody may enter; None for everywhere.
        """
        network, tables, x = self.network, self.tables, self._start
        found: list[Spawned] = []
        if cells is not None and not bool(cells.any()):
            return found
        for identity in self._identities(options.most):
            assert x is not None, "look_around comes first"
            kind = int(draw(top_k(network.type_head(x), options.type_k), options.type_temperature, generator))
            if kind == END:
                break
            what = network.kind_token.weight[kind]
            scores = network.grid.scores(self._next(what + identity), tables.grid_keys)
            scores = scores if cells is None else scores.masked_fill(~cells, -torch.inf)
            grid = _one_of(scores, options.grid_k, generator)
            where = tables.grid[grid]
            scores = network.yaw.scores(self._next(what + where + identity), tables.yaw_keys)
            yaw = _one_of(scores, options.yaw_k, generator)
            if not admit(who := Spawned(kind, grid, yaw)):
                break
            found.append(who)
            x = self._next(where + tables.yaw[yaw] + identity)
        return found

    def _next(self, token: Tensor) -> Tensor:
        """Features [D] of one more token [D]."""
        return self._read(token[None, None])[0, 0]


def _one_of(scores: Tensor, k: int, generator: torch.Generator) -> int:
    """One of the k most probable tokens, in proportion to their probability; of all where k is 0."""
    return int(scores.argmax() if k == 1 else draw(top_k(scores, k), 1.0, generator))
