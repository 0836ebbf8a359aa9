"""The simulator: the only part of Gauntlet (with the procedural generator) that touches MetaDrive's engine."""

from __future__ import annotations

from harness.engine.config import REWARDS, SENSORS, EngineConfig
from harness.engine.recording import Recording

__all__ = ["REWARDS", "SENSORS", "EngineConfig", "GauntletEnv", "Recording"]


def __getattr__(name: str) -> object:
    """Import MetaDrive only when the environment itself is asked for."""
    if name == "GauntletEnv":
        from harness.engine.env import GauntletEnv

        return GauntletEnv
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
