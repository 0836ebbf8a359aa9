"""The compiled search for contacts gives what the plain functions give, digit by digit."""

import numpy as np
import pytest

from harness.metrics import meeting
from harness.metrics.collision import closest_approach, first_overlap
from harness.metrics.meeting import meet
from tests.unit.adversaries.fakes import line

START = 11
CAR, TRUCK = (4.5, 2.0), (12.0, 2.6)


def plainly(states, valid, size, ego, ego_valid, ego_size, start):
    pair = states[:, None], valid, size, ego[None], ego_valid[None], ego_size
    return first_overlap(*pair, start), closest_approach(states[:, None], valid, ego[None], ego_valid[None], start)


def check(states, valid, size, ego, ego_valid, ego_size, start=START):
    found = meet(states, valid, size, ego, ego_valid, ego_size, start)
    first, nearest = plainly(states, valid, size, ego, ego_valid, ego_size, start)
    np.testing.assert_array_equal(found.first, first)
    np.testing.assert_array_equal(found.nearest, nearest)
    return found


def test_contacts_that_can_be_worked_out_by_hand():
    ego = line(0, 0, 0, 10)[None]
    here, never = np.ones((1, 91), bool), np.zeros((1, 91), bool)
    others = [
        line(60, 0, 0, 0),  # parked ahead: 10 t = 55.5
        line(60, 2.0, 0, 0),  # its side touches the ego's, which counts: as soon
        line(60, 2.0 + 1e-6, 0, 0),  # a micrometre aside: never
        line(-30, 0, 0, 10),  # follows at the same speed
        line(0, 0, 0, 10),  # the same place all the time
        line(40, 40, -np.pi / 2, 10),  # crosses from the left: 40 - 10 t = 3.25
    ]
    states = np.stack(others)
    found = check(states, np.ones(91, bool), CAR, ego, here, CAR)
    assert found.first[:, 0].tolist() == [56, 56, -1, -1, 11, 37]
    np.testing.assert_allclose(found.nearest[[0, 3, 4], 0], [0, 30, 0], atol=1e-9)
    gone = check(states, np.ones(91, bool), CAR, ego, never, CAR)
    assert (gone.first == -1).all()
    assert np.isinf(gone.nearest).all()
    late = check(states, np.arange(91) > 60, CAR, ego, here, CAR)
    assert late.first[0, 0] == 61
    assert (check(states, np.ones(91, bool), CAR, ego, here, CAR, start=91).first == -1).all()


def test_what_rounding_could_turn_is_left_to_the_plain_functions(monkeypatch):
    asked = []
    for name in ("first_overlap", "closest_approach"):
        plain = getattr(meeting, name)
        monkeypatch.setattr(meeting, name, lambda *a, name=name, plain=plain: asked.append(name) or plain(*a))
    ego, here = line(0, 0, 0.3, 10)[None], np.ones((1, 91), bool)
    # Sides that lie in line: the gap is zero but for rounding. Passing at 10 m/s each, equally near at two steps.
    aside = ego[0, :, :2] + 2.0 * np.array([-np.sin(0.3), np.cos(0.3)])
    touching = np.concatenate([aside, ego[0, :, 2:]], -1)
    passing = line(2 * 4.05 * 10 * np.cos(0.3), 2 * 4.05 * 10 * np.sin(0.3) + 9, 0.3 + np.pi, 10)
    passing[:, :2] += 9 * np.array([-np.sin(0.3), np.cos(0.3)]) - np.array([0, 9])
    check(np.stack([touching, passing]), np.ones(91, bool), CAR, ego, here, CAR)
    assert set(asked) == {"first_overlap", "closest_approach"}


@pytest.mark.parametrize("seed", range(4))
def test_random_traffic_gives_the_same_digits(seed):
    rng = np.random.default_rng(seed)

    def drives(count, spread, origin):
        states = np.zeros((count, 91, 5))
        heading = np.cumsum(rng.normal(0, 0.05, (count, 91)), 1) + rng.uniform(-4, 4, (count, 1))
        pace = rng.uniform(0, 0.8, (count, 1)) * (rng.random((count, 1)) > 0.2)  # every fifth stands
        step = pace[..., None] * np.stack([np.cos(heading), np.sin(heading)], -1)
        states[..., :2] = np.cumsum(step, 1) + rng.uniform(-spread, spread, (count, 1, 2)) + origin
        states[..., 2] = heading
        return states

    origin = np.array([81234.5, -43210.9]) * (seed % 2)
    states, ego = drives(32, 8, origin), drives(5, 8, origin)
    ego[1] = states[3]  # inside one another
    ego_valid = rng.random((5, 91)) > 0.1
    ego_valid[2, 30:] = ego_valid[4] = False
    ego[~ego_valid] = 0.0
    valid = np.arange(91) < 85
    found = check(states, valid, (CAR, TRUCK)[seed % 2], ego, ego_valid, (CAR, TRUCK)[seed // 2])
    assert 15 < (found.first >= 0).sum() < 120
    assert (found.first[:, 4] == -1).all()
    check(np.asfortranarray(states), valid, CAR, ego, ego_valid, CAR)
    states.setflags(write=False)
    check(states[::2], valid, CAR, ego, ego_valid, TRUCK)
