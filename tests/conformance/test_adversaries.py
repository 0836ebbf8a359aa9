"""Every registered adversary keeps its contract, and every way of breaking it is caught."""

from dataclasses import replace

import numpy as np
import pytest

from harness import registry
from harness.checks.adversary import check_adversary
from harness.episodes.attacks import attack_context
from harness.errors import AdversaryError, ConformanceError
from harness.interfaces import HEADING, VX, VY, AttackPlan
from scenarios.scenario import CURRENT_STEP, FUTURE_STEPS, Kind
from tests.scenes import crossing, kerbside, lasting, straight_road


def scenes():
    return [
        straight_road(),
        straight_road(opponent_from=6, scene_id="late opponent"),
        crossing(),
        crossing(origin=(7000.0, -12000.0), rotation=0.7, scene_id="far away"),
    ]


def people():
    return [
        kerbside(),
        kerbside(kind=Kind.CYCLIST, y=-4.0, heading=0.2, speed=4.0, scene_id="cyclist"),
        kerbside(speed=1.4, x=48.0, y=-4.0, origin=(7000.0, -12000.0), rotation=0.7, scene_id="far away"),
        kerbside(speed=3.5, heading=0.0, scene_id="runner"),
    ]


# Who attacks on foot and on bicycles.
ON_FOOT = {"vulnerable"}
# Whose plans do not depend on the intensity, as their classes say.
UNDIALLED = {"none", "rule", "cat", "seal", "king", "adv_traj_opt"}
# Every candidate of a roll-out is made alike; the number that is usual is drawn in scenes of any length, below.
FEW = {"sage_smart": {"candidates": 6}}


@pytest.mark.parametrize("name", registry.names("adversary"))
def test_registered_adversary(name):
    made = registry.make("adversary", name, **FEW.get(name, {}))
    attacked = people() if name in ON_FOOT else scenes()
    check_adversary(made, attacked, intensities=(1.0,) if name in UNDIALLED else (0.0, 0.5, 1.0))


@pytest.mark.parametrize("steps", [21, 111])
@pytest.mark.parametrize("name", registry.names("adversary"))
def test_scenes_of_any_length_can_be_attacked(name, steps):
    scene = lasting(kerbside() if name in ON_FOOT else crossing(), steps)
    made = registry.make("adversary", name)
    plan = made.plan(attack_context(scene, np.random.default_rng(0)))
    if plan is None:
        assert name == "none"
        return
    if name in UNDIALLED:
        other = made.plan(attack_context(scene, np.random.default_rng(0), intensity=0.0))
        assert np.array_equal(other.states, plan.states), "its class says that it has no dial"
    assert plan.states.shape == (steps, 5)
    last = np.flatnonzero(plan.valid)[-1]
    # What plans by a motion model plans 8 s at most.
    assert last in (min(steps - 1, CURRENT_STEP + FUTURE_STEPS), steps - 1)
    assert plan.valid[CURRENT_STEP + 1 : last + 1].all()
    assert np.isfinite(plan.states[plan.valid]).all()


class Sound:
    """The opponent goes on at the velocity of the current step, a little faster with intensity and chance."""

    name = "sound"

    def plan(self, context):
        scene, step = context.scenario, context.step
        states = scene.states(context.opponent).copy()
        valid = scene.valid[context.opponent].copy()
        valid[step + 1 :] = True
        pace = 1.0 + 0.1 * context.intensity + 0.01 * context.rng.random()
        ahead = np.arange(1, scene.num_steps - step)[:, None] * scene.dt
        velocity = states[step, [VX, VY]] * pace
        states[step + 1 :, :2] = states[step, :2] + ahead * velocity
        states[step + 1 :, HEADING] = states[step, HEADING]
        states[step + 1 :, [VX, VY]] = velocity
        return AttackPlan(
            states, valid, np.stack([states, states]), {"score": np.array([1.0, 0.5])}, chosen=0, info={"pace": pace}
        )


class Broken(Sound):
    """`Sound` with its plan spoilt."""

    def __init__(self, spoil):
        self.spoil = spoil

    def plan(self, context):
        plan = super().plan(context)
        return self.spoil(plan, context) or plan


def change(**fields):
    return lambda plan, context: replace(plan, **{key: make(plan) for key, make in fields.items()})


def edit(rows, columns, value, *, add=False):
    """A plan whose states (and candidates) have other values at [rows, columns]."""

    def spoil(plan, context):
        states = plan.states.copy()
        states[rows, columns] = states[rows, columns] + value if add else value
        return replace(plan, states=states, candidates=None, scores={}, chosen=None)

    return spoil


def global_randomness(plan, context):
    np.random.random()  # noqa: NPY002


def mutate_scene(plan, context):
    context.scenario.position.setflags(write=True)
    context.scenario.position[0, 0, 0] += 1.0


def mutate_scene_and_lock_it_again(plan, context):
    mutate_scene(plan, context)
    context.scenario.position.setflags(write=False)


def unlock_scene(plan, context):
    context.scenario.valid.setflags(write=True)


def mutate_ego(plan, context):
    context.ego_trajectories[0].states[50] += 1.0


class Drives:
    """A sound controller: brakes with the ego, steers towards it, and remembers the speed it saw last."""

    def reset(self, plan, context):
        self.last = None

    def act(self, step, opponent, ego):
        speed = np.hypot(*ego[VX:])
        slower = self.last is not None and speed < self.last
        self.last = speed
        return np.array([0.01 * (ego[1] - opponent[1]), -0.5 if slower else 0.1])


class Forgetful(Drives):
    """Counts on over episodes."""

    calls = 0

    def act(self, step, opponent, ego):
        self.calls += 1
        return np.array([0.0, 0.5 if self.calls > 40 else 0.0])


class Shapeless(Drives):
    def act(self, step, opponent, ego):
        return np.zeros(3)


class Infinite(Drives):
    def act(self, step, opponent, ego):
        return np.array([0.0, np.inf])


class Meddling(Drives):
    def act(self, step, opponent, ego):
        ego[0] += 1.0
        return np.zeros(2)


class Peeping(Drives):
    """Changes what it watches."""

    def watch(self, step, states, valid, sizes):
        states[0] += 1.0


class Remembering(Drives):
    """Acts by how often it has watched, and never forgets."""

    seen = 0

    def watch(self, step, states, valid, sizes):
        self.seen += 1

    def act(self, step, opponent, ego):
        return np.array([0.0, 1.0 / (1.0 + self.seen)])


class Gambling(Drives):
    def act(self, step, opponent, ego):
        return np.random.random(2)  # noqa: NPY002


class Unpacked(Drives):
    def __init__(self):
        self.steer = lambda: 0.0


class Speechless:
    def reset(self, plan, context):
        pass


class CopiedBadly(Drives):
    """Loses what it was made with on the way to a worker."""

    gain = 0.0

    def __init__(self):
        self.gain = 0.3

    def __getstate__(self):
        return {}

    def __setstate__(self, state):
        pass

    def act(self, step, opponent, ego):
        return np.array([0.0, self.gain])


def taken_over(controller, step=40):
    return lambda plan, context: replace(plan, takeover_step=step, controller=controller())


def own_generator():
    rng = np.random.default_rng(0)
    return lambda plan, context: edit(slice(11, None), VX, rng.normal() * 0.1, add=True)(plan, context)


BROKEN = {
    "shape of states": (change(states=lambda plan: plan.states[:, :4]), r"shape \(91, 5\)"),
    "length": (change(states=lambda plan: plan.states[:80], valid=lambda plan: plan.valid[:80]), r"shape \(91, 5\)"),
    "lists": (change(states=lambda plan: plan.states.tolist()), "numpy array"),
    "dtype of valid": (change(valid=lambda plan: plan.valid.astype(float)), "dtype bool"),
    "integer states": (change(states=lambda plan: plan.states.astype(int)), "dtype floating"),
    "nan": (edit(40, 0, np.nan), "finite"),
    "no future": (change(valid=lambda plan: np.arange(91) <= 10), "valid row after step 10"),
    "history shifted by a row": (
        lambda plan, context: replace(plan, states=np.roll(plan.states, 1, axis=0), candidates=None, chosen=None),
        "must be the log's",
    ),
    "zero-padded late opponent": (
        lambda plan, context: (
            replace(plan, valid=np.ones(91, bool)) if context.scenario.id == "late opponent" else None
        ),
        "has not appeared",
    ),
    "teleport": (edit(slice(40, None), 0, 30.0, add=True), "must not jump"),
    "velocity in the wrong unit": (edit(slice(11, None), VX, 36.0), "velocities must be those of the positions"),
    "velocity per step": (edit(slice(11, None), [VX, VY], 0.0), "velocities must be those of the positions"),
    "heading in degrees": (edit(slice(11, None), HEADING, 90.0), "headings must follow"),
    "heading of the wrong sign": (
        lambda plan, context: edit(slice(11, None), HEADING, -plan.states[50, HEADING])(plan, context),
        "headings must follow",
    ),
    "chosen out of range": (change(chosen=lambda plan: 2), "chosen must lie in 0 … 1"),
    "chosen is another": (
        lambda plan, context: replace(plan, candidates=plan.candidates + 5.0),
        "chosen candidate must be the planned",
    ),
    "chosen without candidates": (change(candidates=lambda plan: None), "needs `candidates`"),
    "scores of another length": (change(scores=lambda plan: {"s": np.zeros(3)}), r"scores\['s'\].*shape \(2,\)"),
    "nan scores": (change(scores=lambda plan: {"s": np.array([0.0, np.nan])}), "must not be NaN"),
    "takeover in the past": (change(takeover_step=lambda plan: 5), "takeover_step"),
    "controller without a takeover": (taken_over(Drives, None), "needs a takeover_step"),
    "controller without act": (taken_over(Speechless), "must have `reset"),
    "controller that does not forget": (taken_over(Forgetful), "whatever was driven before"),
    "controller with three actions": (taken_over(Shapeless), "two numbers"),
    "controller with infinite actions": (taken_over(Infinite), "finite"),
    "controller that changes what it sees": (taken_over(Meddling), "change the states"),
    "controller that changes what it watches": (taken_over(Peeping), "change what it watches"),
    "controller that remembers what it watched": (taken_over(Remembering), "whatever was driven before"),
    "controller with global randomness": (taken_over(Gambling), "global one"),
    "controller that cannot be pickled": (taken_over(Unpacked), "pickled"),
    "controller that changes when copied": (taken_over(CopiedBadly), "as the original"),
    "arrays in info": (change(info=lambda plan: {"x": np.zeros(2)}), "scalar or a string"),
    "not a plan": (lambda plan, context: (plan.states, plan.valid), "AttackPlan or None"),
    "global randomness": (global_randomness, "global one"),
    "own generator": (own_generator(), "equal plans"),
    "mutates the scene": (mutate_scene, "change the scenario"),
    "mutates the scene secretly": (mutate_scene_and_lock_it_again, "change the scenario"),
    "unlocks the scene": (unlock_scene, "read-only"),
    "mutates the ego": (mutate_ego, "change the ego trajectories"),
}


def test_a_sound_adversary_passes():
    check_adversary(Sound(), scenes())
    check_adversary(Broken(taken_over(Drives)), scenes())


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_adversary_is_caught(case):
    spoil, message = BROKEN[case]
    with pytest.raises(ConformanceError, match=message) as caught:
        check_adversary(Broken(spoil), scenes())
    assert "adversary 'sound'" in str(caught.value)


def test_an_adversary_that_sometimes_gives_up_is_caught():
    class Moody(Sound):
        calls = 0

        def plan(self, context):
            self.calls += 1
            return super().plan(context) if self.calls % 2 else None

    with pytest.raises(ConformanceError, match="equal plans"):
        check_adversary(Moody(), scenes())


def test_nameless_and_planless_are_caught():
    class Nameless(Sound):
        name = ""

    class Planless:
        name = "x"

    with pytest.raises(ConformanceError, match="non-empty string"):
        check_adversary(Nameless(), scenes())
    with pytest.raises(ConformanceError, match="plan"):
        check_adversary(Planless(), scenes())
    with pytest.raises(ConformanceError, match="at least one scene"):
        check_adversary(Sound(), [straight_road(with_opponent=False)])


def test_a_context_needs_an_opponent():
    with pytest.raises(AdversaryError, match="no opponent"):
        attack_context(straight_road(with_opponent=False), np.random.default_rng(0))
