"""Training of the motion prior: resumable, early-stopped, judged beside baselines."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from adversaries.prior.baselines import constant_velocity, lane_following
from adversaries.prior.batching import augment, batch_of
from adversaries.prior.config import PriorConfig
from adversaries.prior.decode import choose
from adversaries.prior.evaluation import MODES, displacement, summarise
from adversaries.prior.losses import prior_loss
from adversaries.prior.network import GoalNetwork
from adversaries.prior.prior import MotionPrior
from adversaries.prior.samples import Samples, build_samples
from harness.errors import ConfigError, RunError
from scenarios.scenario import ScenarioSource

log = logging.getLogger(__name__)

CHECKPOINT: Final = "checkpoint.pt"
WEIGHTS: Final = "prior.safetensors"
HISTORY_FILE: Final = "history.json"
EVAL_BATCH: Final = 64

Report = Callable[[str, dict[str, Any]], None]
"""Called with an event name (`samples`, `step`, `epoch`, `result`) and its values."""


@dataclass(frozen=True)
class PriorTraining:
    """How the motion prior is trained."""

    epochs: int = 40
    """Passes of `samples_per_epoch` samples; the learning rate reaches zero at the last."""
    samples_per_epoch: int = 6000
    """Samples drawn per epoch (all of them where there are fewer)."""
    batch_size: int = 32
    """Samples per update."""
    learning_rate: float = 1.5e-3
    """Peak of the cosine schedule (AdamW)."""
    weight_decay: float = 0.02
    """Weight decay of AdamW."""
    warmup: int = 100
    """Updates of linear warm-up."""
    average: float = 0.998
    """Decay per update of the moving average of the weights, which is what is evaluated and kept."""
    patience: int = 10
    """Stop after this many epochs without a better validation minADE_32."""
    stationary: float = 0.2
    """Share of standing vehicles that is kept."""
    minutes: float = 0.0
    """Stop after this much training time and keep the best so far (0: no limit)."""
    seed: int = 0
    """Seed of everything random."""
    threads: int = 1
    """Torch threads; with one the result is the same on every run."""
    model: PriorConfig = field(default_factory=PriorConfig)
    """Architecture of the network."""

    def __post_init__(self) -> None:
        """Check what can be checked without data."""
        for name in ("epochs", "samples_per_epoch", "batch_size", "patience", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)}.")
        if self.learning_rate <= 0 or not 0 <= self.average < 1 or not 0 <= self.stationary <= 1:
            raise ConfigError("learning_rate must be > 0, average in [0, 1), stationary in [0, 1].")


@torch.no_grad()
def predict(network: GoalNetwork, rows: dict[str, Any], modes: int) -> np.ndarray:
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


Predictor = Callable[[dict[str, Any]], np.ndarray]


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


def _schedule(config: PriorTraining, step: int, total: int) -> float:
    warm = min(1.0, (step + 1) / max(config.warmup, 1))
    return config.learning_rate * warm * 0.5 * (1.0 + float(np.cos(np.pi * min(step / max(total, 1), 1.0))))


def _average(kept: dict[str, torch.Tensor], network: GoalNetwork, decay: float) -> None:
    for name, value in network.state_dict().items():
        kept[name].lerp_(value, 1.0 - decay)


def _write_json(path: Path, value: Any) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.write_text(json.dumps(value, indent=1))
    os.replace(beside, path)


class Trainer:
    """Trains one network in one run directory."""

    def __init__(self, config: PriorTraining, train: Samples, held_out: Samples, folder: Path, report: Report) -> None:
        self.config, self.train_samples, self.held_out, self.folder = config, train, held_out, folder
        self.report = report
        torch.manual_seed(config.seed)
        self.network = GoalNetwork(config.model)
        decay = [p for p in self.network.parameters() if p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decay, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=config.learning_rate,
        )
        self.kept = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.epoch, self.steps, self.best, self.best_epoch, self.seconds = 0, 0, float("inf"), -1, 0.0
        self.best_weights = {name: value.clone() for name, value in self.kept.items()}
        self.rows: list[dict[str, float]] = []
        self.per_epoch = min(config.samples_per_epoch, len(train))

    def save(self) -> None:
        """Write the checkpoint, all or nothing."""
        state = {
            "network": self.network.state_dict(),
            "kept": self.kept,
            "best_weights": self.best_weights,
            "optimizer": self.optimizer.state_dict(),
            "numbers": [self.epoch, self.steps, self.best, self.best_epoch, self.seconds],
            "rows": json.dumps(self.rows),
            "config": json.dumps(asdict(self.config)),
        }
        beside = self.folder / f".{CHECKPOINT}.{os.getpid()}.tmp"
        torch.save(state, beside)
        os.replace(beside, self.folder / CHECKPOINT)

    def restore(self) -> None:
        """Go on where the checkpoint ends.

        Raises:
            RunError: The checkpoint is unreadable or was made with other settings.
        """
        file = self.folder / CHECKPOINT
        try:
            state = torch.load(file, weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError) as error:
            raise RunError(f"cannot resume from {file}: {error}. Start a new run.") from error
        # Epochs and time limit may be raised on resuming; everything else has to match.
        free = {"epochs", "minutes", "threads", "patience"}
        was, now = json.loads(state["config"]), json.loads(json.dumps(asdict(self.config)))
        changed = sorted(k for k in now if k not in free and was.get(k) != now[k])
        if changed:
            raise RunError(f"{file} was made with other settings ({', '.join(changed)}); use them or start a new run.")
        self.network.load_state_dict(state["network"])
        self.kept, self.best_weights = state["kept"], state["best_weights"]
        self.optimizer.load_state_dict(state["optimizer"])
        epoch, steps, self.best, best_epoch, self.seconds = state["numbers"]
        self.epoch, self.steps, self.best_epoch = int(epoch), int(steps), int(best_epoch)
        self.rows = json.loads(state["rows"])

    def run_epoch(self) -> dict[str, float]:
        """One epoch. Its randomness depends on the seed and the epoch only, so that a resumed run is the same run."""
        config = self.config
        rng = np.random.default_rng([config.seed, self.epoch])
        torch.manual_seed(config.seed * 100_003 + self.epoch)
        order = rng.permutation(len(self.train_samples))[: self.per_epoch]
        batches = [order[k : k + config.batch_size] for k in range(0, len(order), config.batch_size)]
        total = len(batches) * config.epochs
        sums = np.zeros(5)
        self.network.train()
        for number, index in enumerate(batches):
            batch, truth = batch_of(augment(self.train_samples[np.sort(index)], rng))
            loss = prior_loss(self.network, batch, truth)
            if not bool(torch.isfinite(loss.total.detach())):
                raise RunError(f"the loss became {loss.total.item()} in epoch {self.epoch}; lower the learning rate.")
            for group in self.optimizer.param_groups:
                group["lr"] = _schedule(config, self.steps, total)
            self.optimizer.zero_grad(set_to_none=True)
            loss.total.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimizer.step()
            self.steps += 1
            _average(self.kept, self.network, min(config.average, self.steps / (self.steps + 10.0)))
            sums += [part.item() for part in loss]
            self.report("step", {"epoch": self.epoch, "step": number + 1, "steps": len(batches)})
        return dict(zip(loss._fields, (sums / len(batches)).tolist(), strict=True))

    def evaluate(self) -> dict[str, float]:
        """Held-out numbers of the averaged weights, on moving vehicles."""
        network = GoalNetwork(self.config.model)
        network.load_state_dict(self.kept)
        ade, fde = errors(lambda rows: predict(network, rows, max(MODES)), self.held_out)
        moving = self.held_out.arrays["moves"]
        rows = moving if moving.any() else ~moving
        return summarise(ade[rows], fde[rows])

    def best_network(self) -> GoalNetwork:
        """The best network so far."""
        network = GoalNetwork(self.config.model)
        network.load_state_dict(self.best_weights)
        return network.eval()

    def run(self) -> None:
        """Train until the epochs, the time or the patience run out."""
        config = self.config
        while self.epoch < config.epochs and self.epoch - self.best_epoch <= config.patience:
            began = time.monotonic()
            losses = self.run_epoch()
            values = self.evaluate()
            if values["minADE_32"] < self.best:
                self.best, self.best_epoch = values["minADE_32"], self.epoch
                self.best_weights = {name: value.clone() for name, value in self.kept.items()}
            self.seconds += time.monotonic() - began
            row = {"epoch": self.epoch, "seconds": self.seconds, "best": self.best, **losses, **values}
            self.rows.append(row)
            self.epoch += 1
            self.save()
            _write_json(self.folder / HISTORY_FILE, self.rows)
            self.report("epoch", row)
            if config.minutes and self.seconds > 60.0 * config.minutes:
                break


def _prepare(folder: Path, resume: bool) -> None:
    """Make the run folder; refuse to overwrite a run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write the run folder {folder}: {error}.") from error
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
            report("samples", {"split": name, "done": done, "total": total})

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
    info: dict[str, Any] | None = None,
    report: Report = lambda event, values: None,
) -> MotionPrior:
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
        report: Progress callback.

    Raises:
        RunError: Nothing to learn from, an unwritable folder, or a checkpoint that does not fit.
    """
    torch.set_num_threads(config.threads)
    _prepare(folder, resume)
    sources = {"train": train, "val": held_out, "test": test}
    sets = _samples(config, sources, cache or folder / "samples", report)
    trainer = Trainer(config, sets["train"], sets["val"], folder, report)
    if resume and (folder / CHECKPOINT).exists():
        trainer.restore()
    trainer.run()
    network = trainer.best_network()
    results: dict[str, Any] = {name: compare(network, sets[name]) for name in ("val", "test") if name in sets}
    made = {
        "epochs": trainer.epoch,
        "best_epoch": trainer.best_epoch,
        "val_minADE_32": trainer.best,
        "train_scenes": len(train),
        "train_samples": len(sets["train"]),
    }
    prior = MotionPrior(network, {**(info or {}), **made})
    prior.save(folder / WEIGHTS)
    _write_json(folder / "results.json", results)
    report("result", {**results, "history": trainer.rows})
    return prior
