"""Training of the motion prior: resumable, early-stopped, judged beside baselines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from adversaries.prior.baselines import constant_velocity, lane_following
from adversaries.prior.batching import augment, batch_of
from adversaries.prior.config import FREE, PriorTraining
from adversaries.prior.decode import choose
from adversaries.prior.evaluation import MODES, displacement, summarise
from adversaries.prior.losses import prior_loss
from adversaries.prior.network import GoalNetwork
from adversaries.prior.prior import MotionPrior
from adversaries.prior.samples import Samples, build_samples
from harness.errors import RunError
from harness.files import JsonDict, explained, write_json
from harness.fitting.events import Advanced, Epoch, Event, Report, Row, unheard
from harness.fitting.identity import Identity, digest
from harness.fitting.loop import Fit
from harness.fitting.settings import FitSettings, adamw
from harness.fitting.task import Loss, Task, seeded
from scenarios.scenario import ScenarioSource

log = logging.getLogger(__name__)

CHECKPOINT: Final = "checkpoint.safetensors"
WEIGHTS: Final = "prior.safetensors"
HISTORY_FILE: Final = "history.json"
EVAL_BATCH: Final = 64

CLIP: Final = 5.0
"""Largest gradient norm."""


@torch.no_grad()
def predict(network: GoalNetwork, rows: JsonDict, modes: int) -> np.ndarray:
    """Roll-outs [B, modes, FUTURE_STEPS, 2] (agent frame, m) in the order of the NMS decoding."""
    network.eval()
    batch, _ = batch_of(rows)
    encoding, log_probs = network(batch)
    scores, speeds = log_probs.double().numpy(), batch.speed.numpy()
    points, mask = batch.goal_points.numpy(), batch.goal_mask.numpy()
    index = torch.as_tensor(
        np.stack([choose(scores[b], points[b], mask[b], modes, float(speeds[b])) for b in range(len(scores))])
    )
    goals = batch.goals.gather(1, index[..., None].expand(-1, -1, batch.goals.shape[-1]))
    return network.complete_exactly(encoding, goals).points.numpy()


Predictor = Callable[[JsonDict], np.ndarray]


def errors(predictor: Predictor, samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """ADE and FDE [N, K] of a predictor on every sample."""
    parts = []
    for begin in range(0, len(samples), EVAL_BATCH):
        rows = samples[np.arange(begin, min(begin + EVAL_BATCH, len(samples)))]
        parts.append(displacement(predictor(rows), rows["future"][..., :2], rows["future_valid"]))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def compare(network: GoalNetwork, samples: Samples) -> dict[str, dict[str, dict[str, float]]]:
    """The prior beside the baselines, for all moving vehicles, the interacting ones, and all."""
    config = network.config
    most = max(MODES)
    methods: dict[str, Predictor] = {
        "prior": lambda rows: predict(network, rows, most),
        "constant velocity": lambda rows: constant_velocity(batch_of(rows)[0], config).points.numpy(),
        "lane following": lambda rows: lane_following(batch_of(rows)[0], config, most).points.numpy(),
    }
    subsets = {
        "moving": samples.arrays["moves"],
        "interacting": samples.arrays["interest"],
        "all": np.ones(len(samples), dtype=bool),
    }
    out: dict[str, dict[str, dict[str, float]]] = {name: {} for name in subsets}
    for method, predictor in methods.items():
        ade, fde = errors(predictor, samples)
        for name, rows in subsets.items():
            if rows.any():
                out[name][method] = summarise(ade[rows], fde[rows])
    return out


class PriorTask(Task[np.ndarray]):
    """The motion prior; a batch is the numbers of its samples, and its losses are seen mirrored and turned."""

    best_by = "minADE_32"

    def __init__(self, config: PriorTraining, train: Samples, held_out: Samples) -> None:
        self.config, self.train_samples, self.held_out = config, train, held_out
        torch.manual_seed(config.seed)
        self.network: GoalNetwork = GoalNetwork(config.model)
        self.optimiser = adamw(self.parameters(), config.learning_rate, config.weight_decay)
        self.per_epoch = min(config.samples_per_epoch, len(train))
        self.updates = -(-self.per_epoch // config.batch_size)

    def batches(self, epoch: int) -> Iterator[np.ndarray]:
        """Samples in random order."""
        self.rng = seeded(self.config.seed, epoch)
        order = self.rng.permutation(len(self.train_samples))[: self.per_epoch]
        self.network.train()
        for begin in range(0, len(order), self.config.batch_size):
            yield np.sort(order[begin : begin + self.config.batch_size])

    def loss(self, batch: np.ndarray) -> Loss:
        """The loss of `losses.prior_loss` on augmented samples."""
        parts = prior_loss(self.network, *batch_of(augment(self.train_samples[batch], self.rng)))
        return Loss(parts.total, {name: value.item() for name, value in parts._asdict().items()})

    def evaluate(self, epoch: int) -> dict[str, float]:
        """Held-out numbers, on moving vehicles."""
        ade, fde = errors(lambda rows: predict(self.network, rows, max(MODES)), self.held_out)
        moving = self.held_out.arrays["moves"]
        rows = moving if moving.any() else ~moving
        return summarise(ade[rows], fde[rows])


@dataclass(frozen=True)
class TrainedPrior:
    """What training gives.

    Attributes:
        prior: The best one, as it was saved.
        results: It and the baselines: split → vehicles → method → metric → value.
        history: A row per epoch.
    """

    prior: MotionPrior
    results: dict[str, dict[str, dict[str, dict[str, float]]]]
    history: list[Row]


def _prepare(folder: Path, resume: bool) -> None:
    """Make the run folder; refuse to overwrite a run."""
    with explained(folder, "write in"):
        folder.mkdir(parents=True, exist_ok=True)
    if (folder / CHECKPOINT).exists() and not resume:
        raise RunError(f"{folder} already holds a run. Add --resume to go on with it, or choose another folder.")


def _samples(
    config: PriorTraining, sources: dict[str, ScenarioSource | None], folder: Path, report: Report
) -> dict[str, Samples]:
    """Extract (or reopen) the samples of every split that there is."""
    sets: dict[str, Samples] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in sources.items():
        if source is None:
            continue

        def progress(done: int, total: int, name: str = name) -> None:
            report(Advanced(f"features ({name})", done, total))

        sets[name] = build_samples(
            source,
            folder / name,
            config.model,
            varied=name == "train",
            stationary=config.stationary,
            seed=config.seed,
            progress=progress,
        )
        log.info("%s: %d samples", name, len(sets[name]))
    return sets


def train_prior(
    config: PriorTraining,
    train: ScenarioSource,
    held_out: ScenarioSource,
    folder: Path,
    *,
    test: ScenarioSource | None = None,
    resume: bool = False,
    cache: Path | None = None,
    info: JsonDict | None = None,
    report: Report = unheard,
) -> TrainedPrior:
    """Train a motion prior; write weights, curves and tables into `folder`.

    Args:
        config: Options.
        train: Scenes to learn from.
        held_out: Scenes for early stopping.
        folder: Run directory.
        test: Scenes for the final table; `held_out` if None.
        resume: Go on from the checkpoint in `folder`.
        cache: Where extracted samples are kept; inside `folder` if None.
        info: Goes into the weights file.
        report: Takes the events.

    Returns:
        The best prior, its results and the epochs.

    Raises:
        RunError: Nothing to learn from, an unwritable folder, or a checkpoint that does not fit.
    """
    torch.set_num_threads(config.threads)
    _prepare(folder, resume)
    sources = {"train": train, "val": held_out, "test": test}
    sets = _samples(config, sources, cache or folder / "samples", report)
    task = PriorTask(config, sets["train"], sets["val"])
    fit = _fit(task, folder, {"scenes": digest(train.ids), "held_out": digest(held_out.ids)}, report)
    rows = fit.run()
    results = {name: compare(task.network, samples) for name, samples in sets.items() if name != "train"}
    made = {
        "epochs": fit.epoch,
        "best_epoch": fit.best_epoch,
        "val_minADE_32": fit.best,
        "train_scenes": len(train),
        "train_samples": len(sets["train"]),
    }
    prior = MotionPrior(task.network, {**(info or {}), **made})
    prior.save(folder / WEIGHTS)
    write_json(folder / "results.json", results)
    return TrainedPrior(prior, results, rows)


def _fit(task: PriorTask, folder: Path, data: dict[str, str], report: Report) -> Fit[np.ndarray]:
    """The fit, gone on with where there is a checkpoint; every epoch it writes its history."""
    config = task.config
    settings = FitSettings(
        epochs=config.epochs,
        rate=config.learning_rate,
        warmup=config.warmup,
        final_rate=0.0,
        clip=CLIP,
        average=config.average,
        patience=config.patience,
        minutes=config.minutes,
    )

    def tell(event: Event) -> None:
        if isinstance(event, Epoch):
            write_json(folder / HISTORY_FILE, fit.rows)
        report(event)

    identity = Identity({**asdict(config), **data}, FREE)
    fit: Fit[np.ndarray] = Fit(
        task, settings, part="prior", report=tell, checkpoint=folder / CHECKPOINT, identity=identity
    )
    return fit
