"""The two readings of the published attacks, and what each does to the rows of a plan."""

import numpy as np
import pytest

from adversaries.common.plans import plan_rows
from harness.episodes.protocol import CORRECTED, PROTOCOLS, PUBLISHED, protocol_of
from harness.errors import UnknownNameError
from tests.scenes import straight_road
from tests.unit.adversaries.fakes import context, line


def test_readings_have_names_and_pass_through():
    assert protocol_of("as-published") is PUBLISHED
    assert protocol_of(CORRECTED) is CORRECTED
    assert set(PROTOCOLS) == {"corrected", "as-published"}
    with pytest.raises(UnknownNameError, match="as-publihsed"):
        protocol_of("as-publihsed")


def rows(protocol) -> np.ndarray:
    """Rows of a future that goes along +x at 12 m/s but claims to look up, at 7 m/s."""
    future = line(20, 3.5, 0.0, 12.0)
    future[:, 2], future[:, 3] = np.pi / 2, 7.0
    return plan_rows(context(straight_road()), future, 90, protocol)[0]


def test_corrected_plans_keep_what_the_model_says():
    assert rows(CORRECTED)[50, 2:] == pytest.approx([np.pi / 2, 7, 0])


def test_published_plans_follow_from_positions_and_end_at_rest():
    assert rows(PUBLISHED)[50, 2:] == pytest.approx([0, 12, 0], abs=1e-6)
    assert rows(PUBLISHED)[90, 3:] == pytest.approx([0, 0])
