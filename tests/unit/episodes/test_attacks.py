"""One attack path: what an adversary is told, what is played of its plan, what a curriculum hears of it."""

import numpy as np
import pytest

from harness.engine.recording import Recording
from harness.episodes.attacks import Attack, attack_context, one_step_late, outcome_of, plan_attack
from harness.episodes.ego_buffer import log_trajectory
from harness.episodes.protocol import PUBLISHED
from harness.errors import AdversaryError
from harness.interfaces import Trajectory
from tests.sources import tiny_source
from tests.unit.envs.fakes import SpyAdversary

ROAD, _, LONELY = tiny_source().scenes


def rng():
    return np.random.default_rng(0)


def test_by_default_the_logged_ego_is_attacked_in_its_logged_size():
    context = attack_context(ROAD, rng())
    (ego,) = context.ego_trajectories
    assert np.array_equal(ego.states, log_trajectory(ROAD).states)
    assert (context.ego_size, context.opponent, context.step, context.intensity) == (ROAD.box(0), 1, 10, 1.0)
    other = Trajectory(ego.states + 1.0, ego.valid)
    told = attack_context(ROAD, rng(), intensity=0.3, ego=(ego, other), ego_size=(5.0, 2.0))
    assert (told.ego_trajectories, told.ego_size, told.intensity) == ((ego, other), (5.0, 2.0), 0.3)


def test_a_scene_without_an_opponent_raises_or_tells():
    with pytest.raises(AdversaryError, match="no opponent"):
        plan_attack(SpyAdversary(), LONELY, rng())
    told = plan_attack(SpyAdversary(), LONELY, rng(), intensity=0.4, on_error="tell")
    assert (told.plan, told.planned, told.intensity, told.played_intensity) == (None, None, 0.4, 0.0)
    assert "no opponent" in told.error


@pytest.mark.parametrize(("plan", "said"), [(lambda _: 1 / 0, "ZeroDivisionError"), (lambda _: {}, "gave dict")])
def test_an_adversary_with_a_fault_of_its_own_is_named_and_not_played_around(plan, said):
    spy = SpyAdversary()
    spy.plan = plan
    with pytest.raises(AdversaryError, match=f"adversary 'spy' .*{ROAD.id}.*{said}"):
        plan_attack(spy, ROAD, rng(), on_error="tell")


def test_nobody_attacks_without_an_adversary_even_without_an_opponent():
    spy = SpyAdversary()
    spy.name = "none"
    for nobody in (None, spy):
        assert plan_attack(nobody, LONELY, rng()) == Attack(intensity=1.0)
    assert spy.contexts == []


def test_plans_are_late_only_as_published():
    now = plan_attack(SpyAdversary(), ROAD, rng())
    assert now.plan is now.planned
    late = plan_attack(SpyAdversary(), ROAD, rng(), protocol=PUBLISHED)
    assert np.array_equal(late.planned.states, now.planned.states)
    assert np.array_equal(late.plan.states, one_step_late(now.planned, 10).states)
    assert late.seconds > 0.0


@pytest.mark.parametrize(
    ("contact", "geometry", "crashed"), [([], [], False), ([7], [], True), ([], [7], True), ([0], [], True)]
)
def test_what_a_crash_is(contact, geometry, crashed):
    never = np.zeros(91, bool)
    flags = [never.copy(), never.copy()]
    for row, steps in zip(flags, (contact, geometry), strict=True):
        row[steps] = True
    ego = log_trajectory(ROAD)
    recording = Recording("s", 90, ego, None, ego.states[None], ego.valid[None], *flags, never)
    info = {"route_completion": 0.5, "arrive_dest": False, "out_of_road": True}
    outcome = outcome_of(Attack(intensity=0.7), recording, info)
    assert (outcome.crashed, outcome.off_road) == (crashed, True)
    assert (outcome.attacked, outcome.intensity, outcome.route_completion) == (False, 0.0, 0.5)
