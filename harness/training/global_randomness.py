"""The process's random generators, for a library that draws from no others: each learner has its own sequence."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from harness.errors import WeightsError

_WORDS: Final = 624
"""Words of the state of numpy's global generator, a Mersenne twister."""


class GlobalRandomness:
    """The states in which one learner left the global generators of numpy and torch."""

    def __init__(self) -> None:
        """Begin with the states of now."""
        self._kept = _current()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within the block the generators go on where this learner left them; the caller's come back after it."""
        callers = _current()
        _put(self._kept)
        try:
            yield
        finally:
            self._kept = _current()
            _put(callers)

    def state(self) -> dict[str, Tensor]:
        """The states of numpy and torch, to go on exactly."""
        numbers = self._kept["numpy"]
        found = {
            "numpy": torch.from_numpy(numbers["state"]["key"].astype(np.int64)),
            "places": torch.tensor([numbers["state"]["pos"], numbers["has_gauss"]]),
            "gauss": torch.tensor([numbers["gauss"]], dtype=torch.float64),
            "torch": self._kept["torch"].clone(),
        }
        return found | {f"cuda{place}": state.clone() for place, state in enumerate(self._kept["cuda"])}

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore `state()`. Of CUDA's devices those that are there go on.

        Raises:
            WeightsError: A state is missing or damaged.
        """
        before = _current()
        try:
            position, has_gauss = state["places"].tolist()
            words = state["numpy"].numpy()
            if words.shape != (_WORDS,) or not 0 <= position <= _WORDS:
                raise ValueError("it is not that of a Mersenne twister")
            numbers = {
                "bit_generator": "MT19937",
                "state": {"key": words.astype(np.uint32), "pos": position},
                "has_gauss": has_gauss,
                "gauss": float(state["gauss"][0]),
            }
            cuda = [state.get(f"cuda{place}", now) for place, now in enumerate(before["cuda"])]
            kept = {"python": before["python"], "numpy": numbers, "torch": state["torch"], "cuda": cuda}
            _put(kept)  # What torch refuses is refused here.
        except (KeyError, ValueError, TypeError, RuntimeError, IndexError) as error:
            raise WeightsError(f"checkpoint: the state of a random generator cannot be read ({error}).") from error
        finally:
            _put(before)
        self._kept = kept


def _current() -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002 (Stable-Baselines3 draws from it)
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def _put(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
