"""Paired tests against numbers worked out by hand or by scipy."""

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_rel

from harness.errors import ConfigError
from harness.metrics.paired import crossed_difference, holm, mcnemar, paired_difference


def test_mcnemar_by_hand() -> None:
    # 6 scenes where only the first succeeds, 1 where only the second: 2 * (1 + 7) / 2^7 = 0.125.
    first = [1] * 6 + [0] + [1] * 3 + [0] * 2
    second = [0] * 6 + [1] + [1] * 3 + [0] * 2
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second, found.both, found.neither) == (6, 1, 3, 2)
    assert found.p_value == pytest.approx(0.125)
    assert found.p_value == pytest.approx(binomtest(1, 7).pvalue)


def test_mcnemar_of_equals_and_of_undefined() -> None:
    assert mcnemar([True, False], [True, False]).p_value == 1.0
    assert mcnemar([1, np.nan, 1], [0, 0, np.nan]).only_first == 1
    assert mcnemar([], []).p_value == 1.0


def test_paired_difference_is_paired() -> None:
    rng = np.random.default_rng(0)
    scene = rng.normal(0, 10, 60)  # scenes differ far more than methods
    first, second = scene + 1 + rng.normal(0, 1, 60), scene
    found = paired_difference(first, second, seed=3)
    assert found.difference.mean == pytest.approx((first - second).mean())
    assert found.difference.low > 0
    assert found.p_value < 0.001
    assert found == paired_difference(first, second, seed=3)


def test_paired_p_value_is_near_the_t_test() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.2, 1, 80), rng.normal(0, 1, 80)
    found = paired_difference(a, b)
    assert found.p_value == pytest.approx(ttest_rel(a, b).pvalue, abs=0.03)
    assert 0.02 < found.p_value < 0.9


def test_no_difference_has_p_one_and_undefined_pairs_do_not_count() -> None:
    assert paired_difference([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).p_value == 1.0
    found = paired_difference([1.0, np.nan, 3.0], [0.0, 5.0, np.nan])
    assert found.scenes == 1
    assert found.difference.mean == 1.0
    assert np.isnan(paired_difference([np.nan], [1.0]).p_value)
    with pytest.raises(ConfigError):
        paired_difference([1.0], [1.0, 2.0])


def test_a_difference_over_seeds_and_scenes_by_hand() -> None:
    # One of the first method's two seeds fails everywhere, the other nowhere; the second method never does. Each scene
    # says .5; the seeds' means 1 and 0 have variance .5, their mean .25; t = .5 / .5 with one degree of freedom: p .5.
    found = crossed_difference([[1, 1, 1], [0, 0, 0]], [[0, 0, 0]])
    assert (found.p_value, found.scenes) == (pytest.approx(0.5), 3)
    # The quantile of that distribution (Cauchy's) is tan(.475 π).
    reach = 0.5 * np.tan(0.475 * np.pi)
    assert found.difference == (0.5, pytest.approx(0.5 - reach), pytest.approx(0.5 + reach))
    # Over scenes alone the very same means are as certain as can be.
    assert paired_difference([0.5] * 3, [0.0] * 3).difference == (0.5, 0.5, 0.5)
    # By scene 1, .5, .5, 0: variance 1/6, /4 = 1/24. By seed .25, .75: variance 1/8, /2 = 1/16, of which noise is 1/48
    # (what remains is ± .25 everywhere: .5 / 3 / 8), so 1/24. In all 1/12, with (1/12)² / ((1/24)² / 3 + (1/24)²) = 3
    # degrees of freedom, whose quantile is 3.18245.
    found = crossed_difference([[1, 0, 0, 0], [1, 1, 1, 0]], [[0, 0, 0, 0]])
    assert found.difference.mean - found.difference.low == pytest.approx(3.18245 * np.sqrt(1 / 12), rel=1e-5)


def test_with_one_seed_each_it_is_the_paired_t_test_and_further_seeds_add_their_noise() -> None:
    rng = np.random.default_rng(2)
    first, second = (rng.random(40) < 0.3).astype(float), (rng.random(40) < 0.6).astype(float)
    expected = ttest_rel(first, second)
    for copies in (1, 4):  # Seeds that agree tell nothing new.
        found = crossed_difference(np.tile(first, (copies, 1)), second[None])
        assert found.p_value == pytest.approx(expected.pvalue)
        assert found.difference[1:] == pytest.approx(expected.confidence_interval())
    apart = crossed_difference([first + 0.2, first - 0.2], second[None])
    assert apart.difference.mean == pytest.approx(found.difference.mean)
    assert apart.difference.low < found.difference.low - 0.1
    assert apart.p_value > 2 * found.p_value


def test_the_crossed_test_where_nothing_varies_or_is_known() -> None:
    nothing = float("nan")
    found = crossed_difference([[1, nothing, 0, 1], [1, 1, 1, 1]], [[0, 1, 1, nothing]])
    assert (found.scenes, found.difference.mean) == (2, 0.25)
    assert crossed_difference([[0, 1, 1]] * 2, [[0, 1, 1]] * 3).p_value == 1.0
    assert crossed_difference([[1, 1, 1]], [[0, 0, 0]]).p_value == 1e-4
    for few in ([[nothing]], [[1.0]]):
        assert np.isnan(crossed_difference(few, [[1.0]]).p_value)
    with pytest.raises(ConfigError, match="same scenes"):
        crossed_difference([[1.0, 2.0]], [[1.0]])


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.04 times 3, 2, 1 = 0.03, 0.04, 0.04.
    np.testing.assert_allclose(holm([0.04, 0.01, np.nan, 0.02]), [0.04, 0.03, np.nan, 0.04])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
