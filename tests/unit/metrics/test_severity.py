"""How bad contacts are, worked out by hand."""

import numpy as np
import pytest

from harness.metrics.severity import HEAVIEST, MPH, NHTSA_2022, PERSON, mass_of, severity, side_struck
from scenarios.scenario import Kind

CAR = (4.5, 2.0)


def test_masses_go_by_length_and_kind() -> None:
    assert [mass_of(Kind.VEHICLE, length) for length in (2.2, 4.1, 4.5, 5.6, 12.0)] == [300, 1150, 1550, 2100, HEAVIEST]
    assert mass_of(Kind.PEDESTRIAN, 0.5) == PERSON
    assert mass_of(Kind.CYCLIST, 1.8) > PERSON


@pytest.mark.parametrize(
    ("pose", "side"),
    [
        ((4.0, 0.0, 0.0), "front"),
        ((4.0, 0.5, np.pi), "front"),
        ((-4.0, 0.5, 0.0), "rear"),
        ((0.0, 3.0, np.pi / 2), "left"),
        ((-1.0, -3.0, -np.pi / 2), "right"),
        ((4.7, 0.0, 0.0), "front"),
        ((0.0, -2.3, 0.0), "right"),
    ],
)
@pytest.mark.parametrize("turn", [0.0, 2.0])
def test_the_side_that_is_struck_turns_with_the_car(pose: tuple[float, float, float], side: str, turn: float) -> None:
    # The last two do not touch yet: the nearest side counts.
    place = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ pose[:2]
    own = np.array([100.0, -50.0, turn])
    other = np.array([*(own[:2] + place), pose[2] + turn])
    assert side_struck(own, CAR, other, CAR) == side


def test_the_lighter_of_two_changes_its_velocity_more() -> None:
    # 1,000 kg and 3,000 kg at 12 m/s: both go on together, so 9 and 3 m/s.
    assert severity(12.0, 1000.0, 3000.0, "front").delta_v == pytest.approx(9.0)
    assert severity(12.0, 3000.0, 1000.0, "front").delta_v == pytest.approx(3.0)
    assert severity(10.0, 1500.0, PERSON, "front").delta_v < 0.6


def test_injuries_are_those_of_the_published_curve() -> None:
    # Frontal, 30 mph: -6.9774 + 0.1620 * 30 = -2.1174, and 1 / (1 + e^2.1174) = 0.1074.
    found = severity(60 * MPH, 1500.0, 1500.0, "front")
    assert found.injury == pytest.approx(0.1074, abs=1e-4)
    # Rear end, 30 mph: -8.0329 + 0.1793 * 30 = -2.6539, 0.0658; all crashes: -6.9540 + 0.1637 * 30 = -2.043, 0.1148.
    assert severity(60 * MPH, 1500.0, 1500.0, "rear").injury == pytest.approx(0.0658, abs=1e-4)
    for side in ("left", "right"):
        assert severity(60 * MPH, 1500.0, 1500.0, side).injury == pytest.approx(0.1148, abs=1e-4)  # type: ignore[arg-type]
    assert NHTSA_2022.probability(1e6, "any") == NHTSA_2022.probability(NHTSA_2022.highest, "any") < 0.99
    assert severity(0.3, 1500.0, 1500.0, "front").injury < 0.01 * severity(30.0, 1500.0, 1500.0, "front").injury
