"""Training of the scene autoencoder by the one supervised loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from harness.errors import RunError, ScenarioError
from harness.files import JsonDict
from harness.fitting.events import Advanced, Report, Row, unheard
from harness.fitting.identity import Identity, digest
from harness.fitting.loop import Fit
from harness.fitting.settings import FitSettings, adamw
from harness.fitting.task import Loss, Task, seeded
from harness.traffic.scene_vae.config import FREE, SceneVaeConfig, VaeTraining
from harness.traffic.scene_vae.elbo import elbo_terms
from harness.traffic.scene_vae.model import SceneVae
from harness.traffic.scene_vae.moments import LaneTable, Moment, MomentBatch, MovingTraffic, join_moments, moments_of
from harness.traffic.scene_vae.network import SceneVaeNetwork
from harness.traffic.tokens.population import ego_states
from harness.traffic.tokens.tracks import clean_tracks
from scenarios.scenario import Scenario, ScenarioSource

log = logging.getLogger(__name__)

CHECKPOINT: Final = "checkpoint.safetensors"
WEIGHTS: Final = "scene_vae.safetensors"
_VALIDATION_SEED: Final = 7


def logged_traffic(scenario: Scenario) -> MovingTraffic:
    """Everybody as recorded: gaps filled, tracks begun at half seconds, as for tokens."""
    agents = np.arange(scenario.num_agents)
    tracks = clean_tracks(scenario, agents)
    sizes = np.array([scenario.box(agent) for agent in range(scenario.num_agents)]).reshape(-1, 2)
    return MovingTraffic(tracks.poses, tracks.valid, sizes, scenario.kinds, scenario.dt)


def logged_moments(scenario: Scenario, config: SceneVaeConfig, count: int) -> list[Moment]:
    """Moments of a recording around its ego, evenly spread; those at which the ego or any lane is missing are not.

    Args:
        scenario: The recording.
        config: What is seen.
        count: How many at most.
    """
    there = np.flatnonzero(scenario.valid[scenario.ego])
    if len(there) == 0:
        return []
    steps = np.unique(there[np.linspace(0, len(there) - 1, count + 2).round().astype(int)[1:-1]])
    found = moments_of(
        LaneTable(scenario, config), logged_traffic(scenario), ego_states(scenario)[:, :3], steps.tolist()
    )
    return [moment for moment in found if len(moment.lanes)]


def collect_moments(
    source: ScenarioSource,
    config: SceneVaeConfig,
    count: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Moment]:
    """Moments of all scenes that can be read; the others are logged.

    Args:
        source: Recordings.
        config: What is seen.
        count: Moments of each.
        progress: Called with scenes done and their number.

    Raises:
        RunError: There is no moment.
    """
    moments: list[Moment] = []
    for index in range(len(source)):
        try:
            moments += logged_moments(source[index], config, count)
        except ScenarioError as error:
            log.warning("scene %s is left out: %s", source.ids[index], error)
        progress(index + 1, len(source))
    if not moments:
        raise RunError(
            f"none of the {len(source)} scenes has an ego near a lane, so that there is nothing to learn from. Give "
            "scenes whose maps have lanes (`--data`), or more of them (`--train-scenes`, `--val-scenes`)."
        )
    return moments


class SceneVaeTask(Task[list[int]]):
    """The scene autoencoder; a batch is the numbers of its moments, and half of the batches are seen in a mirror.

    Args:
        training: Options.
        config: Sizes.
        train, held_out: Moments.
        folder: Where the best weights are written.
        info: Goes into the weights file.
    """

    best_by = "val"

    def __init__(
        self,
        training: VaeTraining,
        config: SceneVaeConfig,
        train: list[Moment],
        held_out: list[Moment],
        folder: Path,
        info: JsonDict,
    ) -> None:
        self.training, self.folder, self.info = training, folder, info
        self.train_moments, self.held_out = train, held_out
        torch.manual_seed(training.seed)
        self.network: SceneVaeNetwork = SceneVaeNetwork(config)
        self.optimiser = adamw(self.parameters(), training.learning_rate, training.weight_decay)
        self.updates = -(-len(train) // training.batch)

    def batches(self, epoch: int) -> Iterator[list[int]]:
        """Moments in random order."""
        self.rng = seeded(self.training.seed, epoch)
        order = self.rng.permutation(len(self.train_moments)).tolist()
        self.network.train()
        for begin in range(0, len(order), self.training.batch):
            yield order[begin : begin + self.training.batch]

    def loss(self, batch: list[int]) -> Loss:
        """The negative evidence lower bound of sampled latents."""
        moments = self._joined([self.train_moments[row] for row in batch])
        total, numbers = self._terms(moments.mirrored() if self.rng.random() < 0.5 else moments)
        return Loss(total.mean(), {name: value.detach().mean() for name, value in numbers.items()})

    def evaluate(self, epoch: int) -> dict[str, float]:
        """The same of held-out moments, with the same noise in every epoch."""
        generator = torch.Generator().manual_seed(_VALIDATION_SEED)
        self.network.eval()
        sums: dict[str, float] = {}
        for begin in range(0, len(self.held_out), self.training.batch):
            moments = self._joined(self.held_out[begin : begin + self.training.batch])
            _, numbers = self._terms(moments, generator)
            for name, value in numbers.items():
                sums[name] = sums.get(name, 0.0) + float(value.sum())
        means = {name: value / len(self.held_out) for name, value in sums.items()}
        return {"val": means.pop("loss"), **{f"val_{name}": value for name, value in means.items()}}

    def improved(self, weights: dict[str, Tensor], epoch: int, value: float) -> None:
        """Write the new best weights."""
        self.model(weights, epoch, value).save(self.folder / WEIGHTS)

    def model(self, weights: dict[str, Tensor], epoch: int, value: float) -> SceneVae:
        """The autoencoder with weights of an epoch."""
        network = SceneVaeNetwork(self.network.config)
        network.load_state_dict(weights)
        made = {"epoch": epoch, "validation": value, "moments": len(self.train_moments)}
        return SceneVae(network, {**self.info, **made})

    def _joined(self, moments: list[Moment]) -> MomentBatch:
        return join_moments(moments, self.network.config.points)

    def _terms(
        self, moments: MomentBatch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each moment [B], and it and its terms by name."""
        terms = elbo_terms(moments, *self.network(moments, generator))
        total = terms.total(self.training)
        return total, {"loss": total, **terms._asdict()}


def train_scene_vae(
    training: VaeTraining,
    config: SceneVaeConfig,
    train: ScenarioSource,
    val: ScenarioSource,
    folder: Path,
    *,
    info: JsonDict | None = None,
    report: Report = unheard,
) -> tuple[SceneVae, list[Row]]:
    """Train a scene autoencoder, or go on where the checkpoint in the folder ends.

    Args:
        training: Options.
        config: Sizes.
        train, val: Recordings to learn from, and those that decide which epoch is kept.
        folder: Run folder; gets `WEIGHTS`.
        info: Goes into the weights file.
        report: Takes the events.

    Returns:
        The best autoencoder and the rows of all epochs.

    Raises:
        RunError: There is nothing to learn from, or the checkpoint is unreadable or of other settings or scenes.
    """
    torch.set_num_threads(training.threads)
    sets: dict[str, list[Moment]] = {}
    for name, source in (("train", train), ("val", val)):

        def progress(done: int, total: int, name: str = name) -> None:
            report(Advanced(f"moments ({name})", done, total))

        sets[name] = collect_moments(source, config, training.moments, progress)
    task = SceneVaeTask(training, config, sets["train"], sets["val"], folder, info or {})
    data = {"scenes": digest(train.ids), "held_out": digest(val.ids)}
    fit: Fit[list[int]] = Fit(
        task,
        FitSettings(
            epochs=training.epochs,
            rate=training.learning_rate,
            warmup=training.warmup,
            final_rate=training.final_rate,
            clip=training.clip,
            average=training.average,
            patience=training.patience,
            minutes=training.minutes,
        ),
        part="scene vae",
        note=f"{len(sets['train'])} moments, {len(sets['val'])} held out",
        report=report,
        checkpoint=folder / CHECKPOINT,
        identity=Identity({**asdict(training), "model": asdict(config), **data}, FREE),
    )
    rows = fit.run()
    best = task.model(fit.best_weights, fit.best_epoch, fit.best)
    best.save(folder / WEIGHTS)
    return best, rows
