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

    @torch.no_grad()
    def _read(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Features [1, L, D] of the next tokens [1, L, D] of the sequence, of which some may be missing ([1, L])."""
        if tokens.shape[1] == 0:
            return tokens
        present = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device) if present is None else present
        found, self._past = self.network.sequence(tokens, present, self._past)
        return found

    @torch.no_grad()
    def motion_logits(self, kinds: Tensor, motion: Tensor, known: Tensor, table: Tensor) -> Tensor:
        """Logits [N, V] of everybody's next motion; arguments as of `RosettaNetwork.motion_logits`."""
        return self.network.motion_logits(self._motion, self.agents, kinds, motion, known, table)

    @torch.no_grad()
    def look_around(self, pieces: Tensor, lies: LayoutTokens, after: LayoutTokens) -> None:
        """Read the map, and where the agents are after their motion.

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
            self.network.layout_tokens(grid, yaw, self.tables),
        ]
        self._read(torch.cat(tokens, 1), torch.cat([torch.ones_like(piece_grid, dtype=torch.bool), grid != NONE], 1))

    @torch.no_grad()
    def newcomers(
        self, options: RosettaOptions, generator: torch.Generator, admit: Callable[[Spawned], bool]
    ) -> list[Spawned]:
        """Draw who enters, until the end is drawn, or somebody is not admitted.

        Args:
            options: How is drawn.
            generator: Source of randomness.
            admit: Says of each whether it enters; the sequence ends with the first one that does not.
        """
        network, tables = self.network, self.tables
        found: list[Spawned] = []
        number = torch.arange(len(self.agents), len(self.agents) + options.most + 1, device=self.agents.device)
        identities = sinusoids(number, network.rosetta.width)
        x = self._next(network.start_token + identities[0])
        for identity in identities[: options.most]:
            kind = int(draw(top_k(network.type_head(x), options.type_k), options.type_temperature, generator))
            if kind == END:
                break
            what = network.kind_token.weight[kind]
            scores = network.grid.scores(self._next(what + identity), tables.grid_keys)
            grid = int(draw(top_k(scores, options.grid_k), 1.0, generator))
            where = tables.grid[grid]
            scores = network.yaw.scores(self._next(what + where + identity), tables.yaw_keys)
            yaw = int(draw(top_k(scores, options.yaw_k), 1.0, generator))
            if not admit(who := Spawned(kind, grid, yaw)):
                break
            found.append(who)
            x = self._next(where + tables.yaw[yaw] + identity)
        return found

    def _next(self, token: Tensor) -> Tensor:
        """Features [D] of one more token [D]."""
        return self._read(token[None, None])[0, 0]
