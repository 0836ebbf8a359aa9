"""The shared ramp, and each open-loop schedule at points worked out by hand."""

import pytest

from curricula.cat import CatCurriculum
from curricula.constant import ConstantCurriculum
from curricula.dual_axis import DualAxisCurriculum, FrequencyAxisCurriculum, IntensityAxisCurriculum
from curricula.schedules import check_fraction, ramp
from harness.errors import ConfigError


@pytest.mark.parametrize(("progress", "expected"), [(-1, 2), (0, 2), (0.2, 3), (0.4, 4), (0.5, 4), (2, 4)])
def test_a_ramp_is_straight_and_then_flat(progress, expected):
    assert ramp(progress, 2.0, 4.0, 0.4) == pytest.approx(expected)


def test_fractions_are_checked():
    assert check_fraction("share", 1) == 1.0
    with pytest.raises(ConfigError, match=r"share = 1\.1.*\[0, 1\]"):
        check_fraction("share", 1.1)
    with pytest.raises(ConfigError, match=r"\(0, 1\]"):
        check_fraction("share", 0.0, positive=True)


def test_cats_ramp_takes_other_ends():
    assert CatCurriculum(final_probability=0.6, ramp_end=0.3).schedule(0.1) == (pytest.approx(0.2), 1.0)


def test_a_constant_schedule_never_changes():
    curriculum = ConstantCurriculum(0.3, 1.2)
    assert curriculum.schedule(0.0) == curriculum.schedule(1.0) == (0.3, 1.2)


def test_dual_axis_raises_both():
    # Frequency 0.1 … 0.9 over the first half, intensity 0.5 … 1 over all of it.
    assert DualAxisCurriculum().schedule(0.25) == pytest.approx((0.5, 0.625))
    assert DualAxisCurriculum(frequency_end=1.0).schedule(0.25) == pytest.approx((0.3, 0.625))


def test_ablations_hold_one_axis_at_its_end():
    assert FrequencyAxisCurriculum().schedule(0.25) == pytest.approx((0.5, 1.0))
    assert IntensityAxisCurriculum().schedule(0.25) == pytest.approx((0.9, 0.625))


def test_open_loop_schedules_have_nothing_to_save():
    assert DualAxisCurriculum().state_dict() == {}
