"""SMART: next-token prediction for all agents of a scene.

Paper: 'SMART: Scalable Multi-agent Real-time Motion Generation via Next-token Prediction' (Wu et al. 2024), in the form
that CAT-K (Zhang et al. 2025) fine-tunes. Differences, made for one CPU core: neighbours are limited to the k nearest,
moving ones first; map neighbours come from a grid, around the agent and around the place it is about to reach; the
token head is tied to an embedding of the tokens' geometry, so that similar motions share what is learnt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from harness.traffic.model.attention import Layer, RelativeAttention
from harness.traffic.model.batch import AgentBatch, MapBatch
from harness.traffic.model.config import SmartConfig
from harness.traffic.model.edges import Edges, link
from harness.traffic.model.embeddings import Relation, fourier, mlp
from harness.traffic.model.heads import GmmHead, TokenHead
from harness.traffic.tokens.pieces import Light, PieceKind
from harness.traffic.tokens.shapes import TOKEN_KINDS, TOKEN_STEPS
from harness.traffic.tokens.vocabulary import Vocabulary

_TOKEN_SECONDS = TOKEN_STEPS * 0.1
_MOVES = 0.5
"""Slower agents count as standing where moving neighbours come first, m/s: trackers let parked cars creep."""


class MapFeatures(NamedTuple):
    """Encoded maps, and what else one pass over many agents needs once.

    Attributes:
        batch: The maps.
        keys: [R, 2·hidden] keys and values of the encoded pieces for each agent layer.
        row: [M] row of each piece among the encoded ones, -1 for none; None where all are encoded.
        table: [3, V, hidden] embeddings of tokens; None to make them where they are used.
        features: [R, hidden] features of the encoded pieces.
    """

    batch: MapBatch
    keys: tuple[Tensor, ...]
    row: Tensor | None = None
    table: Tensor | None = None
    features: Tensor | None = None


class Nodes(NamedTuple):
    """Agents at moments, one row each: N rows out of [W, T, A] (worlds, moments, agents).

    Attributes:
        place: [N] flat index into [W, T, A].
        row: [W, T, A] row of each, -1 where invalid.
    """

    place: Tensor
    row: Tensor

    def take(self, values: Tensor) -> Tensor:
        """Rows [N, …] of `values` [W, A, T, …]."""
        return values.transpose(1, 2).flatten(0, 2)[self.place]

    @property
    def agent(self) -> Tensor:
        """[N] flat index into [W, A]."""
        _, times, agents = self.row.shape
        return self.place // (times * agents) * agents + self.place % agents

    @property
    def world(self) -> Tensor:
        """[N] index of the world."""
        return self.place // (self.row.shape[1] * self.row.shape[2])


def index_nodes(valid: Tensor) -> Nodes:
    """Rows of the valid agents and moments of `valid` [W, A, T], moment by moment."""
    valid = valid.transpose(1, 2)
    place = valid.flatten().nonzero()[:, 0]
    row = torch.full((valid.numel(),), -1, dtype=torch.long, device=valid.device)
    row[place] = torch.arange(len(place), device=valid.device)
    return Nodes(place, row.view(valid.shape))


class SmartNetwork(nn.Module):
    """The network. Parameters and the vocabulary are its state; it knows nothing of scenes, files or training.

    Args:
        config: Sizes.
        vocabulary: Tokens; kept as buffers, so that a weights file is complete.
    """

    def __init__(self, config: SmartConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config = config
        hidden, heads = config.hidden, config.heads
        self.register_buffer("motions", torch.as_tensor(vocabulary.motions.copy()))
        self.register_buffer("pieces", torch.as_tensor(vocabulary.pieces.copy()))
        self.motions: Tensor
        self.pieces: Tensor
        self.piece_shape = mlp(6, hidden, hidden)
        self.piece_kind = nn.Embedding(len(PieceKind), hidden)
        self.piece_light = nn.Embedding(len(Light), hidden)
        self.map_relation = Relation(config.bands, hidden)
        self.map_layers = nn.ModuleList(
            RelativeAttention(hidden, heads, config.dropout) for _ in range(config.map_layers)
        )
        self.token_head = TokenHead(config, vocabulary.size)
        self.kind = nn.Embedding(TOKEN_KINDS, hidden)
        self.shape = mlp(3, hidden, hidden)
        self.motion = mlp(2 * config.bands * 3 + 5, hidden, hidden)
        self.fuse = mlp(2 * hidden, hidden, hidden)
        self.past_relation = Relation(config.bands, hidden)
        self.place_relation = Relation(config.bands, hidden)
        self.agent_relation = Relation(config.bands, hidden)
        self.layers = nn.ModuleList(Layer(hidden, heads, config.dropout) for _ in range(config.agent_layers))
        self.mixture = GmmHead(hidden, config.modes) if config.head == "gmm" else None

    @property
    def decoder(self) -> list[Layer]:
        """The agent layers."""
        return cast(list[Layer], list(self.layers))

    def set_dropout(self, share: float) -> None:
        """Another dropout share, such as none for a model that underfits."""
        self.config = replace(self.config, dropout=share)
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = share

    # ---- the map

    def encode_map(
        self,
        batch: MapBatch,
        *,
        frozen: bool = False,
        agents: AgentBatch | None = None,
        also: Tensor | None = None,
    ) -> MapFeatures:
        """Attention among map pieces; done once per scene.

        Args:
            batch: The maps.
            frozen: Without gradients, and without dropout: the encoder does not learn, the agent layers' keys may.
            agents: All that will look at the maps: what none of them sees, a half to three quarters, is left out.
            also: [M] pieces that are not left out, whoever sees them.
        """
        training = self.training
        if frozen:
            for layer in self.map_layers:
                layer.eval()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            needed = torch.ones_like(batch.kind, dtype=torch.bool) if agents is None else self._seen(batch, agents)
            needed = needed if also is None else needed | also
            x = self._map_features(batch, needed)
        self.map_layers.train(training)
        keys = tuple(layer.map.keys(x) for layer in self.decoder)
        if agents is None:
            return MapFeatures(batch, keys, features=x)
        row = torch.where(needed, needed.cumsum(0) - 1, -1)
        return MapFeatures(batch, keys, row if len(row) else None, self.token_head.table(self.motions), x)

    def _seen(self, batch: MapBatch, agents: AgentBatch) -> Tensor:
        """Which pieces [M] are listed where any of the agents is, or is about to be."""
        nodes = index_nodes(agents.valid)
        index = self._listed(nodes.take(agents.pose), nodes.take(agents.motion), agents.scene[nodes.world], batch)
        seen = torch.zeros(len(batch.kind) + 1, dtype=torch.bool, device=index.device)
        # Those that are none mark one place more than there are pieces.
        seen[index.flatten()] = True
        return seen[:-1]

    def _map_features(self, batch: MapBatch, needed: Tensor) -> Tensor:
        """Features [R, hidden] of the needed pieces [M]."""
        x = self.piece_shape(self.pieces[batch.token].flatten(1)) + self.piece_kind(batch.kind)
        x = x + self.piece_light(batch.light)
        if len(x) == 0:
            # Indices of absent pieces have to point somewhere.
            return x.new_zeros(1, self.config.hidden)
        layers = list(cast(Iterable[RelativeAttention], self.map_layers))
        wanted = [needed]
        for _ in layers[1:]:
            # What a layer has to know is what the next one wants, and what that looks at.
            around = batch.around[wanted[0]]
            grown = wanted[0].clone()
            grown[around[around >= 0]] = True
            wanted.insert(0, grown)
        rows = wanted[0].nonzero()[:, 0]
        around = batch.around[rows]
        edges = link(around, around >= 0, batch.pose, batch.pose[rows], self.map_relation)
        for number, layer in enumerate(layers):
            if number:
                edges = edges.of(wanted[number][rows])
                rows = wanted[number].nonzero()[:, 0]
            new = layer(x[rows], layer.keys(x), edges)
            x = new if layer is layers[-1] else x.index_copy(0, rows, new.to(x.dtype))
        # Indices of absent pieces have to point somewhere.
        return x if len(x) else x.new_zeros(1, self.config.hidden)

    # ---- inputs of agents

    def embed(self, token: Tensor, motion: Tensor, kinds: Tensor, sizes: Tensor, table: Tensor) -> Tensor:
        """Features [N, hidden] of the latest motion of agents.

        Args:
            token: [N].
            motion: [N, 3] pose in the frame of the pose before.
            kinds: [N].
            sizes: [N, 3], m.
            table: [3, V, hidden] from the token head.
        """
        what = self.kind(kinds) + self.shape(sizes / 5.0)
        return self.fuse(torch.cat([self.moving(token, motion, kinds, table), what], -1))

    def moving(self, token: Tensor, motion: Tensor, kinds: Tensor, table: Tensor) -> Tensor:
        """Features [N, hidden] of the motion alone; arguments as of `embed`."""
        moved = torch.linalg.vector_norm(motion[:, :2], dim=-1)
        bands = self.config.bands
        parts = [fourier(motion[:, 0], bands), fourier(motion[:, 1], bands), fourier(moved, bands)]
        turn = motion[:, 2]
        parts.append(torch.stack([motion[:, 0], motion[:, 1], moved, turn.cos(), turn.sin()], -1))
        return table[kinds, token] + self.motion(torch.cat(parts, -1))

    # ---- edges

    def past_edges(self, nodes: Nodes, pose: Tensor) -> Edges:
        """The agent's own earlier tokens; `pose` [N, 3] of every node."""
        past = self.config.past
        rows = nodes.row.new_full((*nodes.row.shape, past), -1)
        for back in range(1, min(past, nodes.row.shape[1] - 1) + 1):
            rows[:, back:, :, back - 1] = nodes.row[:, :-back]
        rows = rows.view(-1, past)[nodes.place]
        mask = self._remembered(rows)
        if self.training and self.config.past_dropout:
            mask = mask & (torch.rand(mask.shape, device=mask.device) >= self.config.past_dropout)
        return link(rows, mask, pose, pose, self.past_relation, aged=True)

    def _remembered(self, rows: Tensor) -> Tensor:
        """Which of an agent's earlier tokens, the latest first, it remembers [N, past]; `rows` are -1 for none."""
        return rows >= 0

    def place_edges(self, pose: Tensor, motion: Tensor, scene: Tensor, maps: MapBatch) -> Edges:
        """Map pieces around agents [N] and around the place that they reach soon."""
        config = self.config
        index = self._listed(pose, motion, scene, maps)
        source = maps.pose if len(maps.pose) else pose
        gap = (source[index.clamp(min=0), :2] - pose[:, None, :2]).square().sum(-1)
        mask = (index >= 0) & (gap < config.map_radius**2)
        return link(index, mask, source, pose, self.place_relation)

    def _listed(self, pose: Tensor, motion: Tensor, scene: Tensor, maps: MapBatch) -> Tensor:
        """Pieces [N, K] that are listed around agents and around the place that they reach soon, -1 for none."""
        config = self.config
        heading = torch.stack([pose[:, 2].cos(), pose[:, 2].sin()], -1)
        ahead = motion[:, :1] / _TOKEN_SECONDS * config.lookahead
        here = maps.cells(pose[:, :2], scene)
        there = maps.cells(pose[:, :2] + heading * ahead, scene)
        far = maps.listed(there, scene)
        far = torch.cat([far[:, : config.lanes], far[:, maps.lanes : maps.lanes + config.edges]], -1)
        # The same cell twice would only count the same pieces twice.
        far = far.masked_fill((here == there)[:, None], -1)
        return torch.cat([maps.listed(here, scene), far], -1)

    def agent_edges(
        self,
        pose: Tensor,
        motion: Tensor,
        valid: Tensor,
        row: Tensor,
        *,
        looking: Tensor | None = None,
    ) -> Edges:
        """Other agents of the same world at the same moment: the nearest ones, or the nearest moving ones first.

        Args:
            pose: [G, A, 3] with G groups (worlds times moments).
            motion: [G, A, 3] latest motion.
            valid: [G, A].
            row: [G, A] row of each valid agent, group by group.
            looking: [N] who sees others at all; None: everybody.

        Returns:
            Edges of the N valid agents, group by group.
        """
        count, radius = pose.shape[1], self.config.agent_radius
        gap = torch.cdist(pose[..., :2], pose[..., :2], compute_mode="donot_use_mm_for_euclid_dist")
        unseen = torch.eye(count, dtype=torch.bool, device=pose.device) | ~valid[:, None, :] | (gap >= radius)
        if self.config.moving_first:
            stands = torch.linalg.vector_norm(motion[..., :2], dim=-1) < _MOVES * _TOKEN_SECONDS
            gap = gap + radius * stands[:, None, :]
        gap = gap.masked_fill(unseen, torch.inf)
        live = valid.nonzero(as_tuple=True)
        near = min(self.config.neighbours, count)
        order, index = gap[live].topk(near, dim=-1, largest=False)
        mask = order.isfinite()
        if looking is not None:
            mask = mask & looking[:, None]
        return link(row[live[0][:, None], index], mask, pose[live], pose[live], self.agent_relation)

    # ---- everything at once

    def forward(self, maps: MapFeatures, batch: AgentBatch) -> tuple[Tensor, Nodes]:
        """Features of every valid agent at every moment, causal in time.

        Returns:
            [N, hidden] and the nodes.
        """
        nodes = index_nodes(batch.valid)
        pose, motion = nodes.take(batch.pose), nodes.take(batch.motion)
        kinds, sizes = batch.kinds.flatten()[nodes.agent], batch.sizes.flatten(0, 1)[nodes.agent]
        table = self.token_head.table(self.motions) if maps.table is None else maps.table
        x = self.embed(nodes.take(batch.token), motion, kinds, sizes, table)
        past = self.past_edges(nodes, pose)
        place = self.place_edges(pose, motion, batch.scene[nodes.world], maps.batch)
        pose_then, motion_then, valid_then = (
            part.transpose(1, 2).flatten(0, 1) for part in (batch.pose, batch.motion, batch.valid)
        )
        others = self.agent_edges(pose_then, motion_then, valid_then, nodes.row.flatten(0, 1))
        pieces = place if maps.row is None else place.at(maps.row)
        for layer, keys in zip(self.decoder, maps.keys, strict=True):
            x = layer.past(x, layer.past.keys(x), past)
            x = layer.map(x, keys, pieces)
            x = layer.agents(x, layer.agents.keys(x), others)
        return x, nodes

    def logits(
        self, x: Tensor, kinds: Tensor, motion: Tensor, table: Tensor | None = None, known: Tensor | None = None
    ) -> Tensor:
        """Next-token logits [N, V] of features [N, hidden] of agents of `kinds` [N], last moved by `motion` [N, 3].

        `known` [N] says whose motion is known; None: everybody's.
        """
        table = self.token_head.table(self.motions) if table is None else table
        return self.token_head(x, kinds, motion, table, self.motions[:, :, -1], known)
