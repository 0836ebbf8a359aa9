"""Choice among given futures, by hand."""

import numpy as np
import pytest

from adversaries.cat import CatAdversary
from harness.errors import AdversaryError, ConfigError, UnknownNameError
from harness.interfaces import Trajectory
from tests.scenes import straight_road
from tests.unit.adversaries.fakes import FixedPrior, context, line, log_of

# The ego drives along y = 0 at 10 m/s from x = 0; cars are 4.5 m by 2 m; the opponent starts 20 m ahead, 3.5 m left.
FAR = line(20, 40, 0, 10)
NEAR_MISS = line(20, 3.5, 0, 10)
SLOW = line(60, 0, 0, 0)  # parked on the ego's lane: contact when 10 t = 55.5, step 56
SOON = line(30, 0, 0, 0)  # contact when 10 t = 25.5, step 26


def attack(futures: list[np.ndarray], log_prob: list[float], egos: list[Trajectory] | None = None, **options: object):
    scene = straight_road()
    prior = FixedPrior(np.stack(futures), log_prob)
    return CatAdversary(prior, **options).plan(context(scene, egos or ()))


def test_the_colliding_future_beats_likelier_ones() -> None:
    plan = attack([FAR, NEAR_MISS, SLOW], [0.0, -0.1, -3.0])
    assert plan.chosen == 2
    assert plan.info["expects_contact"]
    assert plan.info["expected_step"] == 56
    weights = np.exp([0.0, -0.1, -3.0])
    expected = weights[2] / weights.sum() * 0.99 ** (56 - 10)
    np.testing.assert_allclose(plan.scores["score"], [0, 0, expected])


def test_sooner_wins_between_equals_and_likelier_wins_over_sooner() -> None:
    assert attack([SLOW, SOON], [-1.0, -1.0]).info["expected_step"] == 26
    # 30 steps later costs 0.99^30 = 0.74: a probability above 1 / 0.74 times as high wins.
    assert attack([SLOW, SOON], [np.log(1.36), 0.0]).info["expected_step"] == 56
    assert attack([SLOW, SOON], [np.log(1.34), 0.0]).info["expected_step"] == 26


def test_without_contact_the_closest_is_chosen() -> None:
    plan = attack([FAR, NEAR_MISS], [0.0, -5.0])
    assert plan.chosen == 1
    assert not plan.info["expects_contact"]
    assert plan.info["expected_step"] == -1
    np.testing.assert_allclose(plan.scores["distance"][1], np.hypot(20, 3.5))


def test_every_ego_trajectory_counts() -> None:
    # Newest ego stands still at x = 2 m; two older ones drive on. The parked opponent at 30 m meets only those.
    scene = straight_road()
    standing = Trajectory(line(2, 0, 0, 0), np.ones(91, bool))
    driving = log_of(scene, scene.ego)
    rear_end = line(-30, 0, 0, 4)  # meets the standing one when 4 t = 27.5, step 69
    # At equal probability two early contacts beat one late contact.
    plan = attack([SOON, rear_end], [0.0, 0.0], [driving, driving, standing])
    assert plan.scores["first_step"].tolist() == [26, 69]
    np.testing.assert_allclose(plan.scores["overlap"], [2 / 3 * 0.99**16, 1 / 3 * 0.99**59])
    assert plan.scores["score"].argmax() == 0
    # Against the standing ego alone the other one wins.
    plan = attack([SOON, rear_end], [0.0, 0.0], [standing])
    assert plan.info["expected_step"] == 69


def test_ragged_and_short_ego_trajectories() -> None:
    scene = straight_road()
    until_30, too_short = log_of(scene, 0, until=30), log_of(scene, 0, until=15)
    clipped = Trajectory(until_30.states[:31], until_30.valid[:31])
    plan = attack([SLOW, SOON], [3.0, 0.0], [clipped])
    assert plan.info["expected_step"] == 26  # the other contact, at step 56, lies beyond the end of what the ego drove
    # 5 future steps say nothing: the log stands in, and the likelier contact at step 56 is back.
    assert attack([SLOW, SOON], [3.0, 0.0], [too_short]).info["expected_step"] == 56


def test_plan_rows_are_absolute_steps() -> None:
    scene = straight_road()
    plan = attack([SLOW], [0.0])
    np.testing.assert_array_equal(plan.states[:11], scene.states(1)[:11])
    np.testing.assert_array_equal(plan.states[11:], SLOW[11:])
    assert plan.valid.all()
    assert plan.candidates.shape == (1, 91, 5)


def test_a_late_opponent_stays_invalid_until_it_appears() -> None:
    scene = straight_road(opponent_from=6)
    prior = FixedPrior(np.stack([SLOW]), [0.0])
    for protocol in ("corrected", "as-published"):
        plan = CatAdversary(prior, protocol=protocol).plan(context(scene))
        assert not plan.valid[:6].any()
        assert plan.valid[6:].all()
        assert (plan.states[:6] == 0).all()
        assert plan.states[6:, 0].min() > 20


def test_long_scenes_end_with_the_horizon() -> None:
    scene = straight_road(steps=200)
    plan = CatAdversary(FixedPrior(line(60, 0, 0, 0, 200)[None], [0.0])).plan(context(scene))
    assert plan.valid[:91].all()
    assert not plan.valid[91:].any()


def test_published_clamp_hides_the_ranks_after_the_seventh() -> None:
    futures = [FAR] * 6 + [SLOW, SOON]
    log_prob = [0.0] * 6 + [-1.0, -9.0]
    assert attack(futures, log_prob).info["expected_step"] == 56
    plan = attack(futures, log_prob, protocol="as-published")
    np.testing.assert_allclose(plan.scores["probability"][6], plan.scores["probability"][7])
    assert plan.chosen == 7


def test_published_factor_counts_samples() -> None:
    # Half a metre aside: sides that lie exactly in line never cross strictly, so the published check misses those.
    plan = attack([line(30, 0.5, 0, 0)], [0.0], protocol="as-published")
    # Samples at 11, 16, 21, 26: the fourth meets.
    assert plan.scores["first_step"][0] == 26
    assert plan.scores["overlap"][0] == pytest.approx(0.99**4)


def test_published_motion_comes_from_positions() -> None:
    plan = attack([NEAR_MISS], [0.0], protocol="as-published")
    np.testing.assert_allclose(plan.states[:-1, 3], 10.0)
    assert plan.states[-1, 3] == 0.0


def test_candidates_are_sorted_by_probability() -> None:
    plan = attack([FAR, SLOW], [-2.0, -1.0])
    assert plan.scores["log_prob"].tolist() == [-1.0, -2.0]
    assert plan.chosen == 0
    np.testing.assert_array_equal(plan.candidates[0, 11:], SLOW[11:])


def test_scenes_that_cannot_be_attacked_say_why() -> None:
    scene = straight_road()
    adversary = CatAdversary(FixedPrior(np.stack([FAR]), [0.0]))
    with pytest.raises(AdversaryError, match="opponent"):
        adversary.plan(context(scene, opponent=scene.ego))
    with pytest.raises(AdversaryError, match="opponent"):
        adversary.plan(context(scene, opponent=7))
    with pytest.raises(AdversaryError, match="too short"):
        adversary.plan(context(scene, step=90))
    with pytest.raises(AdversaryError, match="never seen"):
        adversary.plan(context(straight_road(opponent_from=20)))
    with pytest.raises(AdversaryError, match="not finite"):
        CatAdversary(FixedPrior(np.full((1, 91, 5), np.nan), [0.0])).plan(context(scene))
    with pytest.raises(AdversaryError, match="0 candidates"):
        CatAdversary(FixedPrior(np.zeros((0, 91, 5)), [])).plan(context(scene))


@pytest.mark.parametrize(
    "options", [{"candidates": 0}, {"penalty": 0.0}, {"penalty": 1.5}, {"cache_scenes": 0}, {"decode": "x"}]
)
def test_options_that_cannot_work_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        CatAdversary(FixedPrior(np.stack([FAR]), [0.0]), **options)


def test_an_unknown_protocol_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="as-published"):
        CatAdversary(FixedPrior(np.stack([FAR]), [0.0]), protocol="published")
