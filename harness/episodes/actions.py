"""The check that every action passes before it reaches the simulator."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import PolicyError

ACTION_SIZE: Final = 2
"""Steering and throttle/brake."""


def check_action(action: Any, *, policy: str, step: int, scene: str = "") -> NDArray[np.float32]:
    """The action as float32 [2], clipped to [-1, 1].

    Finite values outside the interval are clipped, as the simulator does and as Gaussian policies rely on.

    Args:
        action: What the policy returned.
        policy: Name of the policy, for the message.
        step: Absolute step, for the message.
        scene: Scene id, for the message.

    Raises:
        PolicyError: Not two finite numbers.
    """
    where = f"policy {policy!r} at step {step}" + (f" of scene {scene}" if scene else "")
    try:
        if np.iscomplexobj(action):
            raise TypeError  # numpy would drop the imaginary parts
        array = np.asarray(action, dtype=np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PolicyError(
            f"{where}: expected an action of {ACTION_SIZE} numbers (steering, throttle), got {_short(action)}."
        ) from error
    if array.shape != (ACTION_SIZE,):
        raise PolicyError(
            f"{where}: expected an action of shape ({ACTION_SIZE},) (steering, throttle), got shape {array.shape}: "
            f"{_short(action)}."
        )
    if not np.isfinite(array).all():
        raise PolicyError(
            f"{where}: the action is not finite: steering {array[0]}, throttle {array[1]}. "
            "Check the policy's weights and how it normalises its observation."
        )
    return np.clip(array, -1.0, 1.0)


def _short(value: Any) -> str:
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= 80 else text[:77] + "..."
