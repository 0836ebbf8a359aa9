"""Surprise of an attack, which an expert of novelty prefers: how seldom the two experts' rewards choose its kind.

Paper: section 5 asks for "a richer set of objectives, such as scenario novelty", and defines none. Here it is the
surprise -log p of the kind of encounter (`harness.metrics.encounter_kinds`), where p is how often that kind is
chosen in the training scenes: once by the adversarial expert's reward and once by the realism expert's, among the
reference's own candidates. The rewards stand for the experts, so that the novelty expert can be made without them, in
any order. A future without contact is of the commonest kind, so that novelty is one of attacks. It says nothing about
how far a path is from another: two paths through one gap end in the same contact, and teach an ego the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from adversaries.sage.backbone import Backbone
from adversaries.sage.bank import Bank
from adversaries.sage.config import RECIPES, HgpoConfig
from harness.metrics.encounter_kinds import KINDS

Floats = NDArray[np.float64]


def surprise(kinds: Sequence[int]) -> Floats:
    """-log p by kind of encounter, nats, where `kinds` were chosen; each kind is counted once more.

    The last of the `KINDS` + 1 numbers, which `NO_ENCOUNTER` (-1) points at, is that of no encounter.
    """
    counts = np.bincount(np.asarray(kinds, dtype=np.intp) % (len(KINDS) + 1), minlength=len(KINDS) + 1) + 1.0
    return np.asarray(-np.log(counts / counts.sum()), dtype=np.float64)


@torch.no_grad()
def surprise_of(reference: Backbone, bank: Bank, config: HgpoConfig, batch: int = 32) -> Floats:
    """Surprise by kind [`KINDS` + 1], of what the rewards of both experts choose among the reference's candidates.

    Args:
        reference: Pretrained backbone.
        bank: Training scenes.
        config: Size of the groups.
        batch: Scenes at once.
    """
    rng, kinds = np.random.default_rng(config.seed), []
    for entries in bank.batches(batch):
        groups = reference.distribution([entry.case for entry in entries]).sample(config.group, rng)
        for entry, rows in zip(entries, groups, strict=True):
            values, listed = entry.values(rows), entry.kinds(rows)
            for name in ("adv", "real"):
                reward = RECIPES[name].reward(values)
                kinds.append(int(listed[np.where(values.feasible, reward, reward - 1e6).argmax()]))
    return surprise(kinds)
