"""Attention weights of a sequence model, layer by layer, as they come in its forward pass.

Every model that attends through PyTorch's `scaled_dot_product_attention` is understood: its calls are watched, and the
weights, which that function never returns, are computed beside them from the same queries and keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Look = Callable[[Tensor], None]
"""Gets the weights [B, heads, Q, K] of one layer after another: how much each of Q tokens takes from each of K."""


class AttentionWatch(TorchFunctionMode):
    """While it is entered, shows the weights of every `scaled_dot_product_attention`.

    Args:
        look: Gets the weights of each call; they are not kept, as those of a language model fill the memory.

    Attributes:
        seen: Number of calls.
    """

    def __init__(self, look: Look) -> None:
        super().__init__()
        self.seen, self._look = 0, look

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function, and show the weights where it is attention."""
        named = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.seen += 1
            self._look(attention_weights(*args, **named))
        return func(*args, **named)


def attention_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Weights [B, heads, Q, K] with which `scaled_dot_product_attention` adds values up; its arguments.

    Dropout is left out. Where fewer heads of keys than of queries are shared (`enable_gqa`), each is repeated.
    """
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = query.float() @ key.float().mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -math.inf)
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
        else:
            scores = scores + attn_mask
    return scores.softmax(-1)
