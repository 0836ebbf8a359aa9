"""How traffic that comes and goes is decoded, whatever the model: options, and motions that nobody can make.

Paper: RosettaSim, appendix D.3; each heuristic has a switch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from torch import Tensor

from harness.errors import ConfigError
from harness.traffic.open.decisions import NONE
from harness.traffic.tokens.layout import LayoutTokens
from harness.traffic.tokens.shapes import TOKEN_STEPS

EXTREME: Final = 10.0
"""An agent whose next motion changes its speed by more than this is removed, m/s²: no tyre holds more than about 1 g.
The paper gives no number."""
_TOKEN: Final = TOKEN_STEPS * 0.1
"""Length of a token, s."""


_WRITTEN: Final = {bool: "true or false", int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class OpenOptions:
    """How motion is sampled, who may enter, and which heuristics of RosettaSim's appendix D.3 are used."""

    top_k: int = 5
    """Most probable motion tokens that are drawn from; 0 for all."""
    temperature: float = 1.0
    """Temperature of motion tokens; 0 for the most probable one."""
    spawning: bool = True
    """Whether anybody enters."""
    snap: bool = True
    """Whether vehicles enter on the centre line of a lane that is within 3 m of the place."""
    overlap_ends: bool = True
    """Whether nobody else enters, in this half second, once a newcomer would overlap with somebody."""
    boundary: bool = True
    """Whether who leaves the map, or comes farther than 75 m from the observer, is removed."""
    extremes: bool = True
    """Whether who makes an impossible motion is removed."""
    most: int = 10
    """Largest number of newcomers in half a second."""
    reserve: int = 64
    """Largest number of newcomers at once."""
    elsewhere: bool = False
    """Whether it may be used around another observer than it was trained around; without it that is refused."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range, or of another type than the default.
        """
        for item in fields(self):
            value, kind = getattr(self, item.name), type(item.default)
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise ConfigError(f"traffic: {item.name}={value}: expected {_WRITTEN[kind]}.")
        if min(self.top_k, self.temperature, self.most) < 0 or self.reserve < 1:
            raise ConfigError(f"traffic: {self}: expected counts and temperatures >= 0, reserve >= 1.")


def extreme(motion: Tensor, before: Tensor, known: Tensor) -> Tensor:
    """Whose motion is impossible [N]: its speed differs too much from that of the motion before.

    Args:
        motion, before: [N, 3] in the agent's frame, m and rad, over half a second each.
        known: [N] whether the motion before is known.
    """
    change = motion[:, :2].square().sum(-1).sqrt() - before[:, :2].square().sum(-1).sqrt()
    return known & (change.abs() / _TOKEN**2 > EXTREME)


def without(tokens: LayoutTokens, gone: np.ndarray) -> LayoutTokens:
    """Layout tokens [N] of those who are not gone [N], `NONE` of the others."""
    return tokens._replace(grid=np.where(gone, NONE, tokens.grid), yaw=np.where(gone, NONE, tokens.yaw))
