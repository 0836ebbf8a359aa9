"""What the conformance checks share, on components that break one rule at a time."""

import numpy as np
import pytest

from harness.checks.base import Checker, require_name
from harness.checks.curriculum import check_curriculum, make_outcomes
from harness.checks.env import check_env
from harness.checks.traffic import check_traffic
from harness.errors import ConformanceError
from harness.interfaces import AttackSchedule
from tests.scenes import straight_road

CHECKER = Checker("adversary 'x'")


def test_a_message_names_component_place_rule_and_what_was_found():
    checker = Checker("adversary 'x'")
    checker.where = "step 3"
    with pytest.raises(ConformanceError, match=r"^adversary 'x' \(step 3\): it must move; found 0 m\.$"):
        checker.require(False, "it must move", "0 m")


@pytest.mark.parametrize(
    ("value", "why"),
    [([0.0, 1.0], "numpy array"), (np.zeros(3), r"shape \(2,\)"), (np.zeros(2, int), "dtype floating")],
)
def test_arrays_are_checked(value, why):
    with pytest.raises(ConformanceError, match=why):
        CHECKER.array(value, (2,), np.floating, "states")


def test_a_changed_array_is_noticed_and_nan_equals_nan():
    array = np.array([1.0, np.nan])
    with CHECKER.untouched("the states", array):
        pass
    with pytest.raises(ConformanceError, match="must not change the states"), CHECKER.untouched("the states", array):
        array[0] = 2.0


def test_a_scenario_whose_arrays_become_writable_is_noticed():
    scene = straight_road()
    with CHECKER.scene_untouched(scene):
        pass
    with pytest.raises(ConformanceError, match="read-only"), CHECKER.scene_untouched(scene):
        scene.heading.flags.writeable = True


def test_global_randomness_is_noticed():
    with CHECKER.only_own_randomness():
        np.random.default_rng(0).random()
    with pytest.raises(ConformanceError, match="global"), CHECKER.only_own_randomness():
        np.random.random()  # noqa: NPY002 (this is what must be noticed)


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_component_needs_a_name(name):
    with pytest.raises(ConformanceError, match="name"):
        require_name(CHECKER, type("Component", (), {"name": name})())


def test_outcomes_are_mixed_then_good_then_bad():
    outcomes = make_outcomes(300, seed=0)
    crashed = [outcome.crashed for outcome in outcomes]
    assert 0 < sum(crashed[:100]) < 100
    assert not any(crashed[100:200])
    assert all(crashed[200:])


class Forgetful:
    """Counts episodes but does not save the count."""

    name = "forgetful"

    def __init__(self):
        self.seen = 0

    def schedule(self, progress):
        return AttackSchedule(min(self.seen / 1000, 1.0), 1.0)

    def record(self, outcome):
        self.seen += 1

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_a_curriculum_that_cannot_be_resumed_is_noticed():
    with pytest.raises(ConformanceError, match="round trip"):
        check_curriculum(Forgetful, episodes=40)


class Jumper:
    """Traffic that is somewhere else after every step."""

    name = "jumper"

    def reset(self, scenario, rng):
        self.opponents = [agent for agent in (scenario.ego, scenario.opponent) if agent is not None]

    def step(self, step, states, valid):
        return states + np.array([50.0, 0.0, 0.0, 0.0, 0.0]), valid.copy()


def test_traffic_that_teleports_is_noticed():
    from tests.scenes import Agent

    with pytest.raises(ConformanceError, match=r"must not jump; found 50\.0 m"):
        check_traffic(Jumper(), straight_road(extra=[Agent("other", 60.0, 0.0)]))


class FlatEnv:
    """An environment whose observations are no box."""

    spec = None
    observation_space = action_space = None

    @property
    def unwrapped(self):
        return self


def test_an_environment_without_a_box_is_refused():
    with pytest.raises(ConformanceError, match="'FlatEnv': the observation space must be a Box"):
        check_env(FlatEnv())
