"""Top-k, CAT-K, Warm-K, choosing among roll-outs."""

from __future__ import annotations

import pytest
import torch

from harness.errors import ConfigError
from harness.traffic.sampling import Sampling, cat_k, draw, keep_best, perturbed, top_k, warm_k


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_top_k_keeps_the_largest():
    kept = top_k(torch.tensor([[1.0, 3.0, 2.0, 0.0]]), 2)
    assert kept.isfinite().tolist() == [[False, True, True, False]]
    assert top_k(kept, 0) is kept


def test_draw_follows_probabilities_and_temperature():
    logits = torch.tensor([0.8, 0.2]).log().expand(20_000, 2)
    share = (draw(logits, 1.0, seeded()) == 0).float().mean()
    assert share == pytest.approx(0.8, abs=0.015)
    sharp = (draw(logits, 0.5, seeded()) == 0).float().mean()
    assert sharp == pytest.approx(0.64 / 0.68, abs=0.015)
    assert (draw(logits, 0.0, seeded()) == 0).all()


def test_noise_is_the_same_whatever_is_left_out():
    logits = torch.randn(2, 3, 50, generator=seeded())
    every, few = perturbed(logits, 0.7, seeded()), perturbed(top_k(logits, 4), 0.7, seeded())
    kept = few > -torch.inf
    assert kept.sum(-1).eq(4).all()
    assert torch.equal(few[kept], every[kept])
    assert (every - logits / 0.7).std() > 0.5


def test_cat_k_takes_the_nearest_of_the_k_most_probable():
    logits = torch.tensor([[5.0, 4.0, 3.0, 0.0]])
    distance = torch.tensor([[2.0, 1.0, 0.5, 0.1]])
    known = torch.tensor([True])
    assert cat_k(logits, distance, known, 1, seeded()).tolist() == [0]
    assert cat_k(logits, distance, known, 2, seeded()).tolist() == [1]
    assert cat_k(logits, distance, known, 3, seeded()).tolist() == [2]
    assert cat_k(logits, distance, known, 4, seeded()).tolist() == [3]


def test_cat_k_samples_where_the_log_is_unknown():
    logits = torch.tensor([[0.0, 9.0]]).expand(50, 2)
    distance = torch.tensor([[0.0, 1.0]]).expand(50, 2)
    known = torch.arange(50) < 25
    chosen = cat_k(logits, distance, known, 2, seeded())
    assert (chosen[:25] == 0).all()
    assert (chosen[25:] == 1).float().mean() > 0.9


def test_warm_k_prefers_going_on():
    continuity = torch.arange(40.0).expand(2000, 40) * 0.1
    # All tokens are about equally probable; the slope only decides ties.
    logits = -1e-4 * continuity
    free = draw(warm_k(logits, continuity, 8, 0.0), 1.0, seeded())
    warm = draw(warm_k(logits, continuity, 8, 1.0), 1.0, seeded())
    assert warm.float().mean() < free.float().mean() - 0.5
    assert warm_k(logits, continuity, 8, 1.0).argmax(-1).unique().tolist() == [0]


def test_warm_k_still_allows_what_the_policy_wants():
    logits = torch.zeros(1, 40)
    logits[0, 39] = 20.0
    continuity = torch.arange(40.0)[None] * 0.1
    assert draw(warm_k(logits, continuity, 8, 0.1), 1.0, seeded()).tolist() == [39]


def test_keep_best_of_each_group():
    scores = torch.tensor([1.0, 5.0, 3.0, 2.0, 0.0, 9.0])
    # Two groups: rows 0, 2, 4 and rows 1, 3, 5.
    assert keep_best(scores, 2).tolist() == [2, 5]


def test_options_are_checked():
    with pytest.raises(ConfigError):
        Sampling(temperature=-1.0)
    with pytest.raises(ConfigError):
        Sampling(choices=0)
