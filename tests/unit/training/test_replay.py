"""The replay memory against a plain list of transitions."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import ConfigError, RunError
from harness.training.replay import ReplayMemory


def fill(memory: ReplayMemory, episodes: int, first: int = 0) -> list[tuple[float, float, bool, float]]:
    """Episodes of 3, 4, 5, 3, … steps whose numbers count up; returns (observation, reward, terminal, next)."""
    made, number = [], 1000.0 * first
    for episode in range(first, first + episodes):
        memory.begin(np.full(2, number, np.float32))
        steps = 3 + episode % 3
        for step in range(steps):
            terminal = step == steps - 1 and episode % 2 == 0
            made.append((number, number / 10, terminal, number + 1))
            memory.add(np.full(1, -number, np.float32), number / 10, terminal, np.full(2, number + 1, np.float32))
            number += 1
        memory.end()
        number += 1
    return made


def drawn(memory: ReplayMemory, count: int = 4000) -> set[tuple[float, float, bool, float]]:
    observation, action, reward, terminal, following = memory.sample(count, np.random.default_rng(0))
    assert np.array_equal(observation[:, 0], -action[:, 0])
    columns = zip(observation[:, 0], reward, terminal, following[:, 0], strict=True)
    return {(float(o), round(float(r), 3), bool(t), float(n)) for o, r, t, n in columns}


def test_exactly_the_transitions_come_back_and_none_across_episodes() -> None:
    memory = ReplayMemory(100, 2, 1)
    made = fill(memory, 6)
    assert len(memory) == len(made) == 24
    assert memory.written == 24 + 6
    assert drawn(memory) == {(o, round(r, 3), t, n) for o, r, t, n in made}


def test_the_ring_forgets_the_oldest() -> None:
    memory = ReplayMemory(12, 2, 1)
    made = fill(memory, 9)
    kept = drawn(memory)
    assert kept < {(o, round(r, 3), t, n) for o, r, t, n in made}
    assert len(memory) == len(kept)
    newest = [(o, round(r, 3), t, n) for o, r, t, n in made[-5:]]
    assert set(newest) <= kept, "the newest episode is whole"


def test_sampling_is_uniform() -> None:
    memory = ReplayMemory(50, 2, 1)
    fill(memory, 3)
    observation = memory.sample(60_000, np.random.default_rng(1))[0][:, 0]
    counts = np.unique(observation, return_counts=True)[1]
    assert len(counts) == 12
    assert counts.std() / counts.mean() < 0.05


@pytest.mark.parametrize("capacity", [100, 12])
def test_segments_restore_it_exactly(capacity: int) -> None:
    memory, copy = ReplayMemory(capacity, 2, 1), ReplayMemory(capacity, 2, 1)
    segments, done = [], 0
    for part in range(3):
        fill(memory, 2, first=2 * part)
        segments.append((done, memory.rows(done, memory.written)))
        done = memory.written
    for start, rows in segments:
        copy.restore(start, rows)
    assert (copy.written, len(copy)) == (memory.written, len(memory))
    fill(memory, 1, first=50)
    fill(copy, 1, first=50)
    for mine, theirs in zip(
        memory.sample(500, np.random.default_rng(2)), copy.sample(500, np.random.default_rng(2)), strict=True
    ):
        assert np.array_equal(mine, theirs)


def test_rows_of_another_configuration_are_refused() -> None:
    memory = ReplayMemory(100, 2, 1)
    fill(memory, 1)
    with pytest.raises(RunError, match="observation"):
        ReplayMemory(100, 3, 1).restore(0, memory.rows(0, memory.written))


def test_a_memory_needs_room() -> None:
    with pytest.raises(ConfigError):
        ReplayMemory(1, 2, 1)
