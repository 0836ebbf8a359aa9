"""The simulator: the only part of Gauntlet (with the procedural generator) that touches MetaDrive's engine."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from harness.engine.config import REWARDS, SENSORS, EngineConfig
from harness.engine.recording import Recording
from harness.errors import metadrive_needed

if TYPE_CHECKING:
    from harness.engine.env import GauntletEnv

__all__ = ["REWARDS", "SENSORS", "EngineConfig", "GauntletEnv", "Recording"]


def __getattr__(name: str) -> object:
    """Import MetaDrive only when the environment itself is asked for."""
    if name == "GauntletEnv":
        with warnings.catch_warnings(), metadrive_needed():
            # MetaDrive imports pygame, which warns about setuptools on every start; users cannot act on it.
            warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
            from harness.engine.env import GauntletEnv

        return GauntletEnv
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
