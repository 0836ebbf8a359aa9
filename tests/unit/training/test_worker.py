"""Updates shared between two threads equal updates in one."""

from __future__ import annotations

import sys

import pytest
import torch

from harness.errors import RunError
from harness.training.td3 import FastTD3
from harness.training.worker import InlineUpdater, ThreadedUpdater
from tests.unit.training.test_td3 import ACTION, BATCH, OBSERVATION, largest_difference, model_with_memories


def batch(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    discount = 0.99 * (draw(BATCH) > 0.1)
    return [
        draw(BATCH, OBSERVATION),
        draw(BATCH, ACTION),
        draw(BATCH),
        discount,
        draw(BATCH, OBSERVATION),
        draw(BATCH, ACTION),
    ]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_shared_update_is_the_whole_update(precision: str) -> None:
    alone, shared = (model_with_memories(FastTD3, precision=precision) for _ in range(2))
    inline, threaded = InlineUpdater(alone), ThreadedUpdater(shared)
    for seed in range(6):
        losses = []
        for updater in (inline, threaded):
            updater.submit(batch(seed))
            losses.append(updater.conclude())
        assert losses[1].tolist() == pytest.approx(losses[0].tolist(), rel=1e-3, abs=1e-5)
    threaded.close()
    assert alone._n_updates == shared._n_updates == 6
    limit = 2e-6 if precision == "float32" else 6 * 2 * 3e-4
    assert largest_difference(alone, shared) < limit


def test_an_update_is_concluded_beside_the_next_one() -> None:
    alone, shared = (model_with_memories(FastTD3) for _ in range(2))
    inline, threaded = InlineUpdater(alone), ThreadedUpdater(shared)
    expected = []
    for seed in range(6):
        inline.submit(batch(seed))
        expected.append(inline.join().tolist())
        threaded.submit(batch(seed))
        late = threaded.join()
        assert (late is None) == (seed == 0)
        if seed:
            assert late.tolist() == pytest.approx(expected[seed - 1], rel=1e-4, abs=1e-6)
        assert shared._n_updates == seed, "one behind"
    assert threaded.conclude().tolist() == pytest.approx(expected[-1], rel=1e-4, abs=1e-6)
    assert threaded.conclude() is None
    threaded.close()
    assert largest_difference(alone, shared) < 2e-6


def test_two_shared_runs_are_bitwise_equal() -> None:
    models = [model_with_memories(FastTD3) for _ in range(2)]
    for model in models:
        updater = ThreadedUpdater(model)
        for seed in range(6):
            updater.submit(batch(seed))
            updater.join()
        updater.conclude()
        updater.close()
    assert largest_difference(*models) == 0.0


def test_an_update_that_fails_is_an_error_in_the_caller_and_not_silence() -> None:
    updater = ThreadedUpdater(model_with_memories(FastTD3))
    broken = batch(0)
    broken[4] = torch.full((BATCH, OBSERVATION - 1), 0.5)
    updater.submit(broken)
    with pytest.raises(RunError, match="update failed"):
        updater.join()
    updater.close()


def test_joining_without_an_update_is_nothing_and_closing_restores_the_interpreter() -> None:
    before = sys.getswitchinterval()
    updater = ThreadedUpdater(model_with_memories(FastTD3))
    assert updater.join() is None
    assert sys.getswitchinterval() < before
    updater.close()
    assert sys.getswitchinterval() == pytest.approx(before)
