"""`sage_replan`: what its plans hold, and what its controller makes of an episode that departs from them."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from adversaries.sage.adversary import SageAdversary
from adversaries.sage.experts import Experts
from adversaries.sage.replan import ReplanningSageAdversary
from adversaries.sage.replanning import Chooser, ReplanningController, network_of
from harness import registry
from harness.checks.controller import VEHICLE, _bicycle
from harness.episodes.watching import WatchingController
from harness.errors import ConfigError
from harness.interfaces import VX, ControlContext, Trajectory
from tests.scenes import Agent, crossing, kerbside
from tests.unit.adversaries.fakes import context, line, log_of
from tests.unit.adversaries.sage.toys import SMALL, small_network, small_prior

SCENE = crossing()
BOXES = np.array([[4.5, 2.0]] * 2)


def replanner(**options) -> ReplanningSageAdversary:
    return ReplanningSageAdversary(
        Experts(small_prior(0), small_network(1), small_network(2), {}), candidates=8, **options
    )


def drive(controller, plan, ego, until=60, scene=SCENE):
    """The actions [n, 2] of an episode in which the opponent is a bicycle and the ego drives along [T, 5].

    The controller is told of `scene`; up to step 10 the opponent follows the log of `SCENE`.
    """
    controller.reset(plan, ControlContext(scene, 1, (4.5, 2.0), (4.5, 2.0), VEHICLE))
    own, actions = SCENE.states(1)[0], []
    for step in range(until):
        if step <= 10:
            own = SCENE.states(1)[step]
        controller.watch(step, np.stack([ego[step], own]), np.ones(2, bool), BOXES)
        if step >= 10:
            actions.append(controller.act(step, own, ego[step]))
            own = _bicycle(own, actions[-1], 0.1)
    return np.array(actions)


def test_the_plan_is_that_of_sage_with_a_controller() -> None:
    made = replanner()
    plan = made.plan(context(SCENE))
    usual = SageAdversary(made.experts, candidates=8).plan(context(SCENE))
    np.testing.assert_array_equal(plan.states, usual.states)
    assert plan.takeover_step == 11
    assert isinstance(plan.controller, ReplanningController)
    assert isinstance(plan.controller, WatchingController)
    assert replanner(protocol="as-published").plan(context(SCENE)).info["protocol"] == "as-published"
    assert isinstance(registry.make("adversary", "sage_replan"), ReplanningSageAdversary)
    # Who walks has no engine.
    on_foot = replanner().plan(context(kerbside()))
    assert (on_foot.controller, on_foot.takeover_step) == (None, None)


def test_plans_are_made_every_second_and_not_in_the_last() -> None:
    plan = replanner().plan(context(SCENE))
    ego = SCENE.states(0)
    drive(plan.controller, plan, ego, until=90)
    assert [made.step for made in plan.controller.decisions] == list(range(20, 81, 10))
    seldom = replanner(period=25).plan(context(SCENE))
    drive(seldom.controller, seldom, ego)
    assert [made.step for made in seldom.controller.decisions] == [35]
    # The scene ends at step 90: at 60 there is enough left of it, and at 85 there are five steps.
    drive(seldom.controller, seldom, ego, until=90)
    assert [made.step for made in seldom.controller.decisions] == [35, 60]
    once = replanner(period=0).plan(context(SCENE))
    drive(once.controller, once, ego)
    assert once.controller.decisions == []


def test_the_mixture_that_chooses_is_the_dials_and_the_intensity_the_contexts() -> None:
    made = replanner()
    ends = [made.plan(replace(context(SCENE), intensity=end)).controller.choice for end in (0.0, 1.0, 1.5)]
    for choice, expert in zip(ends, (made.experts.real, made.experts.adv), strict=False):
        network = network_of(SMALL, choice.mixture)
        for name, value in expert.state_dict().items():
            torch.testing.assert_close(network.state_dict()[name], value)
    assert [choice.intensity for choice in ends] == [0.0, 1.0, 1.5]
    beyond = {name for name, value in ends[2].mixture.items() if not np.allclose(value, ends[1].mixture[name])}
    assert beyond, "it extrapolates"


def test_episodes_repeat_copies_act_alike_and_no_randomness_is_used() -> None:
    plan = replanner().plan(context(SCENE))
    going, braking = SCENE.states(0), line(-50.0, 0.0, 0.0, 5.0)
    first = drive(plan.controller, plan, going)
    state = torch.random.get_rng_state()
    other = drive(plan.controller, plan, braking)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not np.array_equal(first[10:], other[10:])
    np.testing.assert_array_equal(drive(plan.controller, plan, going), first)
    copied = pickle.loads(pickle.dumps(plan))
    assert copied.controller.decisions == []
    np.testing.assert_array_equal(drive(copied.controller, copied, going), first)


def test_nothing_that_is_yet_to_come_in_the_log_is_looked_at() -> None:
    plan = replanner().plan(context(SCENE))
    ego = SCENE.states(0)
    known = drive(plan.controller, plan, ego)
    position, velocity = SCENE.position.copy(), SCENE.velocity.copy()
    heading, valid = SCENE.heading.copy(), SCENE.valid.copy()
    position[:, 11:] += 7.0
    velocity[:, 11:] *= -1.0
    heading[:, 11:] += 1.0
    valid[:, 40:] = False
    other = replace(SCENE, position=position, velocity=velocity, heading=heading, valid=valid)
    np.testing.assert_array_equal(drive(plan.controller, plan, ego, scene=other), known)


def test_plans_are_made_among_everybody_as_they_truly_are(monkeypatch) -> None:
    """A third car, which the log has parked, is watched driving, and is longer than in the log."""
    seen = []
    usual = Chooser.propose
    monkeypatch.setattr(Chooser, "propose", lambda self, given: seen.append(given) or usual(self, given))
    scene = crossing(extra=[Agent("third", 60.0, 0.0, speed=0.0), Agent("fourth", 90.0, 0.0, speed=0.0)])
    plan = replanner().plan(context(scene))
    plan.controller.reset(plan, ControlContext(scene, 1, (4.5, 2.0), (4.5, 2.0), VEHICLE))
    third, sizes = line(60.0, 0.0, 0.0, 7.0), np.array([[4.5, 2.0], [4.5, 2.0], [9.0, 2.5], [4.5, 2.0]])
    for step in range(21):
        states = np.stack([scene.states(0)[step], scene.states(1)[step], third[step], np.zeros(5)])
        plan.controller.watch(step, states, np.array([True, True, True, False]), sizes)
        if step >= 10:
            plan.controller.act(step, states[1], states[0])
    (given,) = seen
    assert (given.step, given.opponent, given.ego_size) == (20, 1, (4.5, 2.0))
    np.testing.assert_allclose(given.scenario.states(2), third, atol=1e-9)
    assert given.scenario.valid[2].all()
    assert given.scenario.box(2) == (9.0, 2.5)
    assert not given.scenario.valid[3].any()
    expected = scene.states(0)
    expected[21:] = given.ego_trajectories[-1].states[21:]
    np.testing.assert_allclose(given.scenario.states(0), expected, atol=1e-9)


def test_the_ego_is_expected_along_its_drives_or_at_its_present_motion() -> None:
    turning = log_of(SCENE, 0)
    other = Trajectory(turning.states + np.array([0.0, 1.0, 0.0, 0.0, 0.0]), turning.valid)
    drives = (turning, turning, other)
    slow = SCENE.states(0).copy()
    slow[15:, :2], slow[15:, VX] = slow[15, :2] + 0.6 * (slow[15:, :2] - slow[15, :2]), 6.0
    plan = replanner().plan(context(SCENE, drives))
    drive(plan.controller, plan, slow, until=25)
    (made,) = plan.controller.decisions
    assert made.egos[0] is made.egos[1]
    assert made.egos[2] is not made.egos[1]
    for expected in made.egos:
        np.testing.assert_allclose(expected.states[20:, :2], slow[20:, :2], atol=1e-6)
        assert expected.valid.tolist() == (np.arange(91) >= 20).tolist()
    motion = replanner(forecast="motion").plan(context(SCENE, drives))
    drive(motion.controller, motion, slow, until=25)
    assert len(motion.controller.decisions[0].egos) == 1
    # Far from every drive, there is only the present motion left.
    away = slow + np.array([0.0, 30.0, 0.0, 0.0, 0.0])
    drive(plan.controller, plan, away, until=25)
    np.testing.assert_allclose(plan.controller.decisions[0].egos[0].states[20:, :2], away[20:, :2], atol=1e-6)


def test_options_that_cannot_work_are_refused() -> None:
    for options in ({"period": -1}, {"forecast": "stars"}):
        with pytest.raises(ConfigError, match="period >= 0 and a forecast among drives, motion"):
            replanner(**options)
