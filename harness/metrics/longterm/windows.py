"""Short windows that slide over a long roll-out, and which of them have a map to be judged on."""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.geometry import to_frame

Starts = NDArray[np.intp]
Number = TypeVar("Number", np.int64, np.float64)

WINDOW: Final = 80
"""Steps of a window, 8 s: as long as a short-term roll-out (InfGen's code; RosettaSim leaves τ open)."""
STRIDE: Final = 5
"""Steps between the starts of windows, 0.5 s (RosettaSim, appendix E.2)."""
MAP_SIDE: Final = 64.0
"""Side of the square around the observer in which a window must have a map, m (RosettaSim, section 6.2)."""


def window_starts(steps: int, first: int = 0, length: int = WINDOW, stride: int = STRIDE) -> Starts:
    """First step of every window that ends within `steps` [W].

    Args:
        steps: Length of the roll-out.
        first: Where windows may begin: after the history that a model was given.
        length, stride: Steps of a window, and between two of them.

    Raises:
        ConfigError: Not even one window fits.
    """
    if steps - first < length:
        raise ConfigError(
            f"a roll-out of {steps - first} steps after its history has no window of {length}. Roll out for longer."
        )
    return np.arange(first, steps - length + 1, stride, dtype=np.intp)


def over_windows(per_step: NDArray[Number], starts: Starts, length: int) -> NDArray[Number]:
    """Sums [W, ...] of what was counted per step [T, ...] over windows of `length` steps."""
    total = np.concatenate([np.zeros_like(per_step[:1]), np.cumsum(per_step, 0)])
    return np.asarray(total[starts + length] - total[starts])


def in_windows(flags: NDArray[np.bool_], starts: Starts, length: int) -> NDArray[np.bool_]:
    """Whether a flag [A, T] of each agent is set at any step of each window: [W, A]."""
    return over_windows(flags.T.astype(np.int64), starts, length) > 0


def windows_with_map(
    observer: NDArray[np.float64], points: NDArray[np.float64], starts: Starts, length: int, side: float = MAP_SIDE
) -> NDArray[np.bool_]:
    """Which windows have a map: some point of it lies around the observer at some step (RosettaSim, section 6.2).

    Args:
        observer: [T, 3] x, y (m), heading (rad) of the ego, or of whoever watches.
        points: [P, 2] points of the map, m, no farther apart than `side`.
        starts: [W] first steps.
        length: Steps of a window.
        side: Side of the square around the observer, aligned with its heading, m.

    Returns:
        [W]; False: no map at any step of the window, which is to be left out.
    """
    near = np.zeros(len(observer), dtype=bool)
    # Standing observers look at the same place for many steps.
    poses, inverse = np.unique(observer[:, :3], axis=0, return_inverse=True)
    for row, pose in enumerate(poses):
        close = points[(np.abs(points - pose[:2]) <= side).all(-1)]
        near[inverse.reshape(-1) == row] = bool((np.abs(to_frame(close, pose)) <= side / 2).all(-1).any())
    return in_windows(near[None], starts, length)[:, 0]
