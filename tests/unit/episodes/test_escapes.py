"""Which attacks are played in training: verdicts that are made once, and what becomes of an attack that is refused."""

import numpy as np
import pytest

from harness.episodes.attacks import plan_attack
from harness.episodes.ego_buffer import log_trajectory
from harness.episodes.escapes import EscapePrecondition, precondition_of, with_regret
from harness.interfaces import AttackPlan, EpisodeOutcome, Trajectory
from harness.metrics.verdicts import escapes
from tests.scenes import CAR, STEPS, Agent, straight_road

SCENE = straight_road(ego_speed=14, opponent_speed=8, opponent_gap=56)
SIZE = CAR[:2]


class Sudden:
    """Is where the ego is from a step on."""

    name = "sudden"

    def __init__(self, step):
        self.step = step

    def plan(self, context):
        states = context.scenario.states(context.opponent)
        states[self.step :] = context.ego_trajectories[-1].states[self.step :]
        return AttackPlan(states, np.ones(STEPS, bool))


def test_a_verdict_is_made_once():
    judge, drive = EscapePrecondition("avoidable"), log_trajectory(SCENE)
    attack = plan_attack(Sudden(12), SCENE, np.random.default_rng(0)).plan
    assert [judge(SCENE, attack, drive, SIZE) for _ in range(3)] == [False] * 3
    assert judge.judged == 1
    harmless = AttackPlan(SCENE.states(1), np.ones(STEPS, bool))
    assert judge(SCENE, harmless, drive, SIZE)
    # Another drive, which ended before.
    assert judge(SCENE, attack, Trajectory(drive.states, np.arange(STEPS) < 12), SIZE)
    assert judge.judged == 3


def test_a_contact_with_somebody_else_is_no_fault_of_the_attack():
    x, y = SCENE.states(0)[14, :2]
    blocked = straight_road(ego_speed=14, opponent_speed=8, opponent_gap=56, extra=(Agent("parked", x, y, 0.0, 0.0),))
    plan, drive = AttackPlan(blocked.states(1), np.ones(STEPS, bool)), log_trajectory(blocked)
    assert EscapePrecondition("preventable")(blocked, plan, drive, SIZE)
    assert not escapes(blocked, plan, drive, SIZE, "preventable")


def test_an_attack_that_nobody_escapes_leaves_the_scene_as_recorded():
    told = plan_attack(
        Sudden(12), SCENE, np.random.default_rng(0), intensity=0.5, precondition=EscapePrecondition("avoidable")
    )
    assert (told.plan, told.refused, told.error, told.played_intensity) == (None, True, "", 0.0)
    assert told.planned is not None


def test_the_newest_drive_decides():
    asked = []

    def note(scenario, plan, drive, ego_size):
        asked.append((drive, ego_size))
        return True

    log = log_trajectory(SCENE)
    newest = Trajectory(log.states + 1.0, log.valid)
    told = plan_attack(
        Sudden(12), SCENE, np.random.default_rng(0), ego=(log, newest), ego_size=(5.0, 2.0), precondition=note
    )
    assert (told.plan is told.planned, told.refused) == (True, False)
    assert asked == [(newest, (5.0, 2.0))]
    plan_attack(Sudden(12), SCENE, np.random.default_rng(0), precondition=note)
    assert asked[-1][1] == SCENE.box(0)


def test_all_attacks_are_played_by_default():
    assert precondition_of("all") is None
    assert precondition_of("preventable").escape == "preventable"


def regret(plan=None, steps=STEPS, **facts):
    """The regret of an episode in which the ego drove its log for so many steps."""
    outcome = EpisodeOutcome(True, 1.0, **{"crashed": False, "route_completion": 0.2, "arrived": False, **facts})
    drive = Trajectory(SCENE.states(0), np.arange(STEPS) < steps)
    told = with_regret(outcome, SCENE, plan, drive, SIZE)
    assert (told.scene, told.attacked) == (SCENE.id, True)
    return told.regret


def test_regret_by_hand():
    ones = np.ones(STEPS, bool)
    beside = AttackPlan(SCENE.states(1), ones)
    unavoidable = plan_attack(Sudden(12), SCENE, np.random.default_rng(0)).plan
    assert regret(beside, crashed=True) == 1.0
    assert regret(unavoidable, crashed=True) == 0.0
    # Who cuts in with room is met by nobody who brakes in time.
    cut_in = SCENE.states(1)
    cut_in[:, 1] *= 1 - np.clip((np.arange(STEPS) - 20) / 10, 0, 1)
    assert regret(AttackPlan(cut_in, ones), crashed=True) == 1.0
    assert regret(beside, off_road=True) == 1.0
    assert regret(beside, arrived=True) == 0.0
    # When the time was up, after 45 of 90 steps at constant speed, the log had come half-way.
    assert regret(beside, steps=46) == pytest.approx(0.3)
    assert regret(beside, steps=46, route_completion=0.9) == 0.0
    assert regret(beside, route_completion=float("nan")) == 0.0
