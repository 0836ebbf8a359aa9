"""Whether a saved state of environments may be put in place: kernels use some of its numbers as indices, unseen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.fast.bodies import body_table

_FARTHEST: Final = 1e9
"""No coordinate, speed or time of a simulation is larger."""

Arrays = Mapping[str, NDArray[Any]]


def check_state(state: Arrays, fitting: Arrays, scenes: int, ways: int = 0) -> None:
    """Refuse arrays that were not saved by these environments, or that a kernel could not survive.

    Args:
        state: What is to be put in place, as `FastVectorEnv.state_dict` gives it.
        fitting: The present state of the environments: names, shapes and types.
        scenes: Number of scenes.
        ways: Number of ways along lanes.

    Raises:
        ConfigError: Names the array.
    """
    for name, array in fitting.items():
        if name not in state or state[name].shape != array.shape or state[name].dtype != array.dtype:
            raise _unfit(name)
    rows = fitting["fleet.plan"].shape[1]
    bounds: dict[str, tuple[int, int]] = {
        "fleet.scene": (0, scenes - 1),
        "play.scene": (0, scenes - 1),
        "fleet.start": (0, rows - 2),
        "fleet.step": (0, rows - 2),
        "fleet.horizon": (1, rows - 1),
        "fleet.near_count": (0, fitting["fleet.near"].shape[1]),
        "fleet.plan_first": (-1, rows - 1),
        "fleet.seen": (-1, rows),
        "fleet.born": (0, len(body_table()) - 1),
        "first": (-1, rows - 1),
    }
    if "drivers.way" in fitting:
        bounds["drivers.way"] = (-1, ways - 1)
    for name, (least, most) in bounds.items():
        if state[name].min(initial=least) < least or state[name].max(initial=most) > most:
            raise _unfit(name)
    for name, array in state.items():
        if array.dtype.kind == "f" and not (np.abs(array) <= _FARTHEST).all():
            raise _unfit(name)


def _unfit(name: str) -> ConfigError:
    return ConfigError(
        f"the saved state of the environments does not fit: {name}. Go on with the scenes, the environments and the "
        "options that it was saved with."
    )
