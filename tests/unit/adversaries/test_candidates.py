"""What adversaries get from a prior: order, history, validity, and errors."""

import dataclasses

import numpy as np
import pytest

from adversaries.common.candidates import draw_candidates, load_prior
from harness.errors import AdversaryError
from tests.scenes import straight_road
from tests.unit.adversaries.fakes import FixedPrior, context, line

SCENE = straight_road(opponent_from=5)


def futures() -> np.ndarray:
    return np.stack([line(20, 3.5, 0.0, speed) for speed in (5.0, 10.0, 15.0)])


def test_the_likeliest_comes_first():
    drawn = draw_candidates(FixedPrior(futures(), [-3.0, -1.0, -2.0]), context(SCENE), 3, "nms")
    assert drawn.log_prob.tolist() == [-1, -2, -3]
    assert drawn.states[:, 50, 3].tolist() == [10, 15, 5]


def test_history_is_the_log_and_zero_where_nobody_was_seen():
    scene = dataclasses.replace(SCENE, position=SCENE.position + 9.0)
    drawn = draw_candidates(FixedPrior(futures(), [-1.0, -2.0, -3.0]), context(scene), 3, "nms")
    assert not drawn.states[:, :5].any()
    assert drawn.states[2, 5:11] == pytest.approx(scene.states(1)[5:11])


def test_a_plan_is_valid_for_eight_seconds_after_the_current_step():
    drawn = draw_candidates(FixedPrior(futures()[:, :91], [-1.0, -2.0, -3.0]), context(SCENE, step=4), 3, "nms")
    assert np.flatnonzero(drawn.valid)[[0, -1]].tolist() == [5, 84]


def test_futures_that_are_not_finite_are_refused():
    broken = futures()
    broken[1, 30, 0] = np.nan
    with pytest.raises(AdversaryError, match="gave 3 candidates with numbers that are not finite"):
        draw_candidates(FixedPrior(broken, [-1.0, -2.0, -3.0]), context(SCENE), 3, "nms")
    with pytest.raises(AdversaryError, match="not finite"):
        draw_candidates(FixedPrior(futures(), [-1.0, np.nan, -3.0]), context(SCENE), 3, "nms")
    with pytest.raises(AdversaryError, match="gave 0 candidates"):
        draw_candidates(FixedPrior(broken[:0], []), context(SCENE), 3, "nms")


def test_a_prior_that_is_given_is_taken():
    prior = FixedPrior(futures(), [0.0, 0.0, 0.0])
    assert load_prior(prior, 4) is prior
