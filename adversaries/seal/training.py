"""Learning SEAL's parts from roll-outs and recorded tracks: scorers by regression, skills by reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from adversaries.seal.examples import Examples
from adversaries.seal.networks import SKILL_STEPS, SkillModel, SkillPrior, TrackScorer
from adversaries.seal.skills import Sequences
from harness.fitting.events import Report, Row, unheard
from harness.fitting.loop import Fit
from harness.fitting.settings import FitSettings
from harness.fitting.task import EpochOutcome, Loss, Task

CLIP: Final = 1.0
"""Largest gradient norm."""
Net = TypeVar("Net", bound=nn.Module)


class Plan(NamedTuple):
    """One optimisation: learning rate, epochs, batch size, seed, and who takes the events."""

    rate: float
    epochs: int
    batch: int
    seed: int
    report: Report = unheard


class RowTask(Task[Tensor]):
    """A network that learns by Adam from batches of row numbers.

    Fits are short and are not resumed, so that randomness may run on from one epoch to the next.

    Args:
        network: Its weights are trained in place.
        count: Rows.
        of: The loss of rows; its value is their mean.
        judge: The evaluation, with a value `held_out`.
        plan: How it learns.
    """

    best_by = "held_out"

    def __init__(
        self,
        network: nn.Module,
        count: int,
        of: Callable[[Tensor], Tensor],
        judge: Callable[[], dict[str, float]],
        plan: Plan,
    ) -> None:
        self.network, self._count, self._of, self._judge, self._plan = network, count, of, judge, plan
        self.optimiser = torch.optim.Adam(network.parameters(), lr=plan.rate)
        self.updates = -(-count // plan.batch)
        self._generator = torch.Generator().manual_seed(plan.seed)

    def batches(self, epoch: int) -> Iterator[Tensor]:
        """Rows in random order."""
        self.network.train()
        yield from torch.randperm(self._count, generator=self._generator).split(self._plan.batch)

    def loss(self, batch: Tensor) -> Loss:
        """The loss of rows, and its share in their sum."""
        value = self._of(batch)
        return Loss(value, {"loss": float(value.detach()) * len(batch)})

    def evaluate(self, epoch: int) -> dict[str, float]:
        """The held-out error and what else is judged."""
        self.network.eval()
        return self._judge()

    def row(self, outcome: EpochOutcome) -> Row:
        """The mean loss over rows, and the evaluation."""
        total = sum(numbers["loss"] for numbers in outcome.losses)
        return {"epoch": outcome.epoch + 1, "loss": total / self._count, **outcome.evaluation}


def fit_scorer(name: str, train: Examples, held_out: Examples, plan: Plan) -> TrackScorer:
    """Regress the targets; the epoch with the smallest held-out error is kept."""
    torch.manual_seed(plan.seed)
    network = TrackScorer()
    tensors = [torch.as_tensor(values) for values in train]
    held = [torch.as_tensor(values) for values in (held_out if len(held_out.tracks) else train)]

    side = torch.Generator().manual_seed(plan.seed)

    def loss(rows: Tensor) -> Tensor:
        # Left and right are alike (ours: SEAL has more data); half of every batch is seen in the mirror.
        mirror = torch.ones(len(rows), 1, 3)
        mirror[:, 0, 1] = 1.0 - 2.0 * torch.randint(2, (len(rows),), generator=side)
        return nn.functional.mse_loss(network(tensors[0][rows] * mirror), tensors[1][rows])

    def judge() -> dict[str, float]:
        error = (network(held[0]) - held[1]) ** 2
        plain = (held[1] - tensors[1].mean(0)) ** 2
        return {
            "held_out": float(error.mean()),
            "explained_closeness": float(1 - error[:, 0].mean() / plain[:, 0].mean()),
            "explained_deviation": float(1 - error[:, 1].mean() / plain[:, 1].mean()),
        }

    return _fitted(name, network, len(train.tracks), loss, judge, plan)


def fit_skills(train: Sequences, held_out: Sequences, divergence: float, plan: Plan) -> SkillModel:
    """Reconstruct actions through skills; `divergence` weighs the latter's from a standard normal."""
    torch.manual_seed(plan.seed)
    network = SkillModel()
    seen, actions = (torch.as_tensor(values) for values in train)
    held = [torch.as_tensor(values) for values in (held_out if len(held_out.seen) else train)]

    def loss(rows: Tensor) -> Tensor:
        mean, spread = network.encode(seen[rows], actions[rows])
        skill = mean + torch.exp(0.5 * spread) * torch.randn_like(mean)
        error = (network.decode(seen[rows], _tile(skill)) - actions[rows]) ** 2
        away = -0.5 * (1 + spread - mean**2 - spread.exp()).sum(-1).mean()
        return error.sum((-2, -1)).mean() + divergence * away

    def judge() -> dict[str, float]:
        mean, _ = network.encode(*held)
        error = (network.decode(held[0], _tile(mean)) - held[1]) ** 2
        return {"held_out": float(error.mean()), "plain": float((held[1] ** 2).mean())}

    return _fitted("skills", network, len(seen), loss, judge, plan)


def fit_prior(skills: SkillModel, train: Sequences, held_out: Sequences, plan: Plan) -> SkillPrior:
    """Density of the skills behind these sequences, given what was seen when they began."""
    torch.manual_seed(plan.seed)
    network = SkillPrior()
    with torch.no_grad():
        mean, spread = skills.encode(*(torch.as_tensor(values) for values in train))
        held, _ = skills.encode(*(torch.as_tensor(values) for values in (held_out if len(held_out.seen) else train)))
    first = torch.as_tensor(train.seen[:, 0])
    held_first = torch.as_tensor((held_out if len(held_out.seen) else train).seen[:, 0])

    def loss(rows: Tensor) -> Tensor:
        drawn = mean[rows] + torch.exp(0.5 * spread[rows]) * torch.randn_like(mean[rows])
        return -network.log_prob(drawn, first[rows]).mean()

    def judge() -> dict[str, float]:
        return {"held_out": float(-network.log_prob(held, held_first).mean())}

    return _fitted("prior", network, len(first), loss, judge, plan)


def _tile(skill: Tensor) -> Tensor:
    return skill[:, None].expand(-1, SKILL_STEPS, -1)


def _fitted(
    name: str,
    network: Net,
    count: int,
    loss: Callable[[Tensor], Tensor],
    judge: Callable[[], dict[str, float]],
    plan: Plan,
) -> Net:
    """The network with the weights of its best held-out epoch."""
    settings = FitSettings(epochs=plan.epochs, rate=plan.rate, clip=CLIP)
    Fit(RowTask(network, count, loss, judge, plan), settings, part=name, report=plan.report).run()
    return network
