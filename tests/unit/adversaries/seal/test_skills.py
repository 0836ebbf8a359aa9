"""Observations, controls, and sequences cut out of tracks."""

import numpy as np
import pytest

from adversaries.seal.networks import SKILL_STEPS
from adversaries.seal.skills import MAX_CURVATURE, MAX_PUSH, adversarial, controls, cut, mirrored, observe, recorded
from tests.scenes import Agent, straight_road
from tests.unit.adversaries.fakes import line
from tests.unit.adversaries.seal.toys import rollouts


def circle(speed=10.0, curvature=0.05, push=0.0, steps=40):
    """A drive with constant acceleration and curvature."""
    time = 0.1 * np.arange(steps)
    pace = speed + push * time
    way = speed * time + push * time**2 / 2
    heading = curvature * way
    states = np.zeros((steps, 5))
    states[:, 0], states[:, 1] = np.sin(heading) / curvature, (1 - np.cos(heading)) / curvature
    states[:, 2], states[:, 3], states[:, 4] = heading, pace * np.cos(heading), pace * np.sin(heading)
    return states


def test_controls_of_a_known_drive() -> None:
    push, curvature = controls(circle(push=1.5, curvature=-0.04), 0.1)
    np.testing.assert_allclose(push, 1.5, atol=1e-9)
    np.testing.assert_allclose(curvature[2:-2], -0.04, atol=1e-4)


def test_observation_by_hand() -> None:
    own = np.array([10.0, 5.0, np.pi / 2, 0.0, 15.0])
    other = np.array([4.0, 5.0, np.pi, -3.0, 0.0])
    seen = observe(own, other, np.array(-4.0), np.array(0.1))
    # 6 m to the left, facing left; relative to us it moves 15 m/s back and 3 m/s to the left.
    np.testing.assert_allclose(seen, [1.0, -0.5, 0.5, 0.0, 0.2, 0.0, 1.0, -1.5, 0.3], atol=1e-6)


def test_actions_follow_what_was_seen() -> None:
    track = circle(push=2.0)
    found = cut(track, line(0.0, 9.0, 0.0, 5.0, 40), [5, 20], 0.1)
    assert found.seen.shape == (2, SKILL_STEPS, 9)
    np.testing.assert_allclose(found.actions[..., 0], 2.0 / MAX_PUSH, atol=1e-6)
    np.testing.assert_allclose(found.actions[0, :, 1], 0.05 / MAX_CURVATURE, atol=2e-3)
    np.testing.assert_allclose(found.seen[0, :, 0] * 15.0, 10.0 + 0.2 * np.arange(5, 15), atol=1e-5)


def test_the_mirror_is_what_a_mirrored_drive_would_give() -> None:
    track, other = circle(push=1.0), line(10.0, 9.0, 0.3, 5.0, 40)
    flip = np.array([1.0, -1.0, -1.0, 1.0, -1.0])
    found, expected = cut(track * flip, other * flip, [3, 9], 0.1), mirrored(cut(track, other, [3, 9], 0.1))
    np.testing.assert_allclose(found.seen, expected.seen, atol=1e-5)
    np.testing.assert_allclose(found.actions, expected.actions, atol=1e-5)


def test_everyone_who_drives_is_a_teacher() -> None:
    parked = Agent("parked", 100.0, 3.5, 0.0, 0.0)
    late = Agent("late", 50.0, 0.0, 0.0, 8.0, first=60)
    found = recorded(straight_road(extra=[parked, late]))
    starts = len(range(1, 91 - SKILL_STEPS - 1, 5))
    late_starts = len([start for start in range(1, 91 - SKILL_STEPS - 1, 5) if start >= 61])
    assert len(found.seen) == 2 * starts + late_starts
    np.testing.assert_allclose(found.actions, 0.0, atol=1e-6)


def test_only_the_lead_up_to_a_contact_is_adversarial() -> None:
    record = rollouts(contact=[40, -1])
    found = adversarial(record)
    assert len(found.seen) == 9
    # The first sequence begins one step into the last 20 before the contact.
    assert found.seen[0, 0, 3] * 30.0 == pytest.approx(record.induced[0, 21, 0] - record.opponent[0, 21, 0], abs=1e-4)
    assert len(adversarial(rollouts(contact=[-1, -1])).seen) == 0
