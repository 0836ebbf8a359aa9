"""Training as if motion tokens occurred by Zipf's law, whatever the logs hold.

Paper: RosettaSim, section 6.1 and figure 7, which says no more than that motion tokens are resampled in training, so
that they follow the law with a given exponent. Here every predicted token is weighted by how much more often the law
would draw it, which is the mean of drawing and leaves out its noise. Sequences stay as they were: what is read is true,
and only what is asked how often changes. Kinds stay as frequent as they are, and so does motion beside newcomers.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.metrics.zipf import zipf_weights
from harness.traffic.tokens.shapes import TOKEN_KINDS
from harness.traffic.training.dataset import TokenisedScenes


def motion_counts(scenes: TokenisedScenes) -> NDArray[np.int64]:
    """How often each motion token of each kind [3, V] occurs in scenes, mirrored ones too, in their first phase."""
    counts = np.zeros((TOKEN_KINDS, scenes.vocabulary.motions.shape[1]), dtype=np.int64)
    for number, entry in enumerate(scenes.entries):
        if entry.phase == 0:
            scene = scenes[number]
            known = scene.token_valid & scene.road_user[:, None]
            kinds = np.broadcast_to(scene.kinds[:, None], known.shape)
            np.add.at(counts, (kinds[known], scene.token[known]), 1)
    return counts


def law_weights(counts: NDArray[np.int64], exponent: float) -> Tensor:
    """Weights [3, V] of motion tokens of each kind, under which those of counts [3, V] follow Zipf's law."""
    return torch.as_tensor(np.stack([zipf_weights(own, exponent) for own in counts]), dtype=torch.float32)


def as_drawn(losses: Tensor, kinds: Tensor, tokens: Tensor, weights: Tensor) -> Tensor:
    """Losses [n] whose mean is that of tokens drawn by their weights [3, V].

    The weights of each kind are brought to a mean of 1 among what is there: a batch without rare tokens can draw none.

    Args:
        losses: [n] losses of predicted tokens.
        kinds: [n] whose they are.
        tokens: [n] the tokens.
        weights: [3, V].
    """
    own = weights.to(losses.device)[kinds, tokens]
    total = own.new_zeros(TOKEN_KINDS).index_add_(0, kinds, own)
    count = torch.bincount(kinds, minlength=TOKEN_KINDS)
    scale = torch.where(total > 0, count / total, 0.0)
    return losses * own * scale[kinds]
