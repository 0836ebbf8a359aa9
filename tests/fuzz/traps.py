"""Readers with known faults: the campaign has to catch each."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.errors import ScenarioError
from tests.fuzz.formats import Format

SOUND = b"sound"


def _make(folder: Path) -> None:
    (folder / "file").write_bytes(SOUND)


def _damage(data: bytes, rng: random.Random) -> bytes:
    return b"damaged"


def _die(data: bytes, rng: random.Random) -> bytes:
    os.abort()


def _trap(fault: Callable[[Path], object], share: float = 1.0) -> Format:
    def read(folder: Path) -> None:
        if (folder / "file").read_bytes() != SOUND:
            fault(folder)

    return Format("file", _make, read, _damage, share)


def _raise(error: Exception) -> Callable[[Path], object]:
    def fault(folder: Path) -> None:
        raise error

    return fault


def _spin(folder: Path) -> None:
    while True:
        try:
            sum(range(10_000))
        except Exception:  # noqa: BLE001 - a handler that swallows everything must not hide a hang
            continue


def _swallowed(folder: Path) -> None:
    try:
        np.ones(10**12, np.uint8)
    except MemoryError as error:
        raise ScenarioError("too large") from error


TRAPS: dict[str, Format] = {
    "refused": _trap(_raise(ScenarioError("one line"))),
    "traceback": _trap(_raise(ValueError("a leak"))),
    "message": _trap(_raise(ScenarioError(""))),
    "slow": _trap(_spin),
    "memory": _trap(_swallowed),
    "wrote": _trap(lambda folder: (folder / "made").write_text("a file that reading makes")),
    "died": _trap(lambda folder: os.abort(), 0.1),
    "unmade": Format("file", _make, lambda folder: None, _die, 0.1),
}
"""Format by the outcome that it must have."""
