"""The stage rosetta: one cross-entropy over the structured sequences of logged decisions.

Paper: RosettaSim, section 4.3 and equation 8. Everything is trained at once, the scene encoder too unless it is frozen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.errors import ConfigError
from harness.fitting.task import Numbers
from harness.traffic.model.batch import AgentBatch, MapBatch
from harness.traffic.model.network import SmartNetwork
from harness.traffic.observers import Observer
from harness.traffic.open.decisions import UNSCORED
from harness.traffic.open.network import UNKNOWN_MOTION
from harness.traffic.rosetta.model import RosettaModel, build_rosetta
from harness.traffic.rosetta.network import RosettaNetwork
from harness.traffic.rosetta.sequence import PARTS, SequenceBatch, join_sequences
from harness.traffic.training.config import Encoder
from harness.traffic.training.dataset import TokenisedScenes
from harness.traffic.training.decided import NewcomerTask, decided, trunk_features
from harness.traffic.training.encoded import KeptFeatures
from harness.traffic.training.objective import StageLoss, Step
from harness.traffic.training.zipf import as_drawn, law_weights, motion_counts

ROSETTA_WEIGHTS: Final = "rosetta.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class SequenceLesson:
    """What an update learns from.

    Attributes:
        agents: Everybody as the model sees them in use.
        batch: The decisions.
        encoded: What a frozen scene encoder knows of their agents [B, N, hidden] and map pieces [B, M, hidden]; None
            where the encoder learns.
    """

    agents: AgentBatch
    batch: SequenceBatch
    encoded: tuple[Tensor, Tensor] | None = None

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
    scene, moment, who = batch.scene[:, None], batch.moment[:, None] - 1, batch.agent.clamp(min=0)
    table: Tensor | None
    if lesson.encoded is not None:
        (seen, pieces), table = lesson.encoded, network.token_head.table(network.motions)
    else:
        encoded, seen, pieces = trunk_features(network, maps, agents, batch)
        table = encoded.table
    tables = network.tables()
    x = network.sequence_features(seen, pieces, batch, tables)
    kept, places = batch.motion != UNSCORED, batch.parts
    kinds, before = agents.kinds[scene, who][kept], agents.motion[scene, who, moment][kept]
    known = agents.token[scene, who, moment][kept] != UNKNOWN_MOTION
    logits = network.motion_logits(x[:, places["motion"]][kept], seen[kept], kinds, before, known, table)
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
    encoder: Encoder = "tuned"
    """Whether the scene encoder learns too; a frozen one sees each scene once."""
    encoded: KeptFeatures = field(default_factory=KeptFeatures)
    """What a frozen one has seen."""
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
        agents, parts = decided(step, cast(RosettaNetwork, network).rosetta.limits, count, self.observer)
        batch, encoded = join_sequences(parts).to(step.agents.pose.device), None
        if self.encoder == "frozen":
            known = cast(RosettaNetwork, network)
            encoded = self.encoded.features(known, step.scenes, batch, step.maps.lanes, self.observer)
        return SequenceLesson(agents, batch, encoded)


class RosettaTask(NewcomerTask):
    """A RosettaSim that learns; arguments as of `TrafficTask`."""

    weights = ROSETTA_WEIGHTS

    def model(self, weights: dict[str, Tensor], epoch: int, value: float) -> RosettaModel:
        """A model with weights of an epoch."""
        network = cast(RosettaNetwork, self.network)
        on_cpu = {name: tensor.cpu() for name, tensor in weights.items()}
        info = {**self.info, "stage": self.objective.name, "epoch": epoch, "validation": value}
        rebuilt = build_rosetta(network.config, network.rosetta, on_cpu, str(self.folder))
        model = RosettaModel(rebuilt, self.options, info)
        model.observer = cast(SequenceCloning, self.objective).observer
        return model
