"""Reactive controllers in the engine: exact takeover, true physics, nothing left over."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest

from harness.engine import EngineConfig, GauntletEnv
from harness.engine.scene import Body
from harness.engine.takeover import WheeledCar, vehicle_model
from harness.errors import AdversaryError, ConfigError
from harness.interfaces import HEADING, STATE, VX, AttackPlan
from tests.scenes import LANE_WIDTH, Agent, crossing, make_scene, straight_road
from tests.sources import ListSource

TAKEOVER = 30
CARS = (Body.SMALL, Body.MEDIUM, Body.LARGE, Body.TRUCK)


class Fixed:
    """Always the same action; remembers what it saw."""

    def __init__(self, steering=0.0, throttle=0.0):
        self.action, self.seen, self.context = np.array([steering, throttle]), [], None

    def reset(self, plan, context):
        self.seen, self.context = [], context

    def act(self, step, opponent, ego):
        self.seen.append((step, opponent.copy(), ego.copy()))
        return self.action


class BrakesWithTheEgo(Fixed):
    """Full brakes as soon as the ego is slower than 9 m/s."""

    def act(self, step, opponent, ego):
        super().act(step, opponent, ego)
        return np.array([0.0, -1.0 if math.hypot(*ego[VX:]) < 9.0 else 0.0])


def plan_with(controller, takeover=TAKEOVER, speed=10.0, gap=30.0, origin=(0.0, 0.0)):
    """Straight on in the left lane at `speed`, `gap` m ahead of where the ego starts."""
    steps = np.arange(91)
    states = np.zeros((91, STATE))
    states[:, 0] = origin[0] + gap + speed * 0.1 * steps
    states[:, 1] = origin[1] + LANE_WIDTH
    states[:, VX] = speed
    return AttackPlan(states, steps >= 0, takeover_step=takeover, controller=controller)


@pytest.fixture(scope="module")
def env():
    far = (40_000.0, -40_000.0)
    walker = make_scene([Agent("ego", 0.0, 0.0), Agent("opponent", 30.0, 3.5, kind=3)], crossing().features)
    scenes = [straight_road(opponent_gap=30.0), straight_road(opponent_gap=30.0, origin=far, scene_id="far"), walker]
    env = GauntletEnv(ListSource(scenes), EngineConfig())
    yield env
    env.close()


def play(env, plan, *, scene=0, steps=90, ego="replay", throttle=0.0):
    env.reset(options={"scenario": scene, "plan": plan, "ego": ego})
    for _ in range(steps):
        env.step(np.array([0.0, throttle]))
    return env.recording()


def test_rows_before_the_takeover_are_the_plan_and_later_ones_physics(env):
    controller = Fixed(throttle=-0.25)
    plan = plan_with(controller)
    record = play(env, plan)
    np.testing.assert_allclose(record.opponent.states[:TAKEOVER], plan.states[:TAKEOVER], atol=1e-4)
    assert record.opponent.valid.all()
    # A medium body brakes with 4 · 105 N·s · 0.25 / (1200 kg · 0.02 s) = 4.375 m/s².
    speed = record.opponent.states[TAKEOVER : TAKEOVER + 10, VX]
    np.testing.assert_allclose(speed, 10.0 - 0.4375 * np.arange(1, 11), atol=0.03)
    # Positions are those of the speeds: half a step's braking less than the speed before.
    moved = np.diff(record.opponent.states[TAKEOVER - 1 : TAKEOVER + 10, 0])
    np.testing.assert_allclose(moved, 0.1 * (speed + 0.4375 / 2), atol=0.03)
    # An episode that begins later begins where the plan has it.
    env.reset(options={"scenario": 0, "plan": plan, "ego": "replay", "start": 40})
    for _ in range(5):
        env.step(None)
    later = env.recording().opponent
    assert np.flatnonzero(later.valid).tolist() == list(range(40, 46))
    np.testing.assert_allclose(later.states[40], plan.states[40], atol=1e-4)
    np.testing.assert_allclose(later.states[41:46, VX], 10.0 - 0.4375 * np.arange(1, 6), atol=0.03)


def test_the_controller_sees_the_present_and_acts_on_the_next_row(env):
    controller = Fixed()
    record = play(env, plan_with(controller), steps=60)
    assert [step for step, _, _ in controller.seen] == list(range(TAKEOVER - 1, 60))
    for step, opponent, ego in controller.seen:
        np.testing.assert_allclose(ego, record.ego.states[step], atol=1e-9)
        np.testing.assert_allclose(opponent, record.opponent.states[step], atol=2e-3)
    assert controller.context.opponent_size == (4.5, 2.0)
    assert controller.context.vehicle == vehicle_model(Body.MEDIUM)


def test_a_controller_reacts_to_the_driven_ego(env):
    """The same attack, once with an ego that keeps going and once with one that brakes."""
    going = play(env, plan_with(BrakesWithTheEgo()), ego="policy", throttle=0.3, steps=60)
    braking = play(env, plan_with(BrakesWithTheEgo()), ego="policy", throttle=-0.3, steps=60)
    assert going.opponent.states[60, VX] > 8.0
    assert braking.opponent.states[60, VX] < 0.5


def test_far_from_the_origin(env):
    near = play(env, plan_with(Fixed(0.1, 0.5)))
    far = play(env, plan_with(Fixed(0.1, 0.5), origin=(40_000.0, -40_000.0)), scene=1)
    shifted = far.opponent.states - np.array([40_000.0, -40_000.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(shifted, near.opponent.states, atol=0.03)
    assert near.opponent.states[45, HEADING] > 0.2, "positive steering turns left"


def test_episodes_repeat_exactly_and_leave_nothing_behind(env):
    plan = plan_with(Fixed(0.3, -0.4))
    first = play(env, plan)
    play(env, plan_with(Fixed(-1.0, 1.0), takeover=12), steps=40)
    without = play(env, None)
    np.testing.assert_allclose(without.opponent.states, env.scenario.states(1))
    second = play(env, plan)
    np.testing.assert_array_equal(first.opponent.states, second.opponent.states)


def test_contact_is_judged_where_the_car_truly_is(env):
    """The plan passes the ego by; the controller steers into its lane and brakes: both judges see the crash."""
    plan = plan_with(Fixed(), gap=14.0)
    assert play(env, plan).crash_geometry is None

    class CutIn(Fixed):
        def act(self, step, opponent, ego):
            aside = 0.06 * (0.0 - opponent[1]) - 0.6 * opponent[HEADING]
            return np.array([np.clip(aside, -0.2, 0.2), -0.3 if abs(opponent[1]) < 1.5 else 0.0])

    record = play(env, replace(plan, controller=CutIn()))
    assert record.crash_opponent is not None
    assert record.crash_contact is not None
    assert abs(record.crash_contact - record.crash_opponent) <= 2


def test_a_plan_with_a_takeover_but_no_controller_is_just_a_plan(env):
    plan = replace(plan_with(None), controller=None)
    np.testing.assert_allclose(play(env, plan).opponent.states, plan.states, atol=1e-4)


@pytest.mark.parametrize("body", CARS)
def test_the_model_told_to_controllers_is_the_engines_car(body):
    """Speed and turn rate after 1 s against the linear model: throttle, brake, coasting, steering."""
    model, speed = vehicle_model(body), 8.0

    def drive(steering, throttle):
        car = WheeledCar(body)
        car.place(np.array([5.0, -3.0, 0.4, speed * math.cos(0.4), speed * math.sin(0.4)]), 0.0)
        rows = [car.step(steering, throttle) for _ in range(10)]
        car.close()
        return rows

    for throttle, gain in ((1.0, model.throttle), (0.0, -model.rolling), (-0.25, -0.25 * model.brake)):
        final = drive(0.0, throttle)[-1]
        assert math.hypot(*final[VX:]) == pytest.approx(speed + gain, abs=0.08)
        way = np.hypot(*(drive(0.0, throttle)[-1][:2] - [5.0, -3.0]))
        assert way == pytest.approx(speed + gain / 2, abs=0.14)
    turned = drive(0.1, 0.1)
    pace = math.hypot(*turned[-1][VX:])
    expected = pace * math.tan(0.1 * model.max_steering) / (model.front_axle + model.rear_axle)
    assert (turned[-1][HEADING] - turned[-2][HEADING]) / 0.1 == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("action", [np.zeros(3), np.array([np.nan, 0.0]), None])
def test_a_controller_without_an_action_is_named(env, action):
    controller = Fixed()
    controller.action = action
    with pytest.raises(AdversaryError, match="Fixed at step 29 of scene straight_road"):
        play(env, plan_with(controller))


def test_a_failing_controller_is_named(env):
    class Failing(Fixed):
        def act(self, step, opponent, ego):
            raise KeyError("oops")

    with pytest.raises(AdversaryError, match=r"Failing at step 29.*KeyError"):
        play(env, plan_with(Failing()))


def test_impossible_takeovers_are_refused(env):
    for plan, scene in ((plan_with(Fixed(), takeover=None), 0), (plan_with(Fixed(), takeover=0), 0)):
        with pytest.raises(ConfigError, match="takeover_step"):
            env.reset(options={"scenario": scene, "plan": plan})
    with pytest.raises(ConfigError, match="vehicle"):
        env.reset(options={"scenario": 2, "plan": plan_with(Fixed())})


def test_a_plan_with_its_controller_travels_to_workers():
    plan = pickle.loads(pickle.dumps(plan_with(Fixed(0.1, 0.2))))
    assert plan.takeover_step == TAKEOVER
    np.testing.assert_array_equal(plan.controller.action, [0.1, 0.2])


def test_a_controller_that_fails_to_watch_is_named(env):
    class Blind(Fixed):
        def watch(self, step, states, valid, sizes):
            raise ValueError("too bright")

    with pytest.raises(AdversaryError, match=r"controller Blind at step 0 of scene .*too bright"):
        play(env, plan_with(Blind()))
