"""The stage rosetta: one cross-entropy over the structured sequences of logged decisions.

Paper: RosettaSim, section 4.3 and equation 8. Everything is trained at once, the scene encoder too.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from harness.errors import ConfigError
from harness.fitting.task import Numbers
from harness.traffic.model.batch import AgentBatch, MapBatch
from harness.traffic.model.network import SmartNetwork
from harness.traffic.observers import Observer
from harness.traffic.open.decisions import NONE, UNSCORED, decisions, watched
from harness.traffic.open.network import UNKNOWN_MOTION, as_they_came
from harness.traffic.rosetta.model import RosettaModel, build_rosetta
from harness.traffic.rosetta.network import RosettaNetwork
from harness.traffic.rosetta.sequence import PARTS, SequenceBatch, join_sequences
from harness.traffic.tokens.population import median_sizes
from harness.traffic.tokens.scene import SceneTokens
from harness.traffic.training.dataset import TokenisedScenes
from harness.traffic.training.loop import TrafficTask
from harness.traffic.training.objective import StageLoss, Step
from harness.traffic.training.zipf import as_drawn, law_weights, motion_counts

ROSETTA_WEIGHTS: Final = "rosetta.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class SequenceLesson:
    """What an update learns from.

    Attributes:
        agents: Everybody as the model sees them in use.
        batch: The decisions.
    """

    agents: AgentBatch
    batch: SequenceBatch

    @property
    def mask(self) -> Tensor:
        """[B, L] where there is a loss."""
        return self.batch.scored


def sequence_losses(network: RosettaNetwork, maps: MapBatch, lesson: SequenceLesson) -> dict[str, Tensor]:
    """Negative log-likelihoods of everything that is predicted: `motion`, `type`, `grid` and `yaw`, [n] each.

    Args:
        network: The network.
        maps: Maps of the scenes.
        lesson: Their agents and decisions.
    """
    agents, batch = lesson.agents, lesson.batch
    scene, moment = batch.scene[:, None], batch.moment[:, None] - 1
    pieces = len(maps.pose)
    rows = torch.where(batch.piece == NONE, pieces, batch.piece + maps.start[scene])
    wanted = torch.zeros(pieces + 1, dtype=torch.bool, device=rows.device)
    wanted[rows.flatten()] = True
    encoded = network.encode_map(maps, agents=agents, also=wanted[:-1])
    features, nodes = network(encoded, agents)
    who = batch.agent.clamp(min=0)
    # Indices of absent agents and pieces have to point somewhere.
    seen = features[nodes.row[scene, moment, who].clamp(min=0)]
    if encoded.row is not None:
        rows = torch.cat([encoded.row, encoded.row.new_zeros(1)])[rows]
    assert encoded.features is not None
    tables = network.tables()
    x = network.sequence_features(seen, encoded.features[rows.clamp(max=len(encoded.features) - 1)], batch, tables)
    kept, places = batch.motion != UNSCORED, batch.parts
    kinds, before = agents.kinds[scene, who][kept], agents.motion[scene, who, moment][kept]
    known = agents.token[scene, who, moment][kept] != UNKNOWN_MOTION
    logits = network.motion_logits(x[:, places["motion"]][kept], seen[kept], kinds, before, known, encoded.table)
    found = {"motion": F.cross_entropy(logits, batch.motion[kept], reduction="none")}
    labels, spawned = batch.spawn_labels, network.spawn_logits(x[:, places["newcomers"]], tables)
    for begin, (name, scores) in enumerate(zip(("type", "grid", "yaw"), spawned, strict=True)):
        wanted_tokens = labels[:, begin::PARTS]
        some = wanted_tokens != UNSCORED
        found[name] = F.cross_entropy(scores[some], wanted_tokens[some], reduction="none")
    return found


@dataclass
class SequenceCloning:
    """Next-token prediction over structured sequences, as an objective of the traffic trainer."""

    decisions: int = 0
    """Decisions of each scene, drawn at random, that an update learns from; 0 for all."""
    observer: Observer = "ego"
    """Around whom."""
    zipf: float | None = None
    """Exponent of the law that motion tokens follow in training; None takes them as they come."""
    weights: Tensor | None = None
    """Weights [3, V] of motion tokens for it, from the scenes to train on."""
    name: str = "rosetta"
    updates: int = 1
    frozen: bool = False
    module: nn.Module | None = None

    def __post_init__(self) -> None:
        """Refuse a law that makes rare tokens the most frequent.

        Raises:
            ConfigError: The exponent is negative.
        """
        if self.zipf is not None and not self.zipf >= 0:
            raise ConfigError(f"--options.zipf {self.zipf}: expected an exponent of at least 0.")

    def begin(self, network: SmartNetwork) -> None:
        """Nothing to remember."""

    def read(self, scenes: TokenisedScenes) -> None:
        """Count the motion tokens, if they are to follow another law than theirs."""
        if self.zipf is not None:
            self.weights = law_weights(motion_counts(scenes), self.zipf)

    def prepare(self, network: SmartNetwork, step: Step) -> SequenceLesson:
        """The decisions of the logs."""
        return self._lesson(network, step, self.decisions)

    def loss(self, network: SmartNetwork, step: Step, data: SequenceLesson) -> StageLoss:
        """One cross-entropy: the mean over everything that is predicted (equation 8)."""
        found = sequence_losses(cast(RosettaNetwork, network), step.maps, data)
        numbers: Numbers = {name: values.detach().sum() / max(len(values), 1) for name, values in found.items()}
        if self.weights is not None:
            batch, kept = data.batch, data.batch.motion != UNSCORED
            kinds = data.agents.kinds[batch.scene[:, None], batch.agent.clamp(min=0)][kept]
            found["motion"] = as_drawn(found["motion"], kinds, batch.motion[kept], self.weights)
        return StageLoss(torch.cat(list(found.values())).mean(), numbers)

    def validate(self, network: SmartNetwork, step: Step) -> float:
        """The same of all decisions of held-out scenes."""
        lesson = self._lesson(network, step, 0)
        found = sequence_losses(cast(RosettaNetwork, network), step.maps, lesson)
        return float(torch.cat(list(found.values())).detach().mean())

    def _lesson(self, network: SmartNetwork, step: Step, count: int) -> SequenceLesson:
        limits = cast(RosettaNetwork, network).rosetta.limits
        parts = [decisions(scene, limits, _drawn(scene, count, step.batch), self.observer) for scene in step.scenes]
        device = step.agents.pose.device
        shape = (*step.agents.valid.shape[:2], step.agents.valid.shape[2] + 1)
        seen = _padded([watched(scene, self.observer).seen for scene in step.scenes], shape).to(device)
        return SequenceLesson(as_they_came(step.agents, seen), join_sequences(parts).to(device))


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


class RosettaTask(TrafficTask):
    """A RosettaSim that learns; arguments as of `TrafficTask`.

    Before it begins it takes the median sizes of newcomers from the scenes to train on.
    """

    weights = ROSETTA_WEIGHTS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        network = cast(RosettaNetwork, self.network)
        medians = torch.as_tensor(sizes_of(self.train_scenes), dtype=torch.float32)
        known = torch.isfinite(medians) & (medians > 0)
        network.newcomer_sizes.copy_(
            torch.where(known.to(self.device), medians.to(self.device), network.newcomer_sizes)
        )

    def model(self, weights: dict[str, Tensor], epoch: int, value: float) -> RosettaModel:
        """A model with weights of an epoch."""
        network = cast(RosettaNetwork, self.network)
        on_cpu = {name: tensor.cpu() for name, tensor in weights.items()}
        info = {**self.info, "stage": self.objective.name, "epoch": epoch, "validation": value}
        rebuilt = build_rosetta(network.config, network.rosetta, on_cpu, str(self.folder))
        return RosettaModel(rebuilt, self.options, info)


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
