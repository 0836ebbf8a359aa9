"""One decision: everybody's motion at once, then newcomers one token after another.

Paper: RosettaSim, equations 1 to 7; sampling and heuristics of appendix D.3, each with a switch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from harness.errors import ConfigError
from harness.traffic.rosetta.network import LayoutTables, RosettaNetwork, sinusoids
from harness.traffic.rosetta.sequence import NONE
from harness.traffic.rosetta.sequence_model import Past
from harness.traffic.sampling import draw, top_k
from harness.traffic.tokens.layout import END, LayoutTokens
from harness.traffic.tokens.shapes import TOKEN_STEPS

EXTREME: Final = 10.0
"""An agent whose next motion changes its speed by more than this is removed, m/s²: no tyre holds more than about 1 g.
The paper gives no number."""
_TOKEN: Final = TOKEN_STEPS * 0.1
"""Length of a token, s."""


_WRITTEN: Final = {bool: "true or false", int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class RosettaOptions:
    """How `rosetta` traffic is sampled, and which of the paper's heuristics it uses (appendix D.3)."""

    top_k: int = 5
    """Most probable motion tokens that are drawn from; 0 for all. The paper takes 5, and 48 for 8 s."""
    temperature: float = 1.0
    """Temperature of motion tokens; 0 for the most probable one."""
    spawning: bool = True
    """Whether anybody enters."""
    type_k: int = 2
    """Most probable types (or the end) that are drawn from."""
    type_temperature: float = 1.0
    """Temperature of types, the dial of density: the higher it is, the more often somebody enters. 0 for the most
    probable one."""
    grid_k: int = 1
    """Most probable places that are drawn from."""
    yaw_k: int = 1
    """Most probable headings that are drawn from."""
    snap: bool = True
    """Whether vehicles enter on the centre line of a lane that is within 3 m of the place."""
    overlap_ends: bool = True
    """Whether nobody else enters, in this half second, once a newcomer would overlap with somebody."""
    boundary: bool = True
    """Whether who leaves the map, or comes farther than 75 m from the observer, is removed."""
    extremes: bool = True
    """Whether who makes an impossible motion is removed."""
    most: int = 10
    """Largest number of newcomers in half a second."""
    reserve: int = 64
    """Largest number of newcomers at once."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range, or of another type than the default.
        """
        for item in fields(self):
            value, kind = getattr(self, item.name), type(item.default)
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise ConfigError(f"rosetta: {item.name}={value}: expected {_WRITTEN[kind]}.")
        counts = (self.top_k, self.type_k, self.grid_k, self.yaw_k, self.most)
        if min(*counts, self.temperature, self.type_temperature) < 0 or self.reserve < 1:
            raise ConfigError(f"rosetta: {self}: expected counts and temperatures >= 0, reserve >= 1.")


def rosetta_options(values: Mapping[str, object]) -> RosettaOptions:
    """Options by name.

    Raises:
        ConfigError: There is no such option, or a value cannot be one.
    """
    names = [item.name for item in fields(RosettaOptions)]
    if unknown := sorted(set(values) - set(names)):
        raise ConfigError(f"traffic 'rosetta': {unknown[0]!r} is no option; there are {', '.join(names)}, device.")
    return RosettaOptions(**cast(dict[str, Any], values))


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
        self,
        options: RosettaOptions,
        generator: torch.Generator,
        admit: Callable[[Spawned], bool],
        cells: Tensor | None = None,
    ) -> list[Spawned]:
        """Draw who enters, until the end is drawn, or somebody is not admitted.

        Args:
            options: How is drawn.
            generator: Source of randomness.
            admit: Says of each whether it enters; the sequence ends with the first one that does not.
            cells: [1961] where somebody may enter; None for everywhere.
        """
        network, tables = self.network, self.tables
        found: list[Spawned] = []
        if cells is not None and not bool(cells.any()):
            return found
        number = torch.arange(len(self.agents), len(self.agents) + options.most + 1, device=self.agents.device)
        identities = sinusoids(number, network.rosetta.width)
        x = self._next(network.start_token + identities[0])
        for identity in identities[: options.most]:
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


def extreme(motion: Tensor, before: Tensor, known: Tensor) -> Tensor:
    """Whose motion is impossible [N]: its speed differs too much from that of the motion before.

    Args:
        motion, before: [N, 3] in the agent's frame, m and rad, over half a second each.
        known: [N] whether the motion before is known.
    """
    change = motion[:, :2].square().sum(-1).sqrt() - before[:, :2].square().sum(-1).sqrt()
    return known & (change.abs() / _TOKEN**2 > EXTREME)


def without(tokens: LayoutTokens, gone: np.ndarray) -> LayoutTokens:
    """Layout tokens [N] of those who are not gone [N], `NONE` of the others."""
    return tokens._replace(grid=np.where(gone, NONE, tokens.grid), yaw=np.where(gone, NONE, tokens.yaw))
