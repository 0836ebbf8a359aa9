"""Making one expert: epochs of HGPO with held-out evaluation, resumable to the same result."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from adversaries.sage.backbone import Backbone
from adversaries.sage.bank import Bank
from adversaries.sage.experts import fingerprint
from adversaries.sage.hgpo import HgpoConfig, Recipe, update
from adversaries.sage.objectives import Values
from harness.errors import RunError

log = logging.getLogger(__name__)

SAVE_EVERY: Final = 5
"""Epochs between checkpoints."""
LONG_EPOCH: Final = 30.0
"""After an epoch that took so many seconds there is a checkpoint in any case."""

Report = Callable[[dict[str, Any]], None]


def summary(groups: list[Values], recipe: Recipe) -> dict[str, float]:
    """What a set of groups looks like, averaged over scenes.

    `feasible`, `adversarial`, `realism` (P_real) and `reward` (R_pref) are means over the whole group: they show where
    the policy puts its candidates. `chosen_…` is the candidate that test time would choose by R_pref among the
    feasible ones (any, if none is feasible); `success` is its share of contacts.
    """
    rows = []
    for values in groups:
        preference = values.preference(recipe.w_adv, recipe.w_real)
        best = int(np.where(values.feasible, preference, preference - 1e6).argmax())
        rows.append(
            {
                "feasible": values.feasible.mean(),
                "adversarial": values.adversarial.mean(),
                "realism": values.realism.mean(),
                "reward": preference.mean(),
                "chosen_feasible": values.feasible[best],
                "chosen_adversarial": values.adversarial[best],
                "chosen_realism": values.realism[best],
                "chosen_reward": preference[best],
                "success": values.hits[best],
            }
        )
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


@torch.no_grad()
def expected_feasibility(policy: Backbone, bank: Bank, batch: int = 32) -> float | None:
    """Probability that one sample of the policy is feasible, averaged over scenes; None where futures are not listed.

    A group of distinct futures reaches beyond the likeliest ones, so that its share of feasible ones is lower.
    """
    shares = []
    for entries in bank.batches(batch):
        listed = [entry.listed() for entry in entries]
        rows = [pair for pair in listed if pair is not None]
        if len(rows) < len(listed):
            return None
        log_probs = policy.distribution([entry.case for entry in entries]).log_prob([tokens for tokens, _ in rows])
        for log_prob, (_, feasible) in zip(log_probs, rows, strict=True):
            mass = log_prob.double().exp().numpy()
            shares.append(mass[feasible].sum() / mass.sum())
    return float(np.mean(shares))


@torch.no_grad()
def evaluate(policy: Backbone, bank: Bank, recipe: Recipe, group: int, batch: int = 32) -> dict[str, float]:
    """`summary` of the policy's groups on every scene of a bank."""
    rng = np.random.default_rng(0)
    judged: list[Values] = []
    for entries in bank.batches(batch):
        tokens = policy.distribution([entry.case for entry in entries]).sample(group, rng)
        judged += [entry.values(rows) for entry, rows in zip(entries, tokens, strict=True)]
    return summary(judged, recipe)


class Alignment:
    """Trains one expert from the reference weights.

    The checkpoint is a safetensors-free `torch` file of tensors and plain values (read with `weights_only`), so that a
    run which is killed goes on to the very result it would have reached.

    Args:
        reference: Pretrained backbone; it is not changed.
        train: Prepared training scenes.
        held_out: Prepared scenes for evaluation, or None.
        recipe: What the expert prefers.
        config: How it is trained.
        checkpoint: File to resume from and to write to, or None.
    """

    def __init__(
        self,
        reference: Backbone,
        train: Bank,
        held_out: Bank | None,
        recipe: Recipe,
        config: HgpoConfig,
        checkpoint: Path | None = None,
    ) -> None:
        torch.set_num_threads(config.threads)
        self.policy, self._origin = reference.clone(), fingerprint(reference.module)
        self.train, self.held_out, self.recipe, self.config = train, held_out, recipe, config
        self.optimiser = torch.optim.AdamW(self.policy.module.parameters(), lr=config.learning_rate)
        self.history: list[dict[str, Any]] = []
        self.epoch = 0
        self._checkpoint = checkpoint
        if checkpoint is not None and checkpoint.exists():
            self._restore(checkpoint)

    def run(self, report: Report = lambda row: None) -> list[dict[str, Any]]:
        """Train to the last epoch; `report` gets one row per epoch, row 0 being the untrained reference.

        Raises:
            RunError: The checkpoint cannot be written.
        """
        if not self.history:
            self._record({"epoch": 0, "scenes": 0, "loss": None, "pairs": 0, "accuracy": None}, report)
        while self.epoch < self.config.epochs:
            row = self._epoch()
            self._record(row, report)
            due = self.epoch % SAVE_EVERY == 0 or self.epoch == self.config.epochs
            if due or row["seconds"] > LONG_EPOCH:
                self._save()
        return self.history

    def _epoch(self) -> dict[str, Any]:
        begin = time.perf_counter()
        # Seeded by epoch, so that a resumed run repeats what an uninterrupted one does.
        rng = np.random.default_rng((self.config.seed, self.epoch))
        results = [
            update(self.policy, self.optimiser, entries, self.recipe, self.config, rng)
            for entries in self.train.batches(self.config.scenes_per_update, rng)
        ]
        self.epoch += 1
        weights = np.array([result.pairs for result in results], dtype=np.float64)
        used = weights > 0
        losses = np.array([result.loss for result in results])
        right = np.array([result.accuracy for result in results])
        some = bool(used.any())
        return {
            "epoch": self.epoch,
            "scenes": self.epoch * len(self.train),
            "loss": float(np.average(losses[used], weights=weights[used])) if some else None,
            "pairs": int(weights.sum()),
            "accuracy": float(np.average(right[used], weights=weights[used])) if some else None,
            "train": summary([values for result in results for values in result.groups], self.recipe),
            "seconds": time.perf_counter() - begin,
        }

    def _record(self, row: dict[str, Any], report: Report) -> None:
        due = row["epoch"] % self.config.held_out_every == 0 or row["epoch"] == self.config.epochs
        if "train" not in row:
            row["train"] = evaluate(self.policy, self.train, self.recipe, self.config.group)
        if due and self.held_out is not None:
            row["held_out"] = evaluate(self.policy, self.held_out, self.recipe, self.config.group)
        if due:
            for name, bank in (("train", self.train), ("held_out", self.held_out)):
                expected = None if bank is None else expected_feasibility(self.policy, bank)
                if expected is not None:
                    row[name]["expected_feasible"] = expected
        self.history.append(row)
        report(row)

    def _identity(self) -> str:
        """What a checkpoint must agree with: everything but the number of epochs, which may be raised."""
        config = {name: value for name, value in asdict(self.config).items() if name not in ("epochs", "threads")}
        return json.dumps([self._origin, config, asdict(self.recipe), [entry.id for entry in self.train.entries]])

    def _save(self) -> None:
        if self._checkpoint is None:
            return
        beside = self._checkpoint.with_name(f".{self._checkpoint.name}.{os.getpid()}.part")
        try:
            torch.save(
                {
                    "identity": self._identity(),
                    "epoch": self.epoch,
                    "history": json.dumps(self.history),
                    "policy": self.policy.module.state_dict(),
                    "optimiser": self.optimiser.state_dict(),
                },
                beside,
            )
            os.replace(beside, self._checkpoint)
        except OSError as error:
            raise RunError(f"cannot write the checkpoint {self._checkpoint}: {error}.") from error
        finally:
            beside.unlink(missing_ok=True)

    def _restore(self, file: Path) -> None:
        state = torch.load(file, weights_only=True)
        if state["identity"] != self._identity():
            raise RunError(
                f"{file} was made with other options, scenes or prior weights. "
                "Resume with the same ones, or choose a new folder."
            )
        self.epoch, self.history = state["epoch"], json.loads(state["history"])
        self.policy.module.load_state_dict(state["policy"])
        self.optimiser.load_state_dict(state["optimiser"])
        log.info("resumed %s at epoch %d", file, self.epoch)
