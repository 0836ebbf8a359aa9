"""What stages share that learn from decisions: whom models see in use, the encoder's features, sizes of newcomers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.traffic.model.batch import AgentBatch, MapBatch
from harness.traffic.model.network import MapFeatures
from harness.traffic.observers import Observer
from harness.traffic.open.config import DecisionLimits
from harness.traffic.open.decisions import NONE, DecisionBatch, Decisions, decisions, watched
from harness.traffic.open.network import NewcomerNetwork, as_they_came
from harness.traffic.tokens.population import median_sizes
from harness.traffic.tokens.scene import SceneTokens
from harness.traffic.training.config import Encoder
from harness.traffic.training.dataset import TokenisedScenes
from harness.traffic.training.loop import TrafficTask
from harness.traffic.training.objective import Objective, Step

_ENCODER: Final = (
    *("piece_shape.", "piece_kind.", "piece_light.", "map_relation.", "map_layers.", "layers."),
    *("kind.", "shape.", "motion.", "fuse.", "past_relation.", "place_relation.", "agent_relation."),
    *("token_head.geometry.", "token_head.kind.", "token_head.free"),
)
"""What parameters of the scene encoder begin with. The token head's embeddings are among its inputs; the rest of that
head is not."""


def of_encoder(name: str) -> bool:
    """Whether a parameter of a `NewcomerNetwork` belongs to its scene encoder."""
    return name == "newcomer" or name.startswith(_ENCODER)


class DecisionObjective(Objective, Protocol):
    """A stage that learns from decisions.

    Attributes:
        encoder: Whether the scene encoder learns, too.
        observer: Around whom decisions are made.
    """

    encoder: Encoder
    observer: Observer


class TrunkFeatures(NamedTuple):
    """What the scene encoder knows at B decisions.

    Attributes:
        maps: The encoded maps.
        agents: [B, N, hidden] of the agents; those of `NONE` mean nothing.
        pieces: [B, M, hidden] of the map pieces; those of `NONE` mean nothing.
    """

    maps: MapFeatures
    agents: Tensor
    pieces: Tensor


def trunk_features(
    network: NewcomerNetwork, maps: MapBatch, agents: AgentBatch, batch: DecisionBatch, also: Tensor | None = None
) -> TrunkFeatures:
    """Features of agents and map pieces of decisions.

    Args:
        network: Whose scene encoder.
        maps: Maps of the scenes.
        agents: Everybody as the model sees them in use.
        batch: The decisions.
        also: [...] further map pieces that are to be encoded, `NONE` for none.
    """
    scene, moment = batch.scene[:, None], batch.moment[:, None] - 1
    pieces = len(maps.pose)
    rows = torch.where(batch.piece == NONE, pieces, batch.piece + maps.start[scene])
    wanted = torch.zeros(pieces + 1, dtype=torch.bool, device=rows.device)
    wanted[rows.flatten()] = True
    if also is not None:
        wanted[torch.where(also == NONE, pieces, also).flatten()] = True
    encoded = network.encode_map(maps, agents=agents, also=wanted[:-1])
    features, nodes = network(encoded, agents)
    # Indices of absent agents and pieces have to point somewhere.
    seen = features[nodes.row[scene, moment, batch.agent.clamp(min=0)].clamp(min=0)]
    if encoded.row is not None:
        rows = torch.cat([encoded.row, encoded.row.new_zeros(1)])[rows]
    assert encoded.features is not None
    return TrunkFeatures(encoded, seen, encoded.features[rows.clamp(max=len(encoded.features) - 1)])


def decided(step: Step, limits: DecisionLimits, count: int, observer: Observer) -> tuple[AgentBatch, list[Decisions]]:
    """Everybody of a batch of scenes as a model sees them in use, and decisions of each scene.

    Args:
        step: The scenes.
        limits: How much of a decision is looked at.
        count: Decisions of each scene, drawn at random; 0 for all.
        observer: Around whom.
    """
    parts = [decisions(scene, limits, _drawn(scene, count, step.batch), observer) for scene in step.scenes]
    shape = (*step.agents.valid.shape[:2], step.agents.valid.shape[2] + 1)
    seen = _padded([watched(scene, observer).seen for scene in step.scenes], shape).to(step.agents.pose.device)
    return as_they_came(step.agents, seen), parts


def _drawn(scene: SceneTokens, count: int, batch: tuple[int, ...]) -> list[int] | None:
    """So many of the decisions of a scene, in order; None for all.

    They are drawn by the batch and the scene alone, so that they are the same whichever worker takes it.
    """
    known = scene.token.shape[1] - 1
    if not 0 < count < known:
        return None
    rng = np.random.default_rng([*batch, zlib.crc32(scene.token.tobytes())])
    return sorted((rng.choice(known, count, replace=False) + 1).tolist())


def _padded(parts: Sequence[NDArray[np.bool_]], shape: tuple[int, ...]) -> Tensor:
    """Arrays [A, S] of scenes as one [W, A, S], False where one ends."""
    table = torch.zeros(shape, dtype=torch.bool)
    for row, part in enumerate(parts):
        table[row, : part.shape[0], : part.shape[1]] = torch.as_tensor(part)
    return table


class NewcomerTask(TrafficTask):
    """A model that learns who enters; arguments as of `TrafficTask`.

    Before it begins it takes the median sizes of newcomers from the scenes to train on.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        network = cast(NewcomerNetwork, self.network)
        medians = torch.as_tensor(sizes_of(self.train_scenes), dtype=torch.float32)
        known = torch.isfinite(medians) & (medians > 0)
        network.newcomer_sizes.copy_(
            torch.where(known.to(self.device), medians.to(self.device), network.newcomer_sizes)
        )

    def learns(self, name: str) -> bool:
        """Everything, or everything that stands behind a frozen scene encoder; see `TrafficTask`."""
        return cast(DecisionObjective, self.objective).encoder == "tuned" or not of_encoder(name)


def sizes_of(scenes: TokenisedScenes) -> NDArray[np.float64]:
    """Median length, width and height [3, 3] (m) of the road users of each kind; NaN for a kind that there is not."""
    sizes, kinds = [np.zeros((0, 3))], [np.zeros(0, dtype=np.int64)]
    for number, entry in enumerate(scenes.entries):
        if entry.phase == 0 and not entry.mirrored:
            scene = scenes[number]
            kept = scene.road_user & ~scene.ego
            sizes.append(scene.sizes[kept].astype(np.float64))
            kinds.append(scene.kinds[kept])
    return median_sizes(np.concatenate(sizes), np.concatenate(kinds))
