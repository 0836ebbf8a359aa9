"""`sage_smart`: SAGE's steered adversary over the traffic model's roll-outs instead of the goal-conditioned prior.

Paper: Nie et al., "Steerable Adversarial Scenario Generation through Test-Time Preference Alignment", section 3.3.

Limits: The experts that come with the package have learnt from procedural scenes: `train_experts --backbone smart`
makes those of recorded scenes. Its futures are sampled: two plans with different seeds choose among different ones.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Final, Literal

from adversaries.sage.sampled import SampledSageAdversary, load_sampled
from adversaries.sage.smart_backbone import SmartBackbone
from harness.episodes.protocol import Protocol
from harness.interfaces import Adversary

SHIPPED: Final = Path(__file__).parent / "smart_experts"
"""Experts aligned on procedural scenes, part of the package; their reference is the shipped traffic model."""


def sage_smart(
    experts: str | PathLike[str] | None = None,
    protocol: str | Protocol = "corrected",
    candidates: int = 32,
    mixing: Literal["weights", "trajectories"] = "weights",
    extrapolation: Literal["vector", "direct"] = "vector",
    cache_scenes: int = 64,
    drives: Literal["mean", "latest"] = "mean",
) -> Adversary:
    """The steered adversary over SMART: its candidates are roll-outs of a mixture of two experts, drawn for each plan.

    Args:
        experts: Folder that `train_experts --backbone smart` wrote; the shipped experts by default.
        protocol, candidates, mixing, extrapolation, drives: See `adversaries.sage.sampled.SampledSageAdversary`.
        cache_scenes: Scenes whose tokens are kept, about 2 MB each.

    Raises:
        WeightsError: Weights are missing or of another model, or the experts come from another reference.
        ConfigError: An option cannot work.
    """
    return SampledSageAdversary(
        load_sampled(SHIPPED if experts is None else Path(experts), SmartBackbone),
        protocol=protocol,
        candidates=candidates,
        mixing=mixing,
        extrapolation=extrapolation,
        cache_scenes=cache_scenes,
        name="sage_smart",
        drives=drives,
    )
