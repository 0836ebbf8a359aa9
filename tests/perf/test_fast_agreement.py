"""The fast engine against MetaDrive, by the measurement that `perf` makes."""

from types import SimpleNamespace

import numpy as np
import pytest

from harness import registry
from harness.interfaces import AttackPlan
from harness.performance import against_fast
from harness.performance.against_fast import measure_fast_agreement
from harness.performance.config import PerfConfig
from tests.sources import tiny_source


class Steady:
    """A policy of its observation that never steers."""

    name, control, observation, privileged = "steady", "action", "cat", False

    def reset(self, scenario, rng):
        assert scenario.num_steps == 91

    def act(self, observation, view):
        return np.array([0.0, observation[31] - 0.4], np.float32)


def swerve(context):
    """Into the ego's way."""
    states = context.scenario.states(context.opponent).copy()
    states[:, 1] += np.linspace(0, -2.5, len(states))
    return AttackPlan(states=states, valid=np.ones(len(states), bool))


@pytest.mark.parametrize("traffic", ["log", "idm-lane"])
def test_both_engines_drive_the_same_sequences(monkeypatch, traffic):
    monkeypatch.setattr(registry, "make", lambda kind, name: SimpleNamespace(name=name, plan=swerve))
    monkeypatch.setattr(against_fast, "load_policy", lambda spec: Steady())
    config = PerfConfig(fast_sample=8, fast_sut="steady", horizon=30, fast_traffic=traffic)
    found = measure_fast_agreement(tiny_source(), config, print)
    assert (found["fast_sequences"], found["fast_outcomes"]) == (8, 8)
    assert found["fast_attacked"] >= 2
    assert found["fast_position_error_99"] < 0.02
    assert found["fast_line_rays_beyond_0.01"] < 0.01
    assert found["fast_others_beyond_0.01"] < 0.01
    assert found["fast_outcome_agreement"] == 1.0
    assert ("fast_background_error_99" in found) == (traffic != "log")
    if traffic != "log":
        assert found["fast_background_error_99"] < 0.02
        assert found["fast_background_presence"] == 0.0
    assert [rows["sequences"] for rows in found["fast_by_driver"].values()] == [2, 2, 2, 1, 1]


@pytest.mark.slow
def test_procedural_scenes_agree_as_far_as_published():
    found = measure_fast_agreement(PerfConfig().open(), PerfConfig(fast_sample=60), print)
    assert found["fast_position_error_50"] < 0.001
    assert found["fast_position_error_95"] < 0.05
    assert found["fast_contact_agreement"] >= 0.95
    assert found["fast_line_rays_beyond_0.01"] < 0.003
    assert found["fast_others_beyond_0.01"] < 0.001
