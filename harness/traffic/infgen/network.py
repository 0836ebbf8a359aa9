"""The InfGen-like network: SMART's scene encoder, a head that says who leaves, and queries that say who enters.

A query stands at the observer and looks at the map and at everybody who is there, the newcomers before it too. Heads
over it say whether anybody enters at all (its state), of what type and shape, and in which cell of the grid. Then the
newcomer itself looks around from its cell, through the encoder's own layers, and says which way it heads and how far it
stands from the middle of the cell (InfGen's coarse and refining passes, each with the same name in its code).

What is not followed, and why: queries look at what the encoder knows of everybody at the decision before, at the places
after it, as RosettaSim does; InfGen's look at embeddings of the last motion alone, before any attention, which is less
than its rival is given here. Both see `pieces` map pieces, where InfGen's see all within 75 m. Which cells are taken
enters a query once, as the sum of their embeddings, and not by an attention over one token in each layer. The heads of
places and headings are tied to embeddings of where they lie, as in `harness.traffic.rosetta.network`, for few scenes.
Shapes are learnt as what differs from the median of the type. There are two layers of queries instead of three, and six
tokens of the past instead of twelve: the encoder and the number of parameters are RosettaSim's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.traffic.infgen.config import InfGenConfig
from harness.traffic.model.attention import RelativeAttention
from harness.traffic.model.batch import MapBatch
from harness.traffic.model.config import SmartConfig
from harness.traffic.model.edges import Edges, link, selected
from harness.traffic.model.embeddings import Relation, mlp
from harness.traffic.model.network import MapFeatures
from harness.traffic.open.decisions import NONE
from harness.traffic.open.network import (
    UNKNOWN_MOTION,
    CellScores,
    NewcomerNetwork,
    PlaceTokens,
    cell_features,
    yaw_features,
)
from harness.traffic.tokens.layout import grid_cells
from harness.traffic.tokens.shapes import TOKEN_KINDS, compose
from harness.traffic.tokens.vocabulary import Vocabulary

STAYS, LEAVES = 0, 1
"""States of who is there (InfGen's `valid` and `exit`; who is `invalid` is not there and says nothing)."""
NOBODY, ENTERS = 0, 1
"""States of a query (InfGen's `invalid` and `enter`)."""
LOOKS: Final = 10.0
"""From its cell a newcomer sees others as far as this, m (InfGen's `a2sa_radius`)."""
REACH: Final = 2.0
"""Largest offset from the middle of a cell along each axis, m (InfGen: 2·tanh)."""
SMALLEST: Final = 0.2
"""Newcomers are at least as long, wide and high as this, m: the head of shapes knows no bounds."""


_ONE_MORE: Final = (0, 0, 0, 1)
"""Padding by one more row: attention over nothing is undefined."""


class QueryLayer(nn.Module):
    """Attention of queries to the map, then to everybody who is there."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.map = RelativeAttention(width, heads, dropout)
        self.agents = RelativeAttention(width, heads, dropout)


class Seen(NamedTuple):
    """What queries of B decisions look at: K agents or map pieces.

    Attributes:
        keys: Keys and values [B, K, 2·D] for each layer.
        relation: [B, K, D] where they are from the observer.
        cells: [B, K, D] embeddings of their cells.
        present: [B, K] whether there is one.
    """

    keys: tuple[Tensor, ...]
    relation: Tensor
    cells: Tensor
    present: Tensor

    def edges(self, decision: Tensor, sees: Tensor) -> Edges:
        """Edges of queries of decisions [n] to those that each knows of [n, K]."""
        count = self.present.shape[1]
        rows = decision[:, None] * count + torch.arange(count, device=decision.device)
        return selected(rows, sees, self.relation.flatten(0, 1))


class InfGenTables(NamedTuple):
    """Embeddings of all grid tokens [1961, D] and what heads compare with: [1961, D] of cells, [120, D] of headings."""

    grid: Tensor
    grid_keys: Tensor
    yaw_keys: Tensor


class Answers(NamedTuple):
    """What n queries say.

    Attributes:
        state, kind, place: Logits of states [n, 2], types [n, 3] and cells [n, 1961].
        shape: [n, 3] what is to be added to the median size of the type, m.
    """

    state: Tensor
    kind: Tensor
    shape: Tensor
    place: Tensor


class Entering(NamedTuple):
    """Newcomers that look around from their cells.

    Attributes:
        kinds, sizes: [n], [n, 3] token kinds and sizes, m.
        grid: [n] cells.
        observer: [n, 3] poses of the observers, in the frame of the scene.
        scene: [n] whose map.
    """

    kinds: Tensor
    sizes: Tensor
    grid: Tensor
    observer: Tensor
    scene: Tensor


class Bystanders(NamedTuple):
    """Who is there besides a newcomer: the encoder's features [n, K, hidden], poses [n, K, 3], and whether [n, K]."""

    features: Tensor
    pose: Tensor
    there: Tensor


class InfGenNetwork(NewcomerNetwork):
    """The network. Its scene encoder is SMART's, so that weights of `train_traffic --stage bc` fit into it.

    Args:
        config: Sizes of the scene encoder.
        vocabulary: Motion and map tokens.
        infgen: Sizes of the rest.
    """

    def __init__(self, config: SmartConfig, vocabulary: Vocabulary, infgen: InfGenConfig) -> None:
        super().__init__(config, vocabulary)
        self.infgen = infgen
        hidden, width = config.hidden, infgen.width
        self.leave_head = mlp(hidden, hidden, 2)
        self.query_token = nn.Parameter(0.02 * torch.randn(width))
        self.agents_in, self.map_in = mlp(hidden, width, width), mlp(hidden, width, width)
        self.agents_from, self.map_from = Relation(config.bands, width), Relation(config.bands, width)
        self.taken = mlp(width, width, width)
        self.queries = nn.ModuleList(QueryLayer(width, infgen.heads, infgen.dropout) for _ in range(infgen.layers))
        self.grid, self.yaw = PlaceTokens(cell_features(), width), PlaceTokens(yaw_features(), width)
        self.state_head, self.type_head = mlp(width, width, 2), mlp(width, width, TOKEN_KINDS)
        self.shape_head = mlp(width, width, 3)
        self.agent_cells, self.map_cells = CellScores(len(grid_cells()), width), CellScores(len(grid_cells()), width)
        self.cell_in = nn.Linear(width, hidden)
        self.newcomer_out, self.offset_head = mlp(hidden, width, width), mlp(hidden, width, 2)
        self.register_buffer("cells", torch.as_tensor(grid_cells().copy(), dtype=torch.float32), persistent=False)
        self.cells: Tensor

    @property
    def query_layers(self) -> list[QueryLayer]:
        """The layers of queries."""
        return list(cast(Iterable[QueryLayer], self.queries))

    def tables(self) -> InfGenTables:
        """Embeddings of layout tokens."""
        grid = self.grid.table()
        return InfGenTables(grid, self.grid.key(grid), self.yaw.key(self.yaw.table()))

    # ---- the first pass: whether, what and where

    def seen(
        self,
        what: Literal["agents", "map"],
        features: Tensor,
        pose: Tensor,
        grid: Tensor,
        observer: Tensor,
        tables: InfGenTables,
    ) -> Seen:
        """What queries look at; with nothing to be seen one that is not there stands in.

        Args:
            what: Agents or map pieces.
            features: [B, K, hidden] the encoder's features of them.
            pose: [B, K, 3] where they are, in the frame of the scene.
            grid: [B, K] their grid tokens, `NONE` of who is not there.
            observer: [B, 3] pose of the observer.
            tables: See `tables`.
        """
        if features.shape[1] == 0:
            features, pose, grid = F.pad(features, _ONE_MORE), F.pad(pose, _ONE_MORE), F.pad(grid, (0, 1), value=NONE)
        enter, relate = getattr(self, f"{what}_in"), getattr(self, f"{what}_from")
        cells = tables.grid[grid.clamp(min=0)]
        x = enter(features) + cells
        keys = tuple(getattr(layer, what).keys(x) for layer in self.query_layers)
        return Seen(keys, relate(pose, observer[:, None]), cells, grid != NONE)

    def ask(self, around: Seen, others: Seen, decision: Tensor, sees: Tensor) -> Tensor:
        """Features [n, D] of queries.

        Args:
            around: The map.
            others: Who is there.
            decision: [n] of which decision each query is.
            sees: [n, K] which of the others it knows of.
        """
        taken = (others.cells[decision] * sees[..., None]).sum(1)
        x = self.query_token + self.taken(taken)
        to_map, to_agents = around.edges(decision, around.present[decision]), others.edges(decision, sees)
        for layer, pieces, agents in zip(self.query_layers, around.keys, others.keys, strict=True):
            x = layer.map(x, pieces.flatten(0, 1), to_map)
            x = layer.agents(x, agents.flatten(0, 1), to_agents)
        return x

    def answers(self, x: Tensor, tables: InfGenTables) -> Answers:
        """What queries say, from their features [n, D]."""
        return Answers(self.state_head(x), self.type_head(x), self.shape_head(x), self.grid.scores(x, tables.grid_keys))

    # ---- the second pass: which way, and where in the cell

    def cell_poses(self, grid: Tensor, observer: Tensor) -> Tensor:
        """Poses [n, 3] in the middle of cells [n] around observers [n, 3], heading as they do."""
        return compose(observer, F.pad(self.cells[grid], (0, 1)))

    def listed_from(self, who: Entering, maps: MapBatch) -> Tensor:
        """Map pieces [n, K] that newcomers look at from their cells, -1 for none."""
        pose = self.cell_poses(who.grid, who.observer)
        return self._listed(pose, torch.zeros_like(pose), who.scene, maps)

    def refine(
        self, maps: MapFeatures, who: Entering, others: Bystanders, tables: InfGenTables
    ) -> tuple[Tensor, Tensor]:
        """Logits of headings [n, 120] and offsets from the middle of the cell [n, 2] (m, observer's frame).

        Args:
            maps: Encoded maps.
            who: Newcomers, or others that are taken for such.
            others: Who is there besides.
            tables: See `tables`.
        """
        table = self.token_head.table(self.motions) if maps.table is None else maps.table
        pose = self.cell_poses(who.grid, who.observer)
        still = torch.zeros_like(pose)
        x = self.embed(torch.full_like(who.kinds, UNKNOWN_MOTION), still, who.kinds, who.sizes, table)
        x = x + self.cell_in(tables.grid[who.grid])
        place = self.place_edges(pose, still, who.scene, maps.batch)
        pieces = place if maps.row is None else place.at(maps.row)
        if others.there.shape[1] == 0:
            padded = F.pad(others.features, _ONE_MORE), F.pad(others.pose, _ONE_MORE), F.pad(others.there, (0, 1))
            others = Bystanders(*padded)
        gap = (others.pose[..., :2] - pose[:, None, :2]).square().sum(-1)
        near, features = others.there & (gap < LOOKS**2), others.features.flatten(0, 1)
        rows = torch.arange(near.numel(), device=near.device).view(near.shape)
        to_others = link(rows, near, others.pose.flatten(0, 1), pose, self.agent_relation)
        for layer, keys in zip(self.decoder, maps.keys, strict=True):
            x = layer.map(x, keys, pieces)
            x = layer.agents(x, layer.agents.keys(features), to_others)
        return self.yaw.scores(self.newcomer_out(x), tables.yaw_keys), REACH * torch.tanh(self.offset_head(x))

    def sizes_of(self, kinds: Tensor, shape: Tensor) -> Tensor:
        """Sizes [n, 3] (m) of newcomers of types [n] by what the head of shapes says [n, 3]."""
        return (self.newcomer_sizes[kinds] + shape).clamp(min=SMALLEST)
