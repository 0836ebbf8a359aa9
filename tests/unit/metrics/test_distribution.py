"""Wasserstein distances of motions whose samples are known."""

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.metrics.distribution import (
    KinematicSamples,
    kinematic_samples,
    pool,
    wasserstein,
    wasserstein_over_scenes,
)
from harness.metrics.intervals import percentile_interval

ALL = np.ones(81, dtype=bool)


def line(speed: float, acceleration: float = 0.0) -> np.ndarray:
    clock = np.arange(81) * 0.1
    along = speed * clock + acceleration * clock**2 / 2
    return np.column_stack([along, np.zeros(81), np.zeros(81)])


def circle(speed: float, radius: float) -> np.ndarray:
    angle = speed / radius * np.arange(81) * 0.1
    return np.column_stack([radius * np.sin(angle), -radius * np.cos(angle), angle])


@pytest.mark.parametrize("reading", ["corrected", "as-published"])
def test_constant_shift_of_speed(reading: str) -> None:
    slow, fast = (kinematic_samples(line(v), ALL, 0.1, reading) for v in (10.0, 13.0))
    found = wasserstein(fast, slow)
    assert found.speed == pytest.approx(3.0)
    assert found.acceleration == pytest.approx(0.0, abs=1e-9)
    assert found.yaw_rate == pytest.approx(0.0, abs=1e-9)


def test_readings_differ_on_braking_and_on_bends() -> None:
    still, brake = line(20.0), line(20.0, -2.0)
    corrected = wasserstein(kinematic_samples(brake, ALL), kinematic_samples(line(20.0, 2.0), ALL))
    published = wasserstein(*(kinematic_samples(s, ALL, 0.1, "as-published") for s in (brake, line(20.0, 2.0))))
    assert corrected.acceleration == pytest.approx(4.0)  # signed
    assert published.acceleration == pytest.approx(0.0, abs=1e-6)  # lengths
    bend = circle(10.0, 50.0)  # lateral 2 m/s², yaw rate 0.2 rad/s
    assert wasserstein(kinematic_samples(bend, ALL), kinematic_samples(still, ALL)).acceleration < 0.01
    published = wasserstein(*(kinematic_samples(s, ALL, 0.1, "as-published") for s in (bend, line(10.0))))
    assert published.acceleration == pytest.approx(2.0, abs=0.02)
    assert published.yaw_rate == pytest.approx(0.2, abs=0.02)


def test_noise_of_logged_positions_hardly_counts() -> None:
    # 2 cm of noise: backward differences would show accelerations of 2 cm · sqrt(6) / (0.1 s)² = 4.9 m/s².
    noisy = line(10.0)
    noisy[:, :2] += np.random.default_rng(0).normal(0, 0.02, (81, 2))
    found = kinematic_samples(noisy, ALL)
    assert found.acceleration.std() < 2.0
    assert found.speed.std() < 0.2


def test_samples_are_pooled_over_scenes_before_comparing() -> None:
    # Each scene is far off its own log, but the pools are equal.
    fast, slow = (kinematic_samples(line(v), ALL) for v in (20.0, 10.0))
    assert wasserstein(pool([fast, slow]), pool([slow, fast])).speed == 0.0
    found = wasserstein_over_scenes([fast, slow], [slow, fast], seed=1, resamples=50)
    assert found.speed.mean == 0.0
    assert found.speed.high == pytest.approx(10.0)


def test_resampled_distances_are_those_of_the_pooled_samples() -> None:
    rng = np.random.default_rng(3)

    def scenes() -> list[KinematicSamples]:
        # Ties, scenes of different lengths, and one without a sample.
        sizes = (0, 1, 40, 7)
        return [KinematicSamples(*(np.round(rng.normal(0, 2, (3, size)), 1))) for size in sizes]

    ours, theirs = scenes(), scenes()
    picks = np.random.default_rng(5).integers(4, size=(30, 4))
    one_by_one = [wasserstein(pool([ours[i] for i in row]), pool([theirs[i] for i in row])) for row in picks]
    found = wasserstein_over_scenes(ours, theirs, seed=5, resamples=30)
    for name in KinematicSamples.__slots__:
        drawn = np.array([getattr(item, name) for item in one_by_one])
        value = getattr(wasserstein(pool(ours), pool(theirs)), name)
        assert getattr(found, name) == pytest.approx(percentile_interval(value, drawn), rel=1e-12)


def test_invalid_steps_and_empty_sides() -> None:
    broken, valid = line(10.0), ALL.copy()
    valid[:11] = False
    broken[:11] = np.nan
    assert kinematic_samples(broken, valid).speed == pytest.approx(np.full(70, 10.0))
    nothing = kinematic_samples(broken, np.zeros(81, dtype=bool))
    assert np.isnan(wasserstein(nothing, kinematic_samples(line(1.0), ALL)).speed)
    assert np.isnan(wasserstein_over_scenes([], [], resamples=5).speed.mean)
    with pytest.raises(ConfigError):
        kinematic_samples(broken, valid, 0.1, "else")
