"""Two stages: what attacks aim at, and how failures are kept; with a fake simulator."""

import numpy as np
import pytest

from harness.episodes.ego_buffer import log_trajectory
from harness.episodes.protocol import PUBLISHED
from harness.episodes.two_stage import two_stages
from harness.errors import AdversaryError, NoAnswerError, PolicyError
from tests.sources import tiny_source
from tests.unit.envs.fakes import FakeCore, SpyAdversary, Straight


@pytest.fixture
def env():
    return FakeCore(tiny_source())


def test_every_attack_aims_at_the_undisturbed_drive(env):
    spies = [SpyAdversary(), SpyAdversary()]
    normal, *attacked = two_stages(env, Straight((0.02, 0.0)), spies, 0, intensity=0.7)
    assert (normal.episode.adversary, normal.episode.intensity, normal.attack.plan) == ("none", 0.0, None)
    assert [(played.episode.adversary, played.episode.intensity) for played in attacked] == [("spy", 0.7)] * 2
    for spy, played in zip(spies, attacked, strict=True):
        (context,) = spy.contexts
        (target,) = context.ego_trajectories
        assert np.array_equal(target.states, normal.episode.ego.states)
        assert not np.array_equal(target.states[:91], log_trajectory(env.source[0]).states)
        assert played.attack.plan is played.attack.planned is played.episode.plan


def test_as_published_aims_at_the_log_and_plays_late(env):
    spy = SpyAdversary()
    _, attacked = two_stages(env, Straight((0.02, 0.0)), [spy], 0, protocol=PUBLISHED)
    (target,) = spy.contexts[0].ego_trajectories
    assert np.array_equal(target.states, log_trajectory(env.source[0]).states)
    planned, played = attacked.attack.planned, attacked.episode.plan
    assert np.array_equal(played.states[11:], planned.states[10:-1])


class Breaks(Straight):
    def act(self, observation, view):
        raise KeyError("weights")


def test_a_failed_first_stage_fails_the_second_with_its_reason(env):
    spy = SpyAdversary()
    normal, attacked = two_stages(env, Breaks(), [spy], 1, intensity=0.5, seed=9)
    assert isinstance(normal.failure, PolicyError)
    assert (normal.episode.scenario_id, normal.episode.policy, normal.episode.seed) == ("crossing", "straight", 9)
    assert np.isnan(normal.episode.reward)
    assert attacked.episode.error == f"stage 1 failed: {normal.episode.error}"
    assert (attacked.episode.adversary, attacked.episode.intensity, attacked.failure) == ("spy", 0.5, None)
    assert spy.contexts == []


class Unsteady(Straight):
    """A program that gives no answer in its first `bad` episodes."""

    def __init__(self, bad, error=NoAnswerError):
        super().__init__((0.02, 0.0))
        self.bad, self.begun, self.error = bad, 0, error

    def reset(self, scenario, rng):
        super().reset(scenario, rng)
        self.begun += 1

    def act(self, observation, view):
        if self.begun <= self.bad:
            raise self.error("it has ended")
        return super().act(observation, view)


def test_who_gives_no_answer_is_tried_once_more(env, caplog):
    plain = next(two_stages(env, Straight((0.02, 0.0)), [], 0))
    again = next(two_stages(env, Unsteady(1), [], 0))
    assert "tried again" in caplog.text
    assert not again.episode.error
    assert np.array_equal(again.episode.ego.states, plain.episode.ego.states)
    policy = Unsteady(2)
    gone = next(two_stages(env, policy, [], 0))
    assert (policy.begun, isinstance(gone.failure, PolicyError)) == (2, True)
    assert "it has ended" in gone.episode.error
    broken = Unsteady(1, ValueError)
    assert next(two_stages(env, broken, [], 0)).episode.error
    assert broken.begun == 1


def test_a_scene_that_cannot_be_attacked_is_a_record(env):
    normal, attacked = two_stages(env, Straight(), [SpyAdversary()], 2)
    assert normal.episode.error == ""
    assert isinstance(attacked.failure, AdversaryError)
    assert "no opponent" in attacked.episode.error


def test_without_an_adversary_the_second_stage_repeats_the_first(env):
    first, second = two_stages(env, Straight((0.02, 0.0)), [None], 0)
    assert np.array_equal(first.episode.ego.states, second.episode.ego.states)
