"""The training loop: one for all stages. Resumable, early-stopped, deterministic."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from harness.errors import RunError
from harness.files import write_atomically
from harness.traffic.model.batch import join_agents, join_maps
from harness.traffic.model.network import SmartNetwork
from harness.traffic.model.smart import SmartModel
from harness.traffic.tokens.scene import SceneOptions
from harness.traffic.training.config import LoopConfig
from harness.traffic.training.dataset import TokenisedScenes
from harness.traffic.training.objective import Objective, Step

CHECKPOINT: Final = "checkpoint.pt"
WEIGHTS: Final = "smart.safetensors"
_VALIDATION_SEED: Final = 7
_FREE: Final = ("epochs", "minutes", "threads", "patience", "device")
"""Options that may differ when a run is resumed."""

Report = Callable[[str, dict[str, Any]], None]
"""Called with an event (`step`, `epoch`) and its values."""

FROZEN_PARTS: Final = (
    "piece_shape",
    "piece_kind",
    "piece_light",
    "map_relation",
    "map_layers",
    "kind",
    "shape",
    "motion",
    "fuse",
)
"""What fine-tuning stages leave alone: map encoder and embeddings (CAT-K trains attention and token head only)."""


def device_of(name: str) -> torch.device:
    """The device that `auto` or a torch name means."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def schedule(config: LoopConfig, peak: float, step: int, total: int) -> float:
    """Learning rate at an update: linear warm-up, then a cosine down to `final_rate` of the peak."""
    warm = min(1.0, (step + 1) / max(config.warmup, 1))
    done = min(step / max(total, 1), 1.0)
    return peak * warm * (config.final_rate + (1 - config.final_rate) * 0.5 * (1.0 + math.cos(math.pi * done)))


class Trainer:
    """Trains one network with one objective in one folder.

    Args:
        config: Loop.
        objective: Stage.
        network: Starting weights; trained in place.
        options: Of the scenes, stored with the weights.
        train, held_out: Scenes.
        folder: Checkpoint and weights go here.
        report: Progress callback.
        info: Stored with the weights.
    """

    def __init__(
        self,
        config: LoopConfig,
        objective: Objective,
        network: SmartNetwork,
        options: SceneOptions,
        train: TokenisedScenes,
        held_out: TokenisedScenes,
        folder: Path,
        report: Report = lambda event, values: None,
        info: dict[str, Any] | None = None,
    ) -> None:
        self.config, self.objective, self.options = config, objective, options
        self.train_scenes, self.held_out, self.folder, self.report = train, held_out, folder, report
        self.info = info or {}
        self.device = device_of(config.device)
        self.network = network.to(self.device)
        # Rewards and references belong to the weights that the stage starts from, also after resuming.
        torch.manual_seed(config.seed)
        objective.begin(self.network)
        self.rate = config.learning_rate or (1e-3 if objective.name in ("bc", "gmm") else 1e-4)
        self.optimizer = self._optimizer()
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.best_weights = {name: value.clone() for name, value in self.average.items()}
        self.epoch, self.updates, self.best, self.best_epoch, self.seconds = 0, 0, math.inf, -1, 0.0
        self.rows: list[dict[str, float]] = []

    def _optimizer(self) -> torch.optim.AdamW:
        frozen = FROZEN_PARTS if self.objective.frozen else ()
        named = [
            (name, value)
            for name, value in self.network.named_parameters()
            if not any(name.startswith(f"{part}.") for part in frozen)
        ]
        for value in self.network.parameters():
            value.requires_grad_(any(value is kept for _, kept in named))
        if self.objective.module is not None:
            self.objective.module.to(self.device)
            named += list(self.objective.module.named_parameters())
        self.parameters = [value for _, value in named]
        decay = [value for value in self.parameters if value.ndim > 1]
        plain = [value for value in self.parameters if value.ndim <= 1]
        groups = [{"params": decay, "weight_decay": self.config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=self.rate)

    # ---- batches

    def step_of(self, scenes: TokenisedScenes, entries: list[int], seed: tuple[int, ...]) -> Step:
        """A batch of scenes with its own random generator."""
        tokens = [scenes[entry] for entry in entries]
        agents, log = join_agents(tokens)
        generator = torch.Generator().manual_seed(int(np.random.default_rng(list(seed)).integers(2**62)))
        return Step(
            maps=join_maps(tokens, self.options.lanes).to(self.device),
            agents=agents.to(self.device),
            log=log.to(self.device),
            scenes=tokens,
            scenario=lambda position: scenes.scenario(entries[position]),
            generator=generator,
        )

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.config.amp)

    def run_epoch(self) -> dict[str, float]:
        """One epoch; its randomness depends on seed and epoch only, so that a resumed run is the same run."""
        config = self.config
        rng = np.random.default_rng([config.seed, self.epoch])
        torch.manual_seed(config.seed * 100_003 + self.epoch)
        count = min(config.scenes_per_epoch or len(self.train_scenes), len(self.train_scenes))
        batches = list(self.train_scenes.batches(rng.permutation(len(self.train_scenes))[:count], config.batch))
        total = len(batches) * config.epochs * self.objective.updates
        sums: dict[str, float] = {}
        for number, entries in enumerate(batches):
            step = self.step_of(self.train_scenes, entries, (config.seed, self.epoch, number))
            self.network.eval()
            with torch.no_grad(), self._autocast():
                data = self.objective.prepare(self.network, step)
            self.network.train()
            for _ in range(self.objective.updates):
                for name, value in self._update(step, data, total).items():
                    sums[name] = sums.get(name, 0.0) + value
            self.report("step", {"epoch": self.epoch, "step": number + 1, "steps": len(batches)})
        return {name: value / (len(batches) * self.objective.updates) for name, value in sums.items()}

    def _update(self, step: Step, data: Any, total: int) -> dict[str, float]:
        with self._autocast():
            loss = self.objective.loss(self.network, step, data)
        if not bool(torch.isfinite(loss.total.detach())):
            raise RunError(f"the loss became {loss.total.item()} in epoch {self.epoch}; lower the learning rate.")
        for group in self.optimizer.param_groups:
            group["lr"] = schedule(self.config, self.rate, self.updates, total)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.optimizer.step()
        self.updates += 1
        decay = min(self.config.average, self.updates / (self.updates + 10.0))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1.0 - decay)
        return {"loss": float(loss.total.detach()), "gradient": float(norm), **loss.numbers}

    @torch.no_grad()
    def evaluate(self) -> float:
        """Validation value of the averaged weights."""
        kept = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        self.network.eval()
        values, weights = [], []
        for number, entries in enumerate(self.held_out.batches(np.arange(len(self.held_out)), self.config.batch)):
            step = self.step_of(self.held_out, entries, (_VALIDATION_SEED, number))
            values.append(self.objective.validate(self.network, step))
            weights.append(len(entries))
        self.network.load_state_dict(kept)
        return float(np.average(values, weights=weights))

    # ---- files

    def save(self) -> None:
        """Write the checkpoint and the best weights, each all or nothing."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "best_weights": self.best_weights,
            "optimizer": self.optimizer.state_dict(),
            "module": self.objective.module.state_dict() if self.objective.module is not None else {},
            "numbers": [self.epoch, self.updates, self.best, self.best_epoch, self.seconds],
            "rows": json.dumps(self.rows),
            "config": json.dumps(asdict(self.config)),
        }
        write_atomically(self.folder / CHECKPOINT, lambda beside: torch.save(state, beside))
        self.best_model().save(self.folder / WEIGHTS)

    def restore(self) -> None:
        """Go on where the checkpoint ends.

        Raises:
            RunError: It is unreadable, or was made with other settings.
        """
        file = self.folder / CHECKPOINT
        try:
            state = torch.load(file, weights_only=True, map_location=self.device)
        except (OSError, RuntimeError, ValueError, EOFError) as error:
            raise RunError(f"cannot resume from {file}: {error}. Start a new run.") from error
        was, now = json.loads(state["config"]), json.loads(json.dumps(asdict(self.config)))
        changed = sorted(k for k in now if k not in _FREE and was.get(k) != now[k])
        if changed:
            raise RunError(f"{file} was made with other settings ({', '.join(changed)}); use them or start a new run.")
        self.network.load_state_dict(state["network"])
        self.average, self.best_weights = state["average"], state["best_weights"]
        self.optimizer.load_state_dict(state["optimizer"])
        if self.objective.module is not None:
            self.objective.module.load_state_dict(state["module"])
        epoch, updates, self.best, best_epoch, self.seconds = state["numbers"]
        self.epoch, self.updates, self.best_epoch = int(epoch), int(updates), int(best_epoch)
        self.rows = json.loads(state["rows"])

    def best_model(self) -> SmartModel:
        """The best averaged weights so far."""
        from harness.traffic.model.smart import build_network

        weights: dict[str, Tensor] = {name: value.cpu() for name, value in self.best_weights.items()}
        network = build_network(self.network.config, weights, str(self.folder))
        info = {**self.info, "stage": self.objective.name, "epoch": self.best_epoch, "validation": self.best}
        return SmartModel(network, self.options, info)

    def run(self) -> SmartModel:
        """Train until the epochs, the time or the patience run out; the best model."""
        config = self.config
        torch.set_num_threads(config.threads)
        while self.epoch < config.epochs and self.epoch - self.best_epoch <= config.patience:
            began = time.monotonic()
            numbers = self.run_epoch()
            value = self.evaluate()
            if value < self.best:
                self.best, self.best_epoch = value, self.epoch
                self.best_weights = {name: kept.clone() for name, kept in self.average.items()}
            self.seconds += time.monotonic() - began
            row = {"epoch": self.epoch, "seconds": self.seconds, "val": value, "best": self.best, **numbers}
            self.rows.append(row)
            self.epoch += 1
            self.save()
            self.report("epoch", row)
            if config.minutes and self.seconds > 60.0 * config.minutes:
                break
        return self.best_model()
