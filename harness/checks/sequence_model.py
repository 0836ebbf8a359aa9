"""Whether a sequence model behind RosettaSim keeps its contract."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from harness.checks.base import Checker
from harness.traffic.rosetta.sequence_model import SequenceModel

_LENGTH: Final = 9
_PADDING: Final = (2, 6)
"""Places of padding in the sequence that is tried."""
_TOLERANCE: Final = 1e-3
"""Largest difference of features, as a share of the largest one."""


def check_sequence_model(model: SequenceModel, *, seed: int = 0) -> None:
    """Check that a sequence model is causal, blind to padding, and the same in parts.

    Args:
        model: In evaluation mode.
        seed: Seed of the embeddings that are tried.

    Raises:
        ConformanceError: With the broken rule.
    """
    checker = Checker(f"sequence model {type(model).__name__!r}")
    checker.require(isinstance(model, SequenceModel), "it must be a SequenceModel")
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(2, _LENGTH, model.width, generator=generator)
    present = torch.ones(2, _LENGTH, dtype=torch.bool)
    present[:, list(_PADDING)] = False
    with torch.no_grad():
        whole, past = model(tokens, present)
        checker.require(whole.shape == tokens.shape, "features must have the shape of the embeddings", f"{whole.shape}")
        checker.require(whole[present].isfinite().all(), "features must be finite")
        checker.require(torch.equal(past.present, present), "its past must say which tokens exist")
        later = tokens.clone()
        later[:, -1] += 1.0
        seen = present.clone()
        seen[:, -1] = False
        same = _alike(model(later, present)[0], whole, seen)
        checker.require(same, "it must be causal: a later token may not change the features of earlier ones")
        other = torch.where(present[..., None], tokens, tokens + 1.0)
        same = _alike(model(other, present)[0], whole, present)
        checker.require(same, "it must be blind to padding: what stands where no token is may not matter")
        kept = present[0].nonzero()[:, 0]
        tight = model(tokens[:, kept], present[:, kept])[0]
        same = _alike(tight, whole[:, kept], present[:, kept])
        checker.require(same, "it must be blind to padding: where it stands may not matter")
        first, past = model(tokens[:, :5], present[:, :5])
        second, past = model(tokens[:, 5:], present[:, 5:], past)
        same = _alike(torch.cat([first, second], 1), whole, present)
        checker.require(same, "given in parts, a sequence must have the same features as given at once")
        checker.require(torch.equal(past.present, present), "the past of the last part must be that of all parts")


def _alike(one: Tensor, other: Tensor, where: Tensor) -> bool:
    """Whether features [B, L, D] are the same where [B, L] holds, to rounding."""
    gap, largest = (one - other)[where].abs().max(), other[where].abs().max()
    return bool(gap <= _TOLERANCE * largest)
