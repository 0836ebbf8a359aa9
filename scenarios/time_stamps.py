"""When the samples of a scene were taken: time stamps in seconds, from whatever a file says about them.

ScenarioNet writes `metadata["ts"]` in seconds, and `metadata["sample_rate"]`, which is the time between samples in
seconds (0.1 for nuPlan and nuScenes), not a frequency. Other converters write milliseconds or the clock of a sensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ScenarioError
from scenarios.scenario import DT
from scenarios.values import numbers

Floats = NDArray[np.float64]

FASTEST: Final = 0.005
"""Shortest typical time between samples, s: 200 Hz, the fastest inertial sensors that label poses."""
SLOWEST: Final = 1.0
"""Longest time between two samples, s. A car turns through a junction in about 3 s: from samples farther apart its
path is a guess, not an interpolation."""
UNITS: Final = (("seconds", 1.0), ("milliseconds", 1e-3), ("microseconds", 1e-6), ("nanoseconds", 1e-9))
"""Units of time stamps. Typical steps of `FASTEST` … `SLOWEST` in one unit are far from those in another."""
JITTER: Final = 0.015
"""A step of 0.1 s may be off by this, s: the steps of WOMD are by up to 1.6 ms, in scenes of 20 s by up to 11 ms."""
DRIFT: Final = 0.01
"""The mean step may be off by this share: those of WOMD are by up to 0.6 %."""
_HUGE: Final = 1e9
"""No rate is so large; larger integers are not even floats."""
_SLACK: Final = 1.05
"""How far a step may exceed `SLOWEST`: the clocks of sensors wander."""


def time_stamps(metadata: Mapping[str, object], steps: int, source: str = "scenario") -> Floats:
    """Time of every step after the first, [steps], s, increasing; in exact steps of 0.1 s if `at_ten_hertz`.

    From the stamps `ts`, else from `sample_rate` (seconds between samples; above 1 a frequency in Hz, as no scene is
    sampled so slowly), else 10 Hz as in WOMD.

    Args:
        metadata: The scene's metadata.
        steps: Number of steps.
        source: Where the scene came from, for messages.

    Raises:
        ScenarioError: The stamps are no finite numbers, not one per step, do not increase, are in no unit that can be
            told, or have a hole of more than `SLOWEST`.
    """
    stamps = metadata.get("ts")
    if stamps is None:
        return np.arange(steps, dtype=np.float64) * _sample_time(metadata.get("sample_rate"), source)
    values = _numbers(stamps, source)
    if len(values) != steps:
        _fail(source, f"{len(values)} time stamps for {steps} steps")
    if steps == 1:
        return values * 0.0
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        _fail(source, f"time stamp {wrong[0]} is {values[wrong[0]]}")
    gaps = np.diff(values)
    wrong = np.flatnonzero(gaps <= 0)
    if len(wrong):
        row = int(wrong[0])
        how = "repeats" if gaps[row] == 0 else "runs backwards"
        _fail(source, f"time {how} at step {row + 1} ({values[row]:.10g}, then {values[row + 1]:.10g})")
    # The first stamp is taken off first: clocks count from 1970, which leaves few digits for the steps.
    seconds = (values - values[0]) * _unit(float(np.median(gaps)), source)
    hole = int(np.argmax(np.diff(seconds)))
    if seconds[hole + 1] - seconds[hole] > SLOWEST * _SLACK:
        lost = seconds[hole + 1] - seconds[hole]
        _fail(source, f"nothing is recorded for {lost:.3g} s after step {hole}; at most {SLOWEST:g} s are interpolated")
    return np.arange(steps, dtype=np.float64) * DT if at_ten_hertz(seconds) else seconds


def at_ten_hertz(stamps: Floats) -> bool:
    """Whether every step is 0.1 s but for the wandering of a sensor's clock (`JITTER`, `DRIFT`)."""
    gaps = np.diff(stamps)
    return bool((np.abs(gaps - DT) <= JITTER).all() and abs(gaps.mean() - DT) <= DRIFT * DT)


def time_step(stamps: Floats) -> float:
    """Typical time between samples, s: the median, to 1 ms as the clocks of sensors wander by more."""
    return round(float(np.median(np.diff(stamps))), 3) if len(stamps) > 1 else DT


def _numbers(stamps: object, source: str) -> Floats:
    try:
        values = numbers(stamps)
        if values.dtype.kind == "b":
            raise ValueError("found booleans")
        return values.astype(np.float64).ravel()
    except ValueError as error:
        raise ScenarioError(
            f"{source}: metadata: ts: no time stamps ({error}). Expected one number per step."
        ) from None


def _unit(typical: float, source: str) -> float:
    """Seconds per unit of the stamps."""
    for _, seconds in UNITS:
        if FASTEST / _SLACK <= typical * seconds <= SLOWEST * _SLACK:
            return seconds
    _fail(source, f"steps of {typical:.6g} are no time between samples in seconds, ms, µs or ns")
    raise AssertionError  # _fail() has raised; this line is for the type checker.


def _sample_time(rate: object, source: str) -> float:
    if rate is None:
        return DT
    number = isinstance(rate, int | float | np.integer | np.floating) and not isinstance(rate, bool)
    value = float(rate) if number and abs(rate) < _HUGE else np.nan  # type: ignore[arg-type, operator]
    seconds = 1 / value if value > SLOWEST else value
    if not FASTEST <= seconds <= SLOWEST:
        found = f"{value:g}" if np.isfinite(value) else type(rate).__name__
        raise ScenarioError(
            f"{source}: metadata: sample_rate: found {found}. Expected {FASTEST:g} to {SLOWEST:g} s between samples."
        )
    return seconds


def _fail(source: str, reason: str) -> None:
    raise ScenarioError(
        f"{source}: metadata: ts: {reason}. Expected one increasing time stamp per step, {FASTEST:g} to {SLOWEST:g} s "
        "apart; repair the stamps, or leave them out if the scene is at 10 Hz."
    )
