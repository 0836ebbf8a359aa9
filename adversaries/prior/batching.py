"""From stored samples to batches, with augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adversaries.prior.config import AGENT_MIRROR, GOAL_MIRROR, HISTORY, MAP_MIRROR, POSITION_SCALE
from adversaries.prior.losses import Truth
from adversaries.prior.network import Batch, trim

HISTORY_NOISE: float = 0.05
"""Standard deviation of noise on past positions, m."""
HISTORY_DROP: float = 0.3
"""Probability that a sample loses the oldest part of its history."""
MAP_DROP: float = 0.05
"""Probability of losing a map token."""
AGENT_DROP: float = 0.1
"""Probability of losing another agent."""


def batch_of(rows: dict[str, NDArray[Any]]) -> tuple[Batch, Truth]:
    """Stored samples as tensors, unchanged."""
    agents, tokens = rows["agents"].shape[1], rows["map"].shape[1]
    batch = Batch(
        agents=torch.as_tensor(rows["agents"].astype(np.float32)),
        agent_mask=torch.as_tensor(np.arange(agents) < rows["agent_count"][:, None]),
        map=torch.as_tensor(rows["map"].astype(np.float32)),
        map_mask=torch.as_tensor(np.arange(tokens) < rows["map_count"][:, None]),
        goals=torch.as_tensor(rows["goals"].astype(np.float32)),
        goal_points=torch.as_tensor(rows["goal_points"]),
        goal_mask=torch.as_tensor(rows["goal_mask"]),
        speed=torch.as_tensor(rows["speed"]),
    )
    truth = Truth(torch.as_tensor(rows["future"]), torch.as_tensor(rows["future_valid"]), torch.as_tensor(rows["end"]))
    return trim(batch), truth


def augment(rows: dict[str, NDArray[Any]], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Mirror half the samples; perturb and shorten histories; drop some context. The current state is kept."""
    rows = {name: np.array(values) for name, values in rows.items()}
    count = len(rows["speed"])
    flip = rng.random(count) < 0.5
    for name, signs in (("agents", AGENT_MIRROR), ("map", MAP_MIRROR), ("goals", GOAL_MIRROR)):
        rows[name] = rows[name].astype(np.float32)
        rows[name][flip] *= signs
    side = np.array([1.0, -1.0], dtype=np.float32)
    rows["goal_points"][flip] *= side
    rows["end"][flip] *= side
    rows["future"][flip] *= np.array([1.0, -1.0, -1.0], dtype=np.float32)

    shape = rows["agents"].shape[:2]
    past = rows["agents"][..., : (HISTORY - 1) * 7].reshape(*shape, HISTORY - 1, 7)
    seen = past[..., 6:]
    past[..., :2] += rng.normal(0.0, HISTORY_NOISE / POSITION_SCALE, past[..., :2].shape).astype(np.float32) * seen
    cut = np.where(rng.random(count) < HISTORY_DROP, rng.integers(1, HISTORY - 1, count), 0)
    past *= (np.arange(HISTORY - 1) >= cut[:, None])[:, None, :, None]
    rows["agents"][..., : (HISTORY - 1) * 7] = past.reshape(*shape, -1)

    lost = rng.random(shape) < AGENT_DROP
    lost[:, 0] = False
    rows["agents"][lost] = 0.0
    rows["map"][rng.random(rows["map"].shape[:2]) < MAP_DROP] = 0.0
    return rows
