"""How attention weights are read off a sequence model."""

import pytest
import torch
from torch.nn import functional as F

from harness.errors import ConfigError
from harness.traffic.rosetta.attention import AttentionWatch, attention_weights
from harness.traffic.rosetta.sequence_model import CausalTransformer, Past, SequenceModel


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"attn_mask": torch.ones(5, 5, dtype=torch.bool).tril()},
        {"attn_mask": torch.arange(25.0).view(5, 5)},
        {"scale": 0.3},
        {"enable_gqa": True},
    ],
)
def test_weights_are_those_of_the_function(options) -> None:
    generator = torch.Generator().manual_seed(0)
    heads = 1 if options.get("enable_gqa") else 2
    query = torch.randn(3, 2, 5, 4, generator=generator)
    key, value = (torch.randn(3, heads, 5, 4, generator=generator) for _ in range(2))
    weights = attention_weights(query, key, value, **options)
    assert weights.shape == (3, 2, 5, 5)
    found = weights @ value.repeat_interleave(2 // heads, 1)
    assert torch.allclose(found, F.scaled_dot_product_attention(query, key, value, **options), atol=1e-6)


def test_a_watch_sees_calls_and_changes_nothing() -> None:
    model = CausalTransformer(width=8, layers=3, heads=2).eval()
    x, present = torch.randn(2, 6, 8), torch.ones(2, 6, dtype=torch.bool)
    present[1, 2] = False
    seen: list[torch.Tensor] = []
    with torch.no_grad(), AttentionWatch(seen.append) as watch:
        watched = model(x, present)[0]
    assert watch.seen == len(seen) == 3
    with torch.no_grad():
        assert torch.equal(watched, model(x, present)[0])
    for weights in seen:
        assert weights.shape == (2, 2, 6, 6)
        assert torch.allclose(weights.sum(-1), torch.ones(2, 2, 6))
        assert not weights.triu(1).any(), "nobody looks ahead"
        assert not weights[1, :, 3:, 2].any(), "nobody looks at padding"


def test_a_model_shows_its_layers() -> None:
    model = CausalTransformer(width=8, layers=2, heads=2).eval()
    seen: list[torch.Tensor] = []
    model.attention(torch.randn(1, 4, 8), torch.ones(1, 4, dtype=torch.bool), seen.append)
    assert [weights.shape for weights in seen] == [(1, 2, 4, 4)] * 2
    assert not seen[0].requires_grad


class Still(SequenceModel):
    """A sequence model without attention."""

    width = 8

    def forward(self, embeddings, present, past=None):
        return embeddings, Past(present, ())


def test_a_model_that_cannot_be_watched_is_named() -> None:
    with pytest.raises(ConfigError, match="Still: its attention cannot be seen"):
        Still().attention(torch.zeros(1, 2, 8), torch.ones(1, 2, dtype=torch.bool), lambda weights: None)
