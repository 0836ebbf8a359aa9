"""Paired tests against numbers worked out by hand or by scipy."""

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_rel

from harness.errors import ConfigError
from harness.metrics.paired import holm, mcnemar, paired_difference


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


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.04 times 3, 2, 1 = 0.03, 0.04, 0.04.
    np.testing.assert_allclose(holm([0.04, 0.01, np.nan, 0.02]), [0.04, 0.03, np.nan, 0.04])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
