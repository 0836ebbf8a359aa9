"""Worse sensors: noise, latency and dropped frames, all from the episode's seed; and observations of one's own."""

import numpy as np
import pytest

from ego_policies.adapters import CallablePolicy
from ego_policies.idm import IDMPolicy
from ego_policies.replay import ReplayPolicy
from ego_policies.sensed import SensedPolicy
from harness.checks.policy import log_view
from harness.episodes.policies import load_policy
from harness.errors import ConfigError, PolicyError
from tests.scenes import crossing

SCENE = crossing()
OBSERVATION = np.array([0.5, 0.25], np.float32)


class Notes:
    """Remembers what it saw."""

    name, control, observation, privileged, sees_futures = "notes", "action", "cat", True, True

    def reset(self, scenario, rng):
        self.seen, self.drawn, self.rng = [], [], rng

    def act(self, observation, view):
        self.seen.append((observation, view))
        self.drawn.append(self.rng.random())
        return np.zeros(2, np.float32)


def sensed(seed=0, steps=40, **options):
    """What a policy saw behind sensors, and the sensors."""
    notes = Notes()
    policy = SensedPolicy(notes, **options)
    policy.reset(SCENE, np.random.default_rng(seed))
    for step in range(10, 10 + steps):
        policy.act(OBSERVATION + np.float32(step), log_view(SCENE, step, futures="log"))
    return notes, policy


def test_without_options_everything_is_as_it_is():
    notes, policy = sensed()
    assert policy.name == "notes"
    for step, (observation, view) in enumerate(notes.seen, 10):
        true = log_view(SCENE, step, futures="log")
        assert np.array_equal(observation, OBSERVATION + np.float32(step))
        assert all(np.array_equal(getattr(view, key), getattr(true, key)) for key in ("ego", "agents", "route"))
    assert policy.measured() == {"sensor_dropped": 0.0, "sensor_age": 0.0}
    # The policy's own randomness is what it would be without sensors.
    assert notes.drawn == np.random.default_rng(0).random(40).tolist()


def test_latency_is_the_age_of_what_is_seen():
    notes, policy = sensed(latency=0.3)
    assert [view.step for _, view in notes.seen] == [10, 10, 10, *range(10, 47)]
    assert notes.seen[-1][0][0] == OBSERVATION[0] + 46
    assert policy.measured()["sensor_age"] == pytest.approx((0.0 + 0.1 + 0.2 + 37 * 0.3) / 40)


def test_dropped_frames_leave_the_last_one():
    notes, policy = sensed(drop=0.4, steps=60)
    steps = [view.step for _, view in notes.seen]
    ages = np.arange(10, 70) - steps
    assert steps == sorted(steps)
    assert policy.measured()["sensor_dropped"] == np.mean(ages > 0) == pytest.approx(0.4, abs=0.15)
    assert ages[0] == 0


def test_noise_has_its_size_and_leaves_the_ego_alone():
    notes, _ = sensed(position=0.5, heading=0.1, velocity=0.2, noise=0.05, steps=70)
    apart = []
    for step, (_, view) in enumerate(notes.seen, 10):
        true = log_view(SCENE, step, futures="log")
        assert np.array_equal(view.ego, true.ego)
        apart += list(view.agents - true.agents)
        ahead = view.futures - true.futures
        np.testing.assert_allclose(ahead, np.broadcast_to((view.agents - true.agents)[:, None], ahead.shape), atol=1e-9)
    assert np.std(apart, axis=0) == pytest.approx([0.5, 0.5, 0.1, 0.2, 0.2], rel=0.3)
    values = [observation - OBSERVATION - step for step, (observation, _) in enumerate(notes.seen, 10)]
    assert np.std(values) == pytest.approx(0.05, rel=0.3)


def test_draws_come_from_the_seed():
    first, second, other = (sensed(seed, drop=0.3, position=0.5)[0].seen for seed in (1, 1, 2))
    assert all(np.array_equal(a[1].agents, b[1].agents) for a, b in zip(first, second, strict=True))
    assert not all(np.array_equal(a[1].agents, b[1].agents) for a, b in zip(first, other, strict=True))
    # Latency changes no draw.
    late = sensed(1, drop=0.3, position=0.5, latency=0.1)[0].seen
    at_latest = next(view for _, view in late if view.step == 30)
    assert np.array_equal(at_latest.agents, next(view for _, view in first if view.step == 30).agents)


def test_who_wants_no_observation_draws_the_same_in_every_simulator():
    class Blind(Notes):
        observation = "none"

    def places(numbers):
        notes = Blind()
        policy = SensedPolicy(notes, position=0.5, drop=0.3)
        policy.reset(SCENE, np.random.default_rng(0))
        for step in range(10, 20):
            policy.act(np.zeros(numbers, np.float32), log_view(SCENE, step))
        return [view.agents for _, view in notes.seen]

    assert all(np.array_equal(a, b) for a, b in zip(places(112), places(161), strict=True))


@pytest.mark.parametrize(("latency", "age"), [(0.05, 0.1), (0.25, 0.3), (0.3, 0.3), (0.0, 0.0)])
def test_a_frame_is_not_seen_before_it_has_arrived(latency, age):
    view = sensed(latency=latency)[0].seen[-1][1]
    assert (49 - view.step) * view.dt == pytest.approx(age)


def speeds(view):
    """An observation function."""
    return view.ego[3:]


def nothing(view):
    return None


def test_an_observation_of_ones_own():
    policy = SensedPolicy(CallablePolicy(lambda observation: observation / 20.0), observe=speeds)
    assert (policy.observation, policy.privileged) == ("none", True)
    policy.reset(SCENE, np.random.default_rng(0))
    view = log_view(SCENE, 20)
    np.testing.assert_allclose(policy.act(np.zeros(0, np.float32), view), view.ego[3:] / 20.0, rtol=1e-6)
    broken = SensedPolicy(CallablePolicy(lambda observation: observation), observe=nothing)
    broken.reset(SCENE, np.random.default_rng(0))
    with pytest.raises(PolicyError, match=r"observation function gave .* at step 20, expected a row of finite numbers"):
        broken.act(np.zeros(0, np.float32), view)


@pytest.mark.parametrize(
    "options", [{"noise": -1}, {"latency": 11}, {"drop": 1.0}, {"position": "far"}, {"heading": True}, {"observe": 5}]
)
def test_options_that_cannot_work(options):
    with pytest.raises(ConfigError, match="expected"):
        SensedPolicy(IDMPolicy(), **options)
    with pytest.raises(ConfigError, match="senses nothing"):
        SensedPolicy(ReplayPolicy(), latency=0.1)


def test_options_behind_any_name():
    policy = load_policy("idm?latency=0.2&drop=0.1")
    assert (policy.name, policy.privileged, policy.observation) == ("idm_latency0.2_drop0.1", True, "none")
    here = "tests.unit.ego_policies.test_sensed"
    policy = load_policy(f"{here}:nothing?observe={here}:speeds", name="mine")
    assert (policy.name, policy.observation, policy.privileged) == ("mine", "none", True)
    for spec, message in (
        ("idm?observe=speeds", "as module:name"),
        ("idm?latency=1&speed=2", "no option 'speed'"),
        ("sensed", "wraps another one"),
        ("tracked?planner=x", "wraps another one"),
        ("idm?noise=0.1", "noise does nothing"),
        (f"{here}:nothing?position=0.5", "reads no true states"),
        ("replay?drop=0.5", "senses nothing"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_policy(spec)
