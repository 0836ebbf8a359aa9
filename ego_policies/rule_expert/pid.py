"""PID control over a sliding window, for one car or for many imagined ones at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Gains(NamedTuple):
    """Proportional, integral and derivative gain; the latter two per sample, not per second."""

    proportional: float
    integral: float
    derivative: float


class PID:
    """`P e + I mean(last n errors) + D (e - previous e)`; the window begins full of zeros (SAGE's expert).

    State arrays have the shape [...] of the errors.
    """

    def __init__(self, gains: Gains, window: int, shape: tuple[int, ...] = ()) -> None:
        """Begin at rest.

        Args:
            gains: Gains of the controller.
            window: How many errors the integral remembers.
            shape: Shape of the errors.
        """
        self.gains = gains
        self._errors = np.zeros((window, *shape))
        self._total = np.zeros(shape)
        self._last = np.zeros(shape)
        self._next = 0

    def step(self, error: Floats | float) -> Floats:
        """Output [...] for the errors [...] of this sample."""
        gains, window = self.gains, len(self._errors)
        self._total = self._total + error - self._errors[self._next]
        self._errors[self._next] = error
        self._next = (self._next + 1) % window
        output = gains.proportional * error + gains.integral * (self._total / window)
        output = output + gains.derivative * (error - self._last)
        self._last = np.asarray(error, dtype=np.float64)
        return np.asarray(output)

    def fork(self, count: int) -> PID:
        """`count` copies of a scalar controller as one of shape [count]; they go their own ways."""
        twin = PID(self.gains, len(self._errors), (count,))
        twin._errors[:] = self._errors[:, None]
        twin._total[:] = self._total
        twin._last[:] = self._last
        twin._next = self._next
        return twin
