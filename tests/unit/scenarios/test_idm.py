"""The intelligent driver model by hand."""

import numpy as np
import pytest

from scenarios.idm import acceleration, desired_gap, improved_acceleration


def test_the_wanted_gap_by_hand():
    # 2 + 1.5 · 10 + 10 · (10 − 4) / (2 √(2 · 3)) m, and no less than the gap at rest.
    driver = {"headway": 1.5, "standstill": 2.0, "top": 2.0, "braking": 3.0}
    assert desired_gap(10.0, 4.0, **driver) == pytest.approx(17.0 + 60.0 / (2 * np.sqrt(6.0)))
    assert desired_gap(10.0, 40.0, **driver) == 2.0
    assert desired_gap(np.array([0.0, 10.0]), 10.0, **driver).tolist() == [2.0, 17.0]


def test_the_acceleration_by_hand():
    assert acceleration(0.0, np.inf, 2.0, 10.0, top=1.5) == 1.5
    assert acceleration(10.0, np.inf, 2.0, 10.0, top=1.5) == 0.0
    assert acceleration(5.0, 4.0, 2.0, 10.0, top=2.0) == pytest.approx(2.0 * (1 - 0.5**4 - 0.25))
    assert acceleration(5.0, 4.0, 2.0, np.inf, top=2.0) == pytest.approx(1.5)
    assert acceleration(5.0, np.inf, 2.0, 10.0, top=2.0, exponent=1.0) == pytest.approx(1.0)


def test_the_improved_model_keeps_its_gap_and_brakes_gently_for_a_limit():
    speed, wish = np.array([8.0, 10.0, 20.0, 0.0]), np.array([10.0, 10.0, 10.0, 10.0])
    two = np.full(4, 2.0)
    free = improved_acceleration(speed, np.zeros(4), wish, top=two, braking=two)
    assert free == pytest.approx([2 * (1 - 0.8**4), 0.0, -2 * (1 - 0.5**4), 2.0])
    # At the wanted gap the acceleration is nought, and beyond it the driver brakes.
    at_gap = improved_acceleration(speed[:2], np.ones(2), wish[:2], top=two[:2], braking=two[:2])
    assert at_gap == pytest.approx([0.0, 0.0])
    assert (improved_acceleration(speed[:2], np.full(2, 2.0), wish[:2], top=two[:2], braking=two[:2]) == -6.0).all()
