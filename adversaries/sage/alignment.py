"""Making one expert: epochs of HGPO with held-out evaluation, resumable to the same result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from adversaries.sage.backbone import Backbone
from adversaries.sage.bank import Bank, Entry
from adversaries.sage.config import FREE, HgpoConfig, Recipe
from adversaries.sage.hgpo import group_loss
from adversaries.sage.objectives import Values
from adversaries.sage.surprise import surprise_of
from harness.fitting.events import Report, Row, unheard
from harness.fitting.identity import Identity, digest, fingerprint
from harness.fitting.loop import Fit
from harness.fitting.settings import FitSettings
from harness.fitting.task import EpochOutcome, Loss, Task, seeded


def summary(groups: list[Values], recipe: Recipe) -> dict[str, float]:
    """What a set of groups looks like, averaged over scenes.

    `feasible`, `adversarial`, `realism` (P_real) and `reward` (R_pref) are means over the whole group: they show where
    the policy puts its candidates. `chosen_…` is the candidate that test time would choose by R_pref among the
    feasible ones (any, if none is feasible); `success` is its share of contacts. Scenes without road edges count in no
    share of feasible ones; NaN where no scene has any.
    """
    rows = []
    for values in groups:
        preference = values.preference(recipe.w_adv, recipe.w_real)
        best = int(np.where(values.feasible, preference, preference - 1e6).argmax())
        feasible = np.where(values.edges, values.feasible, np.nan)
        rows.append(
            {
                "feasible": feasible.mean(),
                "adversarial": values.adversarial.mean(),
                "realism": values.realism.mean(),
                "reward": preference.mean(),
                "chosen_feasible": feasible[best],
                "chosen_adversarial": values.adversarial[best],
                "chosen_realism": values.realism[best],
                "chosen_reward": preference[best],
                "success": values.hits[best],
            }
        )
    return {name: mean_of_known([float(row[name]) for row in rows]) for name in rows[0]}


def mean_of_known(values: Sequence[float]) -> float:
    """Mean without NaN; NaN of nothing else."""
    known = np.array([value for value in values if not np.isnan(value)])
    return float(known.mean()) if len(known) else float("nan")


@torch.no_grad()
def listed_feasibility(policy: Backbone, bank: Bank, group: int, batch: int = 32) -> dict[str, float]:
    """How feasible the policy is, however its groups are drawn; averaged over scenes with road edges.

    A group of distinct futures reaches beyond the likeliest ones, so that its own share of feasible ones is lower.

    Args:
        policy: What is measured.
        bank: Scenes.
        group: Size of the paper's groups.
        batch: Scenes at once.

    Returns:
        `top_feasible`: share of feasible ones among the `group` likeliest futures, which are the paper's groups
        (appendix B.1: "outputting the top-k candidates directly") and its feasibility rate (figure 6).
        `expected_feasible`: probability that one sample of the policy is feasible. NaN where no scene has road edges;
        empty where futures are not listed.
    """
    top, one = [], []
    for entries in bank.batches(batch):
        listed = [entry.listed() for entry in entries]
        rows = [pair for pair in listed if pair is not None]
        if len(rows) < len(listed):
            return {}
        log_probs = policy.distribution([entry.case for entry in entries]).log_prob([tokens for tokens, _ in rows])
        for entry, log_prob, (_, feasible) in zip(entries, log_probs, rows, strict=True):
            if not entry.edges:
                continue
            mass = log_prob.double().exp().numpy()
            likeliest = np.argsort(-mass, kind="stable")[:group]
            top.append(float(feasible[likeliest[mass[likeliest] > 0]].mean()))
            one.append(float(mass[feasible].sum() / mass.sum()))
    return {"top_feasible": mean_of_known(top), "expected_feasible": mean_of_known(one)}


@torch.no_grad()
def judged_groups(policy: Backbone, bank: Bank, group: int, batch: int = 32) -> list[Values]:
    """The policy's groups on every scene of a bank, judged."""
    rng = np.random.default_rng(0)
    judged: list[Values] = []
    for entries in bank.batches(batch):
        tokens = policy.distribution([entry.case for entry in entries]).sample(group, rng)
        judged += [entry.values(rows) for entry, rows in zip(entries, tokens, strict=True)]
    return judged


def evaluate(policy: Backbone, bank: Bank, recipe: Recipe, group: int, batch: int = 32) -> dict[str, float]:
    """`summary` of the policy's groups on every scene of a bank."""
    return summary(judged_groups(policy, bank, group, batch), recipe)


class Alignment(Task[list[Entry]]):
    """One expert, trained from the reference weights; a batch is a few scenes.

    Args:
        reference: Pretrained backbone; it is not changed.
        train: Prepared training scenes.
        held_out: Prepared scenes for evaluation, or None.
        recipe: What the expert prefers.
        config: How it is trained.
    """

    def __init__(
        self, reference: Backbone, train: Bank, held_out: Bank | None, recipe: Recipe, config: HgpoConfig
    ) -> None:
        self.policy, self._origin = reference.clone(), fingerprint(reference.module)
        self.train, self.held_out, self.recipe, self.config = train, held_out, recipe, config
        self.surprise = surprise_of(reference, train, config) if recipe.w_novel else None
        self.network = self.policy.module
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=config.learning_rate)
        self.updates = -(-len(train) // config.scenes_per_update)
        self._groups: list[Values] = []

    def batches(self, epoch: int) -> Iterator[list[Entry]]:
        """Scenes in random order."""
        self._groups, self._rng = [], seeded(self.config.seed, epoch)
        yield from self.train.batches(self.config.scenes_per_update, self._rng)

    def loss(self, batch: list[Entry]) -> Loss:
        """The loss of fresh groups of the batch's scenes."""
        result = group_loss(self.policy, batch, self.recipe, self.config, self._rng, self.surprise)
        self._groups += result.groups
        value = float("nan") if result.loss is None else float(result.loss.detach())
        return Loss(result.loss, {"loss": value, "pairs": result.pairs, "accuracy": result.accuracy})

    def evaluate(self, epoch: int) -> dict[str, float]:
        """Nothing is chosen by evaluation; `row` holds all that is measured."""
        return {}

    def initial(self) -> Row:
        """The reference's groups."""
        row = {"epoch": 0, "scenes": 0, "loss": None, "pairs": 0, "accuracy": None}
        return self._measured({**row, "train": evaluate(self.policy, self.train, self.recipe, self.config.group)})

    def row(self, outcome: EpochOutcome) -> Row:
        """Loss and accuracy over all pairs, the groups that were trained on, and held-out ones where they are due."""
        losses, pairs, right = (
            np.array([numbers[name] for numbers in outcome.losses]) for name in ("loss", "pairs", "accuracy")
        )
        used = pairs > 0
        some = bool(used.any())
        row = {
            "epoch": outcome.epoch + 1,
            "scenes": (outcome.epoch + 1) * len(self.train),
            "loss": float(np.average(losses[used], weights=pairs[used])) if some else None,
            "pairs": int(pairs.sum()),
            "accuracy": float(np.average(right[used], weights=pairs[used])) if some else None,
            "train": summary(self._groups, self.recipe),
            "seconds": outcome.took,
        }
        return self._measured(row)

    def identity(self) -> Identity:
        """What a checkpoint must agree with."""
        values = {**asdict(self.config), "recipe": asdict(self.recipe), "reference": self._origin}
        return Identity({**values, "scenes": digest(entry.id for entry in self.train.entries)}, FREE)

    def fit(self, report: Report = unheard, checkpoint: Path | None = None, part: str = "expert") -> list[Row]:
        """Train to the last epoch; one row per epoch, row 0 being that of the untrained reference.

        Args:
            report: Takes the events.
            checkpoint: File to go on from and to write to, or None.
            part: The expert's name in events.

        Raises:
            RunError: The checkpoint cannot be written, or was made with other options, scenes or reference weights.
        """
        torch.set_num_threads(self.config.threads)
        settings = FitSettings(epochs=self.config.epochs, rate=self.config.learning_rate)
        identity, note = self.identity(), self.recipe.purpose
        run: Fit[list[Entry]] = Fit(
            self, settings, part=part, note=note, report=report, checkpoint=checkpoint, identity=identity
        )
        return run.run()

    @torch.no_grad()
    def _measured(self, row: Row) -> Row:
        """The row with what is measured every few epochs."""
        due = row["epoch"] % self.config.held_out_every == 0 or row["epoch"] == self.config.epochs
        if due and self.held_out is not None:
            row["held_out"] = evaluate(self.policy, self.held_out, self.recipe, self.config.group)
        if due:
            for name, bank in (("train", self.train), ("held_out", self.held_out)):
                if bank is not None:
                    row[name] |= listed_feasibility(self.policy, bank, self.config.group)
        return row
