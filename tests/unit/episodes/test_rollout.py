"""Episodes and failures; with a fake simulator."""

from dataclasses import fields

import numpy as np
import pytest

from harness.episodes.rollout import check_observation, run_episode
from harness.errors import AdversaryError, ConfigError, PolicyError
from harness.interfaces import Episode
from tests.scenes import straight_road
from tests.sources import ListSource, tiny_source
from tests.unit.envs.fakes import FakeCore, SpyAdversary, Straight


@pytest.fixture
def env():
    return FakeCore(tiny_source())


def same(one, other):
    for field in fields(Episode):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name in ("ego", "opponent", "plan", "agents", "agents_valid"):
            continue
        if a != b and not (a != a and b != b):
            return False
    return np.array_equal(one.ego.states, other.ego.states)


def test_the_record_holds_what_happened(env):
    episode = run_episode(env, Straight(), None, 0, seed=4)
    assert (episode.scenario_id, episode.policy, episode.adversary) == ("straight_road", "straight", "none")
    assert (episode.steps, episode.reward, episode.cost) == (87, 87.0, 0.0)
    assert (episode.arrived, episode.off_road, episode.truncated) == (True, False, False)
    assert episode.route_completion == pytest.approx(87 / 90)
    assert (episode.crash_geometry, episode.crash_contact, episode.crashed) == (40, None, True)
    assert (episode.mean_speed, episode.mean_jerk) == (pytest.approx(10.0), pytest.approx(0.0))
    assert (episode.intensity, episode.seed, episode.plan, episode.error) == (0.0, 4, None, "")
    assert np.array_equal(episode.ego.states[:88], env.source[0].states(0)[:88])
    assert episode.ego.valid.sum() == 88


def test_off_road_and_time_out_are_told_apart():
    source = tiny_source()
    sideways = run_episode(FakeCore(source), Straight((0.5, 0.0)), None, 0)
    # 0.5 m per step: beyond 10 m at step 21.
    assert (sideways.steps, sideways.off_road, sideways.arrived, sideways.cost) == (21, True, False, 1.0)
    short = run_episode(FakeCore(source, horizon=30), Straight(), None, 0)
    assert (short.steps, short.truncated, short.off_road) == (30, True, False)


def test_equal_seeds_give_equal_episodes_and_other_seeds_other_ones(env):
    class Noisy(Straight):
        def reset(self, scenario, rng):
            self.rng = rng

        def act(self, observation, view):
            return np.array([self.rng.uniform(-0.1, 0.1) + 0.1 * observation[5], 0.0])

    def run(seed):
        return run_episode(env, Noisy(), SpyAdversary(), 1, seed=seed)

    assert same(run(1), run(1))
    assert np.array_equal(run(1).plan.states, run(1).plan.states)
    assert not same(run(1), run(2))
    assert not np.array_equal(run(1).plan.states, run(2).plan.states)


def test_a_replay_policy_is_never_asked_to_act(env):
    from ego_policies.replay import ReplayPolicy

    episode = run_episode(env, ReplayPolicy(), None, 0)
    assert env.resets[-1]["ego"] == "replay"
    assert episode.steps == 87


class Fails(Straight):
    def act(self, observation, view):
        if view.step == 5:
            raise KeyError("weights")
        return self.action


class FailsAtReset(Straight):
    def reset(self, scenario, rng):
        raise RuntimeError("no GPU")


class Nan(Straight):
    def act(self, observation, view):
        return np.array([0.0, np.nan]) if view.step == 7 else self.action


class Wrong(Straight):
    def act(self, observation, view):
        return np.zeros(3)


FAILURES = [
    (Fails(), r"policy 'straight' failed at step 5 of scene crossing: KeyError: 'weights'"),
    (FailsAtReset(), r"failed at step 0 of scene crossing: RuntimeError: no GPU"),
    (Nan(), r"policy 'straight' at step 7 of scene crossing: .*not finite"),
    (Wrong(), r"at step 0 of scene crossing: .*shape \(3,\)"),
]


@pytest.mark.parametrize(("policy", "message"), FAILURES)
def test_a_failing_policy_is_one_clear_error(env, policy, message):
    with pytest.raises(PolicyError, match=message):
        run_episode(env, policy, None, 1)


def test_interrupts_are_not_taken_for_policy_failures(env):
    class Interrupted(Straight):
        def act(self, observation, view):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_episode(env, Interrupted(), None, 0)


def test_a_scene_without_opponent_cannot_be_attacked(env):
    with pytest.raises(AdversaryError, match="no opponent"):
        run_episode(env, Straight(), SpyAdversary(), 2)


def test_the_observation_must_be_the_policys(env):
    other = Straight()
    other.observation = "metadrive"
    with pytest.raises(ConfigError, match=r"'metadrive'.*gives 'cat'"):
        run_episode(env, other, None, 0)
    sized = Straight()
    sized.observation_size = 101
    with pytest.raises(ConfigError, match=r"101 observation values.*112"):
        check_observation(env, sized)


def test_scenes_whose_names_are_equally_long_draw_other_numbers():
    drawn = []
    for name in ("300", "399"):
        source = ListSource([straight_road(scene_id=name)])
        drawn.append(run_episode(FakeCore(source), Straight(), SpyAdversary(), 0, seed=4).plan.states)
    assert not np.array_equal(*drawn)
