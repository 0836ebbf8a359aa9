"""Zipf's law: its fit and its weights, by hand."""

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.metrics.zipf import by_rank, fit_zipf, zipf_masses, zipf_weights


@pytest.mark.parametrize("exponent", [0.0, 0.8, 1.0, 1.5])
def test_a_law_is_found_again(exponent: float) -> None:
    fit = fit_zipf(1e9 * zipf_masses(200, exponent))
    assert fit.exponent == pytest.approx(exponent, abs=1e-6)
    assert fit.slope == pytest.approx(exponent, abs=1e-6)
    assert fit.ks == pytest.approx(0.0, abs=1e-6)
    assert fit.r2 == pytest.approx(1.0, abs=1e-6)


def test_masses_by_hand() -> None:
    assert zipf_masses(3, 1.0) == pytest.approx(np.array([6, 3, 2]) / 11)
    assert zipf_masses(4, 0.0) == pytest.approx([0.25] * 4)


def test_a_fit_by_hand() -> None:
    """Counts 4, 1, 1 of three types: likelihood, distance and line are small enough to compute."""
    fit = fit_zipf([1, 0, 4, 1])
    assert (fit.tokens, fit.types, fit.top) == (6, 3, pytest.approx(4 / 6))
    # At the maximum the law's mean log rank is the sample's: (log 2 + log 3) / 6.
    masses = zipf_masses(3, fit.exponent)
    assert masses @ np.log([1, 2, 3]) == pytest.approx(np.log(6) / 6)
    assert fit.ks == pytest.approx(max(abs(4 / 6 - masses[0]), abs(5 / 6 - masses[:2].sum())))
    # The points (0, log 4), (log 2, 0) and (log 3, 0).
    x, y = np.log([1, 2, 3]), np.log([4, 1, 1])
    line = np.polyfit(x, y, 1)
    assert fit.slope == pytest.approx(-line[0])
    assert fit.r2 == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)


def test_one_token_that_is_too_frequent_spoils_the_fit() -> None:
    counts = 1e6 * zipf_masses(500, 1.0)
    counts[0] *= 20
    spoilt = fit_zipf(counts)
    assert spoilt.ks > 0.05
    assert spoilt.exponent > 1.2
    assert spoilt.slope < 1.1, "one of 500 types hardly moves the line"


def test_too_few_types_are_refused() -> None:
    with pytest.raises(ConfigError, match="2 different tokens occur"):
        fit_zipf([5, 0, 2])


def test_ranks_leave_out_what_does_not_occur() -> None:
    assert by_rank([0, 2, 7, 0, 3]).tolist() == [7, 3, 2]


def test_weights_make_the_law() -> None:
    counts = np.array([10, 0, 70, 20])
    weights = zipf_weights(counts, 1.0)
    assert weights[1] == 0
    # Ranks: the third type first, then the fourth, then the first.
    assert weights * counts / 100 == pytest.approx(np.array([2, 0, 6, 3]) / 11)
    assert zipf_weights(counts, 0.0) * counts / 100 == pytest.approx(np.array([1, 0, 1, 1]) / 3)
    assert not zipf_weights(np.zeros(4), 1.0).any()
