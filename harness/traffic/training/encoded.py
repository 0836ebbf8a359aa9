"""Scenes that a frozen scene encoder has seen: what it knows of agents and map pieces, computed once."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Final, NamedTuple

import torch
from torch import Tensor

from harness.caching import Lru
from harness.traffic.model.batch import MapBatch
from harness.traffic.model.network import MapFeatures
from harness.traffic.observers import Observer
from harness.traffic.open.decisions import NONE, DecisionBatch, watched
from harness.traffic.open.network import NewcomerNetwork, as_they_came
from harness.traffic.tokens.scene import SceneTokens
from harness.traffic.training.feed import joined

_KEPT: Final = 4_000
"""Scenes in memory; each takes about .4 MB with a nano encoder."""


class FrozenScene(NamedTuple):
    """Features of one scene. T moments, A agents, M pieces.

    Attributes:
        agents: [n, hidden] of whoever is there, moment by moment.
        row: [T, A] which of them, `NONE` where somebody is not there.
        pieces: [M, hidden].
    """

    agents: Tensor
    row: Tensor
    pieces: Tensor


class KeptFeatures:
    """Features of scenes by a network whose scene encoder no longer changes; each scene is encoded by itself, once."""

    def __init__(self) -> None:
        self._kept: Lru[bytes, FrozenScene] = Lru(_KEPT)

    def __getstate__(self) -> dict[str, object]:
        """Without what is in memory: a worker encodes the scenes of its share."""
        return {"_kept": Lru(_KEPT)}

    def features(
        self, network: NewcomerNetwork, scenes: list[SceneTokens], batch: DecisionBatch, lanes: int, observer: Observer
    ) -> tuple[Tensor, Tensor]:
        """Features of the agents [B, N, hidden] and map pieces [B, M, hidden] of decisions, whatever for absent ones.

        Args:
            network: In evaluation mode.
            scenes: Those of the batch.
            batch: Decisions, on the device of the network.
            lanes: As in `SceneOptions`.
            observer: Around whom; always the same.
        """
        found = self._found(network, scenes, lanes, observer)
        agents, pieces = [], []
        for number, encoded in enumerate(found):
            mine = batch.scene == number
            row = encoded.row[batch.moment[mine, None] - 1, batch.agent[mine].clamp(min=0)]
            agents.append(_taken(encoded.agents, row))
            pieces.append(_taken(encoded.pieces, batch.piece[mine]))
        # Decisions come scene by scene.
        return torch.cat(agents), torch.cat(pieces)

    @torch.no_grad()
    def maps(
        self, network: NewcomerNetwork, scenes: list[SceneTokens], maps: MapBatch, observer: Observer
    ) -> MapFeatures:
        """The whole maps of a batch of scenes, for whoever looks at them from other places than the agents'.

        Args:
            network: In evaluation mode.
            scenes: Those of the batch.
            maps: Their maps.
            observer: Around whom; always the same.
        """
        found = self._found(network, scenes, maps.lanes, observer)
        x = torch.cat([one.pieces[: len(scene.map_pose)] for one, scene in zip(found, scenes, strict=True)])
        # Indices of absent pieces have to point somewhere.
        x = x if len(x) else x.new_zeros(1, x.shape[1])
        keys = tuple(layer.map.keys(x) for layer in network.decoder)
        return MapFeatures(maps, keys, table=network.token_head.table(network.motions), features=x)

    def _found(
        self, network: NewcomerNetwork, scenes: list[SceneTokens], lanes: int, observer: Observer
    ) -> list[FrozenScene]:
        return [self._kept.get(_name(scene), partial(encode, network, scene, lanes, observer)) for scene in scenes]


@torch.no_grad()
def encode(network: NewcomerNetwork, scene: SceneTokens, lanes: int, observer: Observer) -> FrozenScene:
    """What a network in evaluation mode knows of a scene at every moment; see `KeptFeatures.features`."""
    maps, agents, _, _ = joined([scene], lanes, network.motions.device)
    seen = torch.as_tensor(watched(scene, observer).seen, device=network.motions.device)[None]
    encoded = network.encode_map(maps)
    features, nodes = network(encoded, as_they_came(agents, seen))
    assert encoded.features is not None
    return FrozenScene(features.float(), nodes.row[0], encoded.features.float())


def _name(scene: SceneTokens) -> bytes:
    """Identifies a scene by who moves how on which map."""
    found = hashlib.blake2b(digest_size=16)
    for values in (scene.poses, scene.token, scene.goal, scene.kinds, scene.sizes, scene.map_pose, scene.map_light):
        found.update(values.tobytes())
    return found.digest()


def _taken(features: Tensor, rows: Tensor) -> Tensor:
    """Rows [...] of features [n, hidden]; zeros for `NONE`."""
    if not len(features):
        return features.new_zeros(*rows.shape, features.shape[-1])
    return features[rows.clamp(min=0)] * (rows != NONE)[..., None]
