"""How far two engines agree: numbers by hand, drivers, and who drives what."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from harness import registry
from harness.engine.config import SENSORS, EngineConfig
from harness.errors import ConfigError
from harness.interfaces import AttackPlan, EgoView
from harness.performance import against_fast
from harness.performance.agreement import compare, compare_outcomes, line_rays
from harness.performance.config import PerfConfig
from harness.performance.drivers import DRIVERS, make_driver
from harness.performance.sequences import DrivenSequence, PolicyOutcome
from tests.scenes import straight_road

STEPS = 30


def driven(contact=None, ended=None, shift=0.0, late=0.0):
    """A straight drive at 1 m a step, seen as four numbers; `shift` m aside, `late` m more from the contact on."""
    xy = np.column_stack([np.arange(STEPS + 1.0), np.full(STEPS + 1, shift)])
    contacts, ends = np.zeros((STEPS, 3), bool), np.zeros(STEPS, bool)
    if contact is not None:
        contacts[contact:, 1] = True
        xy[contact + 1 :, 1] += late
    if ended is not None:
        ends[ended] = True
    actions = np.zeros((STEPS, 2), np.float32)
    return DrivenSequence(actions, xy, np.zeros((STEPS + 1, 4), np.float32), np.zeros(STEPS), contacts, ends)


def test_numbers_of_agreement():
    ones = [driven(), driven(contact=9, ended=9), driven(contact=5), driven(contact=4)]
    twos = [driven(shift=0.3), driven(contact=9, ended=10, late=0.5), driven(contact=6, shift=0.1), driven()]
    # Until the contact of the second sequence, 10 of its rows are compared; what is seen later does not count.
    twos[1].observations[9:, 0] = 1.0
    twos[1].observations[10:, 2] = 1.0
    twos[2].rewards[4:] = 0.5
    found = compare(ones, twos, np.array([True, False, False, False]))
    rows = STEPS + 1 + 10 + 6 + 5
    assert found == {
        "sequences": 4,
        "position_error_50": pytest.approx(0.05),
        "position_error_95": pytest.approx(np.percentile([0.3, 0, 0.1, 0], 95)),
        "position_error_99": pytest.approx(np.percentile([0.3, 0, 0.1, 0], 99)),
        "contacts": 3,
        "contact_agreement": pytest.approx(2 / 3),
        "contact_same_step": 0.5,
        "second_after_contact_50": pytest.approx(0.1),
        "line_rays_beyond_0.01": pytest.approx(1 / rows),
        "others_beyond_0.01": 0.0,
        "rewards_beyond_0.01": pytest.approx(1 / (rows - 4)),
        "first_ending_same_step": 0.75,
    }


def test_others_that_leave_their_logs_are_compared_until_the_first_contact():
    places = np.zeros((STEPS + 1, 2, 2))
    places[:10, 1] = np.nan
    ones = [replace(driven(contact=19), others=places), replace(driven(), others=places)]
    others = places + np.array([0.3, 0.4])
    others[20:] += 100.0
    others[9, 1] = 0.0
    twos = [replace(driven(contact=19), others=others), replace(driven(), others=places)]
    found = compare(ones, twos, np.zeros(4, bool))
    assert found["background_error_50"] == pytest.approx(0.25)
    assert found["background_error_99"] == pytest.approx(np.percentile([0.0, 0.5], 99))
    assert found["background_presence"] == pytest.approx(1 / (20 + 11 + STEPS + 1 + STEPS + 1 - 10))


def test_without_contacts_nothing_is_said_of_them():
    found = compare([driven()], [driven()], np.zeros(4, bool))
    assert found["contacts"] == 0
    assert not {"contact_agreement", "contact_same_step", "second_after_contact_50", "line_rays_beyond_0.01"} & {*found}


def test_outcomes_are_compared_scene_by_scene():
    crash, arrival = PolicyOutcome(True, False, False), PolicyOutcome(False, False, True)
    assert compare_outcomes([crash, arrival], [crash, crash]) == {"outcomes": 2, "outcome_agreement": 0.5}


@pytest.mark.parametrize(("preset", "count"), [("cat", 42), ("metadrive", 12), ("route", 64)])
def test_line_rays_of_an_observation(preset, count):
    found = line_rays(preset)
    assert found.shape == (SENSORS[preset].size,)
    assert found.sum() == count
    # After the side rays come six numbers of the car itself.
    assert found[30:48].tolist() == [False] * 6 + [True] * 12 if preset == "cat" else True


def view(x=0.0, y=0.0, heading=0.0, speed=10.0):
    route = np.column_stack([np.linspace(0, 100, 101), np.zeros(101)])
    nobody = np.zeros((0, 5))
    return EgoView(0, 0.1, np.array([x, y, heading, speed, 0.0]), (4.5, 1.9), route, nobody, nobody[:, :2])


@pytest.mark.parametrize("name", DRIVERS)
def test_drivers_do_what_their_names_say(name):
    actions = np.array([make_driver(name, np.random.default_rng(7))(0, view(), 10.0)])
    driver, again = (make_driver(name, np.random.default_rng(3)) for _ in range(2))
    actions = np.array([driver(step, view(y=0.0), 10.0) for step in range(90)])
    assert np.array_equal(actions, [again(step, view(y=0.0), 10.0) for step in range(90)])
    assert actions.dtype == np.float32
    assert np.abs(actions).max() <= 1
    assert (name == "braking") == bool((actions[:, 1] == -1).sum() >= 5)
    assert (name == "steering") == bool((np.abs(actions[:, 0]) > 0.5).sum() >= 5)


def test_following_turns_towards_the_route_and_its_speed():
    left, right = (make_driver("following", np.random.default_rng(1))(0, view(y=y), 10.0) for y in (-2.0, 2.0))
    assert left[0] > 0.1
    assert right[0] < -0.1
    slow, fast = (make_driver("following", np.random.default_rng(1))(0, view(speed=v), 10.0) for v in (5.0, 15.0))
    assert slow[1] > 0.5
    assert fast[1] < -0.5


def test_drivers_and_scenes_take_turns_and_every_other_round_is_attacked(monkeypatch):
    plan = AttackPlan(states=np.zeros((91, 5)), valid=np.ones(91, bool))
    monkeypatch.setattr(registry, "make", lambda kind, name: SimpleNamespace(name=name, plan=lambda context: plan))
    scenes = [straight_road(), straight_road(with_opponent=False), straight_road()]
    config = PerfConfig(fast_sample=9, seed=4)
    tasks = against_fast.plan_tasks(scenes, ("one", "two"), config, EngineConfig())
    assert [task.scene for task in tasks] == [0, 1, 2] * 3
    assert [task.driver for task in tasks] == ["one", "two"] * 4 + ["one"]
    # Rounds of two: the second and the fourth, but for the scene that has no opponent.
    assert [task.plan is not None for task in tasks] == [False, False, True, True, False, False, True, False, False]
    assert len({task.seed for task in tasks}) == 9


def test_a_policy_that_sees_more_than_its_observation_is_refused():
    with pytest.raises(ConfigError, match="--fast-sut idm: it looks at more"):
        against_fast.measure_fast_agreement([straight_road()], PerfConfig(fast_sut="idm"), print)
