"""Other speeds along a candidate's path, by hand, and what `cat` and `sage` make of them."""

from dataclasses import replace

import numpy as np
import pytest

from adversaries.cat import CatAdversary
from adversaries.common.candidates import Drawn, with_profiles
from adversaries.common.speed_profiles import LIMITS
from adversaries.sage.adversary import SageAdversary
from adversaries.sage.experts import Experts
from harness.checks import check_adversary
from harness.errors import ConfigError
from harness.interfaces import HEADING, VX
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.fakes import FixedPrior, context, line
from tests.unit.adversaries.sage.toys import small_network, small_prior

STEADY = line(20, 3.5, 0, 10)
LATER = np.arange(91) > 10


def drawn(*states: np.ndarray) -> Drawn:
    log_prob = -np.arange(1.0, len(states) + 1)
    return Drawn(states=np.stack(states), valid=LATER, log_prob=log_prob, size=(4.5, 2.0))


def experts() -> Experts:
    return Experts(small_prior(0), small_network(1), small_network(2), {})


def test_a_profile_is_ahead_or_behind_on_the_same_path_to_the_same_goal() -> None:
    found = with_profiles(context(straight_road()), drawn(STEADY), 3)
    own, ahead, behind = found.states
    np.testing.assert_array_equal(own, STEADY)
    np.testing.assert_allclose(found.states[:, LATER, 1], 3.5)
    np.testing.assert_allclose(found.states[:, 90, 0], 110.0)
    # After 4 of 8 s the clock is 27/4 · 1/4 · 1/2 = 0.84375 s ahead, at 1 + 1/8 · 27/4 · 1/2 · 1/2 times its rate.
    assert ahead[50, 0] == pytest.approx(70 + 8.4375)
    # Staying behind by as much would ask for 4.2 m/s² at the end: three quarters of it keep below 4.
    assert behind[50, 0] == pytest.approx(70 - 0.75 * 8.4375)
    assert ahead[50, VX] == pytest.approx(10 * 1.2109375)
    # At the end it runs at 1 - 27/32 of its rate; no earlier state is touched.
    assert ahead[90, VX] == pytest.approx(10 * 0.15625)
    np.testing.assert_array_equal(found.states[:, :11], np.stack([STEADY[:11]] * 3))
    assert found.log_prob.tolist() == [-1.0, -1.0, -1.0]


def test_more_profiles_lie_between() -> None:
    found = with_profiles(context(straight_road()), drawn(STEADY), 5)
    ahead = found.states[:, 50, 0] - 70
    np.testing.assert_allclose(ahead, [0, 8.4375, -6.328125, 4.21875, -4.21875])


def test_profiles_keep_the_limits_and_what_stands_has_none() -> None:
    # At 20 m/s the clock's end asks for 8.4 m/s² of braking: half of the shift stays below 6.
    scene = straight_road(opponent_speed=20)
    found = with_profiles(context(scene), drawn(line(20, 3.5, 0, 20)), 3).states
    speed = np.hypot(found[:, 10:, VX], found[:, 10:, VX + 1])
    gas = np.diff(speed, axis=-1) / 0.1
    assert gas.max() <= LIMITS.max_acceleration
    assert -gas.min() <= LIMITS.max_braking
    assert found[1, 50, 0] - found[0, 50, 0] == pytest.approx(0.5 * 20 * 0.84375)
    still = straight_road(opponent_speed=0)
    assert len(with_profiles(context(still), drawn(line(20, 3.5, 0, 0)), 3).states) == 1


def test_headings_turn_the_shorter_way() -> None:
    scene = straight_road(opponent_speed=5, rotation=np.pi - 0.2)
    turning = scene.states(1).copy()
    turning[11:, HEADING] += 0.005 * np.arange(1, 81)
    turning[:, HEADING] = (turning[:, HEADING] + np.pi) % (2 * np.pi) - np.pi
    found = with_profiles(context(scene), drawn(turning), 3).states
    assert len(found) == 3
    for states in found:
        np.testing.assert_array_less(np.abs(np.abs(states[12:, HEADING]) - np.pi), 0.21)


def test_cat_hits_with_a_profile_where_its_goals_alone_do_not() -> None:
    # The ego is at x = 50 m in step 50. The opponent crosses its way there a second earlier, at step 40: no contact.
    crosses = line(50, -40, np.pi / 2, 10)
    scene = straight_road()
    position, heading, velocity = scene.position.copy(), scene.heading.copy(), scene.velocity.copy()
    position[1, :, :2], heading[1], velocity[1] = crosses[:, :2], np.pi / 2, crosses[:, 3:]
    scene = replace(scene, position=position, heading=heading, velocity=velocity)
    one, three = (CatAdversary(FixedPrior(crosses[None], [0.0]), profiles=n).plan(context(scene)) for n in (1, 3))
    assert not one.info["expects_contact"]
    # The profile that stays behind crosses in step 48.
    assert three.info["expects_contact"]
    assert three.chosen == 2


def test_published_ranks_count_goals() -> None:
    far = [line(20, 40 + 5 * k, 0, 10) for k in range(8)]
    log_prob = -np.arange(8.0)
    for profiles in (1, 3):
        prior = FixedPrior(np.stack(far), log_prob)
        plan = CatAdversary(prior, protocol="as-published", profiles=profiles).plan(context(straight_road()))
        probability = plan.scores["probability"].reshape(profiles, 8)
        np.testing.assert_allclose(probability[:, 7], probability[:, 6])
        np.testing.assert_allclose(probability[:, 5] / probability[:, 6], np.e)
        np.testing.assert_allclose(probability.sum(), 1.0)


MAKERS = [
    lambda number: CatAdversary(small_prior(), profiles=number),
    lambda number: SageAdversary(experts(), profiles=number),
]


@pytest.mark.parametrize("make", MAKERS, ids=["cat", "sage"])
def test_the_contract_is_kept_and_own_speeds_come_first(make) -> None:
    scenes = [straight_road(), crossing(origin=(7000.0, -12000.0), rotation=0.7)]
    check_adversary(make(3), scenes)
    one, three = (make(n).plan(context(crossing())) for n in (1, 3))
    count = len(one.candidates)
    np.testing.assert_array_equal(three.candidates[:count], one.candidates)
    assert count < len(three.candidates) <= 3 * count
    for wrong in (0, 2, 11):
        with pytest.raises(ConfigError, match="odd number"):
            make(wrong)
