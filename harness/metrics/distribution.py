"""Wasserstein distances between how generated and logged vehicles move (SAGE's tables, columns "Dist. Diff.").

Samples of every scene are pooled, then compared, as SAGE does: one distance per table row, not a mean of distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from harness.errors import ConfigError
from harness.metrics.intervals import CONFIDENCE, Interval, Picks, percentile_interval, resampled
from harness.metrics.profiles import path_headings, profile

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

Reading = Literal["corrected", "as-published"]

RESAMPLES: Final = 200
"""Bootstrap resamples of scenes; a distance sorts thousands of samples, so there are fewer than for means."""
MIN_POINTS: Final = 3
"""Fewer positions have no second derivative."""


@dataclass(frozen=True, slots=True)
class KinematicSamples:
    """Samples of one or more vehicles, each [N].

    Attributes:
        acceleration: m/s²; longitudinal and signed (corrected), or length of the vector (as published).
        speed: m/s.
        yaw_rate: rad/s, signed.
    """

    acceleration: Floats
    speed: Floats
    yaw_rate: Floats


@dataclass(frozen=True, slots=True)
class WassersteinDistances:
    """First Wasserstein distances, in the unit of each quantity; NaN where a side has no sample."""

    acceleration: float
    speed: float
    yaw_rate: float


@dataclass(frozen=True, slots=True)
class WassersteinIntervals:
    """The same with percentile intervals over scenes (resampled distances are biased upwards, so `low` can exceed)."""

    acceleration: Interval
    speed: Interval
    yaw_rate: Interval


def kinematic_samples(
    states: Floats, valid: Bools, dt: float = 0.1, reading: Reading = "corrected"
) -> KinematicSamples:
    """Samples of one vehicle.

    `corrected`: speed and signed longitudinal acceleration by central differences on every run of valid steps, yaw rate
    from the states' own headings. (Backward differences, as in equation 12, would compare the noise of logged positions
    with smooth plans: centimetres of it are m/s².)

    `as-published` (`sage/metrics.py`): the same differences of positions, but the acceleration is the length of the
    vector (so it includes lateral acceleration and has no sign), headings come from the path
    (`profiles.path_headings`), and invalid steps are dropped before differencing, which joins the two ends of a gap.

    Args:
        states: [T, ≥3] x, y, heading (m, rad).
        valid: [T]; set it to False wherever motion must not count (history).
        dt: s.
        reading: See above.
    """
    if reading == "corrected":
        found = profile(states, valid, dt, differences="gradient")
        return KinematicSamples(
            found.acceleration[found.acceleration_valid],
            found.speed[found.speed_valid],
            found.yaw_rate[found.yaw_rate_valid],
        )
    if reading != "as-published":
        raise ConfigError(f"reading: expected 'corrected' or 'as-published', got {reading!r}.")
    path = np.asarray(states, dtype=np.float64)[np.asarray(valid, dtype=bool), :2]
    if len(path) < MIN_POINTS:
        return KinematicSamples(*(np.zeros(0) for _ in range(3)))
    velocity = np.gradient(path, dt, axis=0, edge_order=2)
    acceleration = np.gradient(velocity, dt, axis=0, edge_order=2)
    headings = np.unwrap(path_headings(path, np.ones(len(path), dtype=bool)))
    return KinematicSamples(np.hypot(*acceleration.T), np.hypot(*velocity.T), np.gradient(headings, dt, edge_order=2))


def pool(samples: Sequence[KinematicSamples]) -> KinematicSamples:
    """All samples together."""

    def join(parts: list[Floats]) -> Floats:
        return np.concatenate(parts) if parts else np.zeros(0)

    return KinematicSamples(
        join([s.acceleration for s in samples]),
        join([s.speed for s in samples]),
        join([s.yaw_rate for s in samples]),
    )


def wasserstein(generated: KinematicSamples, logged: KinematicSamples) -> WassersteinDistances:
    """Distances between two pools of samples."""
    return WassersteinDistances(
        _distance(generated.acceleration, logged.acceleration),
        _distance(generated.speed, logged.speed),
        _distance(generated.yaw_rate, logged.yaw_rate),
    )


def wasserstein_over_scenes(
    generated: Sequence[KinematicSamples],
    logged: Sequence[KinematicSamples],
    seed: int = 0,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
) -> WassersteinIntervals:
    """Distances of the pooled samples, with intervals from resampling scenes (both sides of a scene together).

    Args:
        generated, logged: Per scene, in the same order.
        seed: Seed of the resampling.
        confidence: Probability mass of the intervals, 0 … 1.
        resamples: Number of resamples.

    Raises:
        ConfigError: The two sides have different numbers of scenes.
    """
    if len(generated) != len(logged):
        raise ConfigError(f"expected as many generated as logged scenes, got {len(generated)} and {len(logged)}.")
    exact = wasserstein(pool(generated), pool(logged))
    draws = np.full((0, 3), np.nan)
    if generated:
        ordered = [
            _Ordered.of([getattr(part, name) for part in generated], [getattr(part, name) for part in logged])
            for name in KinematicSamples.__slots__
        ]

        def distances(picks: Picks) -> Floats:
            counts = [np.bincount(row, minlength=len(generated)) for row in picks]
            return np.array([[side.distance(count) for side in ordered] for count in counts])

        draws = resampled(distances, [len(generated)], seed, resamples=resamples)
    ends = [
        percentile_interval(value, drawn, confidence=confidence)
        for value, drawn in zip(astuple(exact), draws.T, strict=True)
    ]
    return WassersteinIntervals(*ends)


@dataclass(frozen=True, slots=True)
class _Ordered:
    """Samples of both sides, sorted once, so that a resample of scenes only weighs them anew. N = samples, S = scenes.

    Attributes:
        codes: Scene and side of each sample, in the order of their values [N]: 0 … S - 1 generated, then logged.
        gaps: From each value to the next [N - 1].
        generated, logged: Number of samples per scene [S].
    """

    codes: NDArray[np.int32]
    gaps: Floats
    generated: NDArray[np.int64]
    logged: NDArray[np.int64]

    @classmethod
    def of(cls, generated: Sequence[Floats], logged: Sequence[Floats]) -> _Ordered:
        sizes = np.array([len(part) for part in (*generated, *logged)], dtype=np.int64)
        values = np.concatenate([*generated, *logged])
        order = np.argsort(values)
        codes = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)[order]
        return cls(codes, np.diff(values[order]), sizes[: len(generated)], sizes[len(generated) :])

    def distance(self, counts: NDArray[np.int64]) -> float:
        """The distance where scene s is there `counts[s]` times; NaN where a side has no sample."""
        ours, theirs = int(counts @ self.generated), int(counts @ self.logged)
        if not ours or not theirs:
            return float("nan")
        # The difference of both distribution functions times both totals: whole numbers, so nothing is rounded.
        weights = np.concatenate([counts * theirs, counts * -ours])
        apart = np.abs(np.cumsum(weights[self.codes[:-1]]))
        return float(apart.astype(np.float64) @ self.gaps) / (ours * theirs)


def _distance(a: Floats, b: Floats) -> float:
    return float(wasserstein_distance(a, b)) if len(a) and len(b) else float("nan")
