"""Episodes, jobs and failures; with a fake simulator."""

from dataclasses import fields

import numpy as np
import pytest

from harness.episodes.ego_buffer import EgoBuffer, log_trajectory
from harness.episodes.rollout import EpisodeJob, check_observation, run_episode, run_many, run_two_stage
from harness.errors import AdversaryError, ConfigError, PolicyError
from harness.interfaces import Episode
from tests.sources import tiny_source
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


def test_the_two_stages_aim_the_attack_at_the_first_drive(env):
    spy = SpyAdversary()
    normal, attacked = run_two_stage(env, Straight((0.02, 0.0)), spy, 0, intensity=0.7)
    assert (normal.adversary, normal.plan, attacked.adversary, attacked.intensity) == ("none", None, "spy", 0.7)
    (context,) = spy.contexts
    (target,) = context.ego_trajectories
    assert np.array_equal(target.states, normal.ego.states)
    assert not np.array_equal(target.states[:91], log_trajectory(env.source[0]).states)


def test_as_published_aims_at_the_log(env):
    spy = SpyAdversary()
    run_two_stage(env, Straight((0.02, 0.0)), spy, 0, protocol="as-published")
    (target,) = spy.contexts[0].ego_trajectories
    assert np.array_equal(target.states, log_trajectory(env.source[0]).states)


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


def test_many_episodes_in_order_with_progress_and_shared_buffers(env):
    spy = SpyAdversary()
    seen = []
    jobs = [EpisodeJob(0, "a"), EpisodeJob(0, "b"), EpisodeJob(0, "a", "spy"), EpisodeJob(1, "a", "spy")]
    policies = {"a": Straight((0.02, 0.0)), "b": Straight((0.04, 0.0))}
    buffers = {}
    episodes = list(
        run_many(
            env,
            jobs,
            policies,
            {"spy": spy},
            ego_buffers=buffers,
            progress=lambda done, e: seen.append((done, e.steps)),
        )
    )
    assert [done for done, _ in seen] == [1, 2, 3, 4]
    # The attack on "a" aims at what "a" did, not "b".
    assert np.array_equal(spy.contexts[0].ego_trajectories[-1].states, episodes[0].ego.states)
    assert np.array_equal(spy.contexts[1].ego_trajectories[-1].states, log_trajectory(env.source[1]).states)
    assert set(buffers) == {"a", "b"}
    assert isinstance(buffers["a"], EgoBuffer)


def test_failed_episodes_are_recorded_never_dropped(env):
    jobs = [EpisodeJob(0, "good"), EpisodeJob(1, "nan", seed=9), EpisodeJob(2, "good", "spy"), EpisodeJob(0, "good")]
    policies = {"good": Straight(), "nan": Nan()}
    episodes = list(run_many(env, jobs, policies, {"spy": SpyAdversary()}, on_error="record"))
    assert [bool(episode.error) for episode in episodes] == [False, True, True, False]
    failed = episodes[1]
    assert (failed.scenario_id, failed.policy, failed.seed) == ("crossing", "nan", 9)
    assert "not finite" in failed.error
    assert np.isnan(failed.reward)
    assert np.isnan(failed.route_completion)
    assert "no opponent" in episodes[2].error
    with pytest.raises(PolicyError):
        list(run_many(env, jobs, policies, {"spy": SpyAdversary()}))


def test_unknown_names_in_jobs(env):
    with pytest.raises(ConfigError, match="no policy 'x' among a"):
        list(run_many(env, [EpisodeJob(0, "x")], {"a": Straight()}))
    with pytest.raises(ConfigError, match="no adversary 'y'"):
        list(run_many(env, [EpisodeJob(0, "a", "y")], {"a": Straight()}))
