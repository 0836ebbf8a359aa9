"""How a stage of traffic training uses the one supervised loop: batches of scenes, checkpoint, best weights."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.files import JsonDict
from harness.fitting.events import Report, Row, unheard
from harness.fitting.identity import Identity, fingerprint
from harness.fitting.loop import Fit
from harness.fitting.settings import FitSettings, adamw
from harness.fitting.task import EpochOutcome, Loss, Task, seeded
from harness.traffic.model.network import SmartNetwork
from harness.traffic.model.smart import SmartModel, build_network
from harness.traffic.tokens.config import SceneOptions
from harness.traffic.training.config import FREE, LoopConfig
from harness.traffic.training.dataset import TokenisedScenes
from harness.traffic.training.feed import SceneBatch, SceneFeed
from harness.traffic.training.hands import Hands, helped
from harness.traffic.training.objective import KnowsScenes, Objective, Step

log = logging.getLogger(__name__)

CHECKPOINT: Final = "checkpoint.safetensors"
WEIGHTS: Final = "smart.safetensors"
_VALIDATION_SEED: Final = 7

FINE_TUNED: Final = (
    "layers.",
    "token_head.query.",
    "token_head.key.",
    "token_head.kernel.",
    "token_head.bias",
    "mixture.",
)
"""What fine-tuning stages train, as CAT-K's code does: the agents' attention and the head. The map encoder and all
embeddings keep their weights: of the map, of agents, of relative poses, and of tokens, which the head only reads."""


def device_of(name: str) -> torch.device:
    """The device that `auto` or a torch name means."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def multiplies_halves(device: torch.device) -> bool:
    """Whether a device has instructions for products of bfloat16 numbers; elsewhere they are slower than float32's."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    cpu = torch.cpu
    return device.type == "cpu" and (cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())


def settings_of(config: LoopConfig, objective: Objective) -> FitSettings:
    """What the loop has to know; a learning rate of 0 is the stage's own."""
    return FitSettings(
        epochs=config.epochs,
        rate=config.learning_rate or (1e-3 if objective.name in ("bc", "gmm", "rosetta", "infgen") else 1e-4),
        warmup=config.warmup,
        final_rate=config.final_rate,
        clip=config.clip,
        average=config.average,
        patience=config.patience,
        minutes=config.minutes,
    )


Made = tuple[Step, Any]
"""A batch of scenes with what the objective prepared of it."""


class Asked(NamedTuple):
    """A batch that workers make for themselves: numbers of scenes, and a seed."""

    entries: list[int]
    seed: tuple[int, ...]


class TrafficTask(Task[Made | Asked]):
    """A network that learns one objective; a batch is scenes with what the objective prepared of them.

    Args:
        config: Options of the loop.
        objective: Stage.
        network: Starting weights; trained in place.
        options: Options of the scenes, stored with the weights.
        train, held_out: Scenes.
        folder: The best weights go here.
        info: Stored with the weights.

    Attributes:
        hands: Workers that share every batch; None where this process does everything.
    """

    best_by = "val"
    hands: Hands | None = None
    weights = WEIGHTS
    """Name of the file of the best weights."""

    def __init__(
        self,
        config: LoopConfig,
        objective: Objective,
        network: SmartNetwork,
        options: SceneOptions,
        train: TokenisedScenes,
        held_out: TokenisedScenes,
        folder: Path,
        info: JsonDict | None = None,
    ) -> None:
        self.config, self.objective, self.options = config, objective, options
        self.train_scenes, self.held_out, self.folder, self.info = train, held_out, folder, info or {}
        self.device = device_of(config.device)
        self._feed, self._held_feed = (SceneFeed(scenes, options.lanes, self.device) for scenes in (train, held_out))
        self._half = config.amp and multiplies_halves(self.device)
        if config.amp and not self._half:
            log.warning("this processor does not multiply bfloat16 numbers itself: --loop.amp is left aside")
        self.start = fingerprint(network)
        self.network: SmartNetwork = network.to(self.device)
        # Rewards and references belong to the weights that the stage starts from, also after resuming.
        torch.manual_seed(config.seed)
        objective.begin(self.network)
        if isinstance(objective, KnowsScenes):
            objective.read(train)
        for name, value in self.network.named_parameters():
            value.requires_grad_(not objective.frozen or name.startswith(FINE_TUNED))
        self.memory = objective.module if objective.module is None else objective.module.to(self.device)
        self.settings = settings_of(config, objective)
        self.optimiser = adamw(self.parameters(), self.settings.rate, config.weight_decay)
        self.count = min(config.scenes_per_epoch or train.per_epoch, train.per_epoch)
        self.updates = -(-self.count // config.batch) * objective.updates

    def __getstate__(self) -> dict[str, Any]:
        """What a worker needs to take a share; its network is its own."""
        return {**self.__dict__, "network": copy.deepcopy(self.network), "optimiser": None, "hands": None}

    def step_of(self, feed: SceneFeed, entries: list[int], batch: SceneBatch, seed: tuple[int, ...]) -> Step:
        """A batch of scenes with its own random generator, on the device."""
        generator = torch.Generator(self.device).manual_seed(int(np.random.default_rng(list(seed)).integers(2**62)))
        # A worker's share has its place behind the seed, the epoch and the number of the batch.
        return Step(*batch, lambda position: feed.scenes.scenario(entries[position]), generator, seed[:3])

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._half)

    def taught(self, entries: list[int], seed: tuple[int, ...]) -> Made:
        """A batch of scenes with what the objective prepared of it, ready for the loss."""
        return self._prepared(entries, self._feed.batch(entries), seed)

    def _prepared(self, entries: list[int], batch: SceneBatch, seed: tuple[int, ...]) -> Made:
        step = self.step_of(self._feed, entries, batch, seed)
        self.network.eval()
        with torch.no_grad(), self._autocast():
            data = self.objective.prepare(self.network, step)
        self.network.train()
        return step, data

    def batches(self, epoch: int) -> Iterator[Made | Asked]:
        """Scenes in random order; every batch as often as the objective updates on it."""
        order = self.train_scenes.order(seeded(self.config.seed, epoch), epoch)[: self.count]
        groups = self.train_scenes.batches(order, self.config.batch)
        if self.hands is not None:
            yield from (Asked(entries, (self.config.seed, epoch, k)) for k, entries in enumerate(groups))
            return
        for number, (entries, batch) in enumerate(self._feed.batches(groups)):
            made = self._prepared(entries, batch, (self.config.seed, epoch, number))
            for _ in range(self.objective.updates):
                yield made

    def loss(self, batch: Made | Asked) -> Loss:
        """The objective's loss."""
        assert not isinstance(batch, Asked)
        with self._autocast():
            found = self.objective.loss(self.network, *batch)
        return Loss(found.total, {"loss": found.total.detach(), **found.numbers})

    def differentiate(self, batch: Made | Asked) -> Loss:
        """The loss and its gradient, computed here or by all hands."""
        if isinstance(batch, Asked):
            assert self.hands is not None
            return self.hands.differentiate(batch.entries, batch.seed)
        return super().differentiate(batch)

    @torch.no_grad()
    def judged(self, entries: list[int], seed: tuple[int, ...], batch: SceneBatch | None = None) -> float:
        """The objective's value of held-out scenes, of which a batch may be at hand."""
        self.network.eval()
        batch = batch or self._held_feed.batch(entries)
        return self.objective.validate(self.network, self.step_of(self._held_feed, entries, batch, seed))

    def evaluate(self, epoch: int) -> dict[str, float]:
        """The objective's value of held-out scenes."""
        groups = list(self.held_out.batches(np.arange(len(self.held_out)), self.config.batch))
        if self.hands is not None:
            values = self.hands.judge(groups, _VALIDATION_SEED)
        else:
            made = enumerate(self._held_feed.batches(groups))
            values = [self.judged(entries, (_VALIDATION_SEED, k), batch) for k, (entries, batch) in made]
        return {"val": float(np.average(values, weights=[len(group) for group in groups]))}

    def row(self, outcome: EpochOutcome) -> Row:
        """The usual numbers, and the mean gradient norm."""
        gradient = sum(outcome.gradients) / len(outcome.gradients)
        return {**super().row(outcome), "gradient": gradient}

    def improved(self, weights: dict[str, Tensor], epoch: int, value: float) -> None:
        """Write the new best weights."""
        self.model(weights, epoch, value).save(self.folder / self.weights)

    def model(self, weights: dict[str, Tensor], epoch: int, value: float) -> SmartModel:
        """A model with weights of an epoch."""
        on_cpu = {name: tensor.cpu() for name, tensor in weights.items()}
        network = build_network(self.network.config, on_cpu, str(self.folder))
        info = {**self.info, "stage": self.objective.name, "epoch": epoch, "validation": value}
        return SmartModel(network, self.options, info)

    def identity(self, options: JsonDict) -> Identity:
        """What a checkpoint must agree with.

        Args:
            options: Options of the objective.
        """
        data = {"scenes": self.train_scenes.digest(), "held_out": self.held_out.digest()}
        stage = {"stage": self.objective.name, "options": options, "start": self.start}
        return Identity({**asdict(self.config), **stage, **data}, FREE)


def train_stage(
    task: TrafficTask, options: JsonDict, *, part: str, report: Report = unheard
) -> tuple[SmartModel, list[Row]]:
    """Train, or go on where the checkpoint in the task's folder ends.

    Args:
        task: What is trained.
        options: Options of its objective; a checkpoint of other options is refused.
        part: The stage's name in events.
        report: Takes the events.

    Returns:
        The best model, also saved in the task's folder, and the rows of all epochs.

    Raises:
        RunError: The checkpoint is unreadable, or was made with other settings, scenes or starting weights.
    """
    torch.set_num_threads(task.config.threads)
    fit: Fit[Made | Asked] = Fit(
        task,
        task.settings,
        part=part,
        note=f"{task.train_scenes.per_epoch} scenes, {len(task.held_out)} held out",
        report=report,
        checkpoint=task.folder / CHECKPOINT,
        identity=task.identity(options),
    )
    with helped(task):
        rows = fit.run()
    best = task.model(fit.best_weights, fit.best_epoch, fit.best)
    best.save(task.folder / task.weights)
    return best, rows
