"""Attention of RosettaSim's sequence model by distance, by part of the sequence, and by layer.

Paper: RosettaSim, figure 6 and appendix H.1: locality is the share that a token gives to itself and to its direct
neighbours, mean over the tokens of a sequence. Only what is behind a token can be seen, so its neighbour is the one
before. Ours: padding is taken out before distances are counted; beside locality stands that of even attention, which is
larger the shorter a sequence is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import ConfigError, ScenarioError
from harness.traffic.model.batch import join_agents, join_maps
from harness.traffic.observers import Observer
from harness.traffic.rosetta.model import RosettaModel
from harness.traffic.rosetta.network import RosettaNetwork
from harness.traffic.training.config import ExampleOptions
from harness.traffic.training.dataset import usable
from harness.traffic.training.examples import examples_of
from harness.traffic.training.objective import Step
from harness.traffic.training.sequences import SequenceCloning, SequenceLesson, sequence_losses
from scenarios.scenario import Scenario

Floats = NDArray[np.float64]

PARTS: Final = ("agents", "motion", "map", "layout", "newcomers")
"""Parts of the sequence, in its order."""
OWN: Final = "start"
"""Tokens that a sequence model puts in front by itself."""
DISTANCES: Final = (0, 1, 2, 4, 8, 16, 32, 64, 128)
"""Where bins of distance begin, tokens; the last is open."""
_AT_ONCE: Final = 4
"""Decisions whose attention is computed together: of a language model and 640 tokens 60 MB a layer."""


@dataclass(frozen=True, slots=True, eq=False)
class AttentionSums:
    """Attention, summed over the tokens of sequences. Y layers, P parts, D bins of distance.

    Attributes:
        near: [Y, P] what tokens of each part give to themselves and to the one before.
        distance: [Y, P, D] what they give by distance.
        between: [Y, P, 1 + P] what they give to tokens of the model's own, and to each part.
        tokens: [P] how many there are.
        even: [P] what they would give to themselves and to the one before, if they gave the same to all before.
    """

    near: Floats
    distance: Floats
    between: Floats
    tokens: Floats
    even: Floats

    def plus(self, other: AttentionSums) -> AttentionSums:
        """The sums of both."""
        names = ("near", "distance", "between", "tokens", "even")
        return AttentionSums(*(getattr(self, name) + getattr(other, name) for name in names))

    @property
    def locality(self) -> Floats:
        """Locality [Y] of each layer (H.1)."""
        return np.asarray(self.near.sum(1) / self.tokens.sum())

    @property
    def evenly(self) -> float:
        """The locality of even attention."""
        return float(self.even.sum() / self.tokens.sum())


def sums_of(weights: Tensor, part: Tensor) -> AttentionSums:
    """Sums of the attention of one sequence in one layer.

    Args:
        weights: [Q, E + n] how much each of the last n of Q tokens gives to each, E of the model's own first.
        part: [n] number of each token's part.
    """
    count = len(part)
    weights = weights[-count:].double()
    own = weights.shape[1] - count
    behind = own + torch.arange(count, device=part.device)[:, None] - torch.arange(own + count, device=part.device)
    seen = behind >= 0
    edges = torch.tensor(DISTANCES, device=part.device)
    whose = part[:, None].expand_as(behind)[seen]
    given, back = weights[seen], behind[seen]
    bins, sizes = len(DISTANCES), len(PARTS)
    target = torch.cat([part.new_zeros(own), part + 1]).expand_as(behind)[seen]

    def table(place: Tensor, width: int) -> Floats:
        flat = torch.bincount(whose * width + place, given, minlength=sizes * width)
        return np.asarray(flat.reshape(1, sizes, width).cpu().numpy())

    before = own + torch.arange(1, count + 1, device=part.device, dtype=torch.float64)
    near = torch.where(back <= 1, given, 0.0)
    return AttentionSums(
        near=torch.bincount(whose, near, minlength=sizes)[None].cpu().numpy(),
        distance=table(torch.bucketize(back, edges, right=True) - 1, bins),
        between=table(target, 1 + sizes),
        tokens=torch.bincount(part, minlength=sizes).double().cpu().numpy(),
        even=torch.bincount(part, before.clamp(max=2) / before, minlength=sizes).cpu().numpy(),
    )


def layers_of(network: RosettaNetwork, embeddings: Tensor, present: Tensor, part: Tensor) -> list[AttentionSums]:
    """Sums of the attention of sequences, one for each: of all layers, mean over their heads.

    Args:
        network: In evaluation mode.
        embeddings: [B, L, D].
        present: [B, L] which tokens exist.
        part: [L] number of each token's part.
    """
    rows: list[list[AttentionSums]] = [[] for _ in present]

    def look(weights: Tensor) -> None:
        length = present.shape[1]
        own = weights.shape[-1] - length
        for number, there in enumerate(present):
            kept = there.nonzero()[:, 0]
            keys = torch.cat([torch.arange(own, device=kept.device), kept + own])
            mean = weights[number].mean(0)[-length:]
            rows[number].append(sums_of(mean[kept][:, keys], part[kept]))

    network.sequence.attention(embeddings, present, look)
    return [_stacked(layers) for layers in rows]


def _stacked(layers: list[AttentionSums]) -> AttentionSums:
    """Sums of single layers as one."""
    first = layers[0]
    near, distance, between = (
        np.concatenate([getattr(layer, name) for layer in layers]) for name in ("near", "distance", "between")
    )
    return AttentionSums(near, distance, between, first.tokens, first.even)


@dataclass(frozen=True, slots=True)
class AttentionRun:
    """What was measured of a model.

    Attributes:
        scenes: Names of the scenes.
        sums: Per scene, over its decisions.
        left_out: Scene → why it could not be used.
    """

    scenes: list[str] = field(default_factory=list)
    sums: list[AttentionSums] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def look_at(
    model: RosettaModel, scenes: Iterable[Scenario], decisions: int, seed: int, observer: Observer = "ego"
) -> AttentionRun:
    """Measure the attention of a model at decisions of logs.

    Args:
        model: A trained RosettaSim.
        scenes: Loaded one at a time; what cannot be tokenised is left out.
        decisions: Decisions of each scene, drawn at random; 0 for all.
        seed: Seed of that drawing; with the same, models of the same vocabulary are asked the same.
        observer: Around whom decisions are made, as in training.

    Raises:
        ConfigError: No scene could be used, or the model does not show its attention.
    """
    run = AttentionRun()
    for number, scenario in enumerate(scenes):
        try:
            found = _scene(model, scenario, SequenceCloning(decisions, observer), (seed, number))
        except ScenarioError as error:
            run.left_out[scenario.id] = str(error)
            continue
        run.scenes.append(scenario.id)
        run.sums.append(found)
    if not run.scenes:
        raise ConfigError(f"attention: no scene could be used: {next(iter(run.left_out.values()), 'there are none')}")
    return run


def _scene(
    model: RosettaModel, scenario: Scenario, objective: SequenceCloning, batch: tuple[int, ...]
) -> AttentionSums:
    if reason := usable(scenario):
        raise ScenarioError(f"{scenario.id}: {reason}")
    tokens = examples_of(scenario, model.vocabulary, model.options, ExampleOptions(phases=1))
    if not tokens:
        raise ScenarioError(f"{scenario.id}: nobody to learn from is there after the current step")
    agents, log = join_agents(tokens)
    generator = torch.Generator(model.device).manual_seed(0)
    maps = join_maps(tokens, model.options.lanes)
    step = Step(maps.to(model.device), agents.to(model.device), log, tokens, lambda _: scenario, generator, batch)
    network = cast(RosettaNetwork, model.network)
    with torch.no_grad():
        lesson = objective.prepare(network, step)
        embeddings, present = _embedded(network, step, lesson)
    part = torch.zeros(present.shape[1], dtype=torch.long, device=present.device)
    for number, name in enumerate(PARTS):
        part[lesson.batch.parts[name]] = number
    total: AttentionSums | None = None
    for rows in torch.arange(len(present), device=present.device).split(_AT_ONCE):
        for one in layers_of(network, embeddings[rows], present[rows], part):
            total = one if total is None else total.plus(one)
    assert total is not None, "a scene of two tokens has a decision"
    return total


def _embedded(network: RosettaNetwork, step: Step, lesson: SequenceLesson) -> tuple[Tensor, Tensor]:
    """The embeddings [B, L, D] that the sequence model gets in training, and which tokens exist [B, L]."""
    given: list[tuple[Tensor, Tensor]] = []
    handle = network.sequence.register_forward_pre_hook(lambda _, arguments: given.append(arguments[:2]))
    try:
        sequence_losses(network, step.maps, lesson)
    finally:
        handle.remove()
    return given[0]
