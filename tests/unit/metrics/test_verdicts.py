"""A contact judged from the record of an episode."""

from dataclasses import replace

import numpy as np
import pytest

from harness.interfaces import AttackPlan, Episode, Trajectory
from harness.metrics.verdicts import beyond_care, escapes, judge_contact
from scenarios.scenario import Kind, Scenario
from tests.scenes import CAR, STEPS, Agent, kerbside, lasting, straight_road

SIZE = CAR[:2]


def episode(scenario: Scenario, *, attacked: np.ndarray | None = None, steps: int = STEPS, error: str = "") -> Episode:
    """Everyone as logged, the opponent as attacked; the recording ends after `steps` rows."""
    states = np.stack([scenario.states(agent) for agent in range(scenario.num_agents)])
    valid = scenario.valid.copy()
    plan = None
    if attacked is not None and scenario.opponent is not None:
        states[scenario.opponent] = attacked
        plan = AttackPlan(attacked, np.ones(STEPS, dtype=bool))
    valid[:, steps:] = False
    states[:, steps:] = 0.0
    ego = Trajectory(states[scenario.ego], valid[scenario.ego])
    return Episode(
        scenario_id=scenario.id,
        policy="replay",
        adversary="cat" if plan is not None else "none",
        intensity=1.0,
        seed=0,
        ego=ego,
        opponent=None,
        agents=states,
        agents_valid=valid,
        plan=plan,
        steps=steps,
        reward=0.0,
        cost=0.0,
        route_completion=1.0,
        arrived=True,
        off_road=False,
        truncated=False,
        crash_contact=None,
        crash_geometry=None,
        crash_opponent=None,
        mean_speed=10.0,
        mean_jerk=0.0,
        error=error,
    )


def of_length(scenario: Scenario, rows: int, steps: int, planned: int) -> Episode:
    """A cut-in at step 20 in `rows` rows of which `steps` were driven, by a plan of `planned` rows."""
    whole = episode(scenario, attacked=cutting_in(scenario, 20), steps=steps)
    long = np.zeros((scenario.num_agents, rows, 5))
    long[:, : min(rows, STEPS)] = whole.agents[:, :rows]
    valid = np.zeros(long.shape[:2], dtype=bool)
    valid[:, : min(rows, STEPS)] = whole.agents_valid[:, :rows]
    assert whole.plan is not None
    plan = AttackPlan(whole.plan.states[:planned], whole.plan.valid[:planned])
    ego = Trajectory(long[scenario.ego], valid[scenario.ego])
    return replace(whole, ego=ego, agents=long, agents_valid=valid, plan=plan)


def cutting_in(scenario: Scenario, begin: int, duration: float = 1.0) -> np.ndarray:
    """The logged opponent, over to the ego's lane within `duration` s from step `begin` on."""
    assert scenario.opponent is not None
    states = scenario.states(scenario.opponent)
    share = np.clip((np.arange(STEPS) - begin) / (duration * 10), 0, 1)
    states[:, 1] *= 1 - share
    return states


def test_attack_by_cutting_in() -> None:
    # 4.5 m ahead of the ego's front at step 20, 6 m/s slower, over within 1 s: too late for any driver.
    scenario = straight_road(ego_speed=14, opponent_speed=8, opponent_gap=21)
    found = judge_contact(scenario, episode(scenario, attacked=cutting_in(scenario, 20)), SIZE)
    assert found is not None
    assert found.is_opponent
    assert found.visible_step == 22  # 0.35 m after one step, 0.70 m after two
    assert found.contact_step == 28  # 16.5 m at 6 m/s
    assert (found.impact.ego_speed, found.impact.relative_speed) == pytest.approx((14.0, 6.0))
    assert (found.fault.party, found.fault.kind) == ("opponent", "cut_in")
    assert not found.competent.prevented
    assert not found.fuzzy.prevented


@pytest.mark.parametrize(
    ("scene", "rows", "driven", "planned"),
    [(60, 60, 60, 60), (60, 91, 60, 60), (60, 91, 40, 60), (60, 60, 40, 91), (40, 40, 40, 30), (199, 199, 91, 91)],
)
def test_a_contact_is_judged_whatever_the_lengths(scene: int, rows: int, driven: int, planned: int) -> None:
    whole = straight_road(ego_speed=14, opponent_speed=8, opponent_gap=21)
    found = judge_contact(lasting(whole, scene), of_length(whole, rows, driven, planned), SIZE)
    assert found is not None
    assert (found.contact_step, found.visible_step) == (28, 22)
    assert (found.fault.party, found.fault.kind) == ("opponent", "cut_in")
    assert not found.competent.prevented


def test_cut_in_with_room() -> None:
    # Comes over 40 m ahead: everyone could have braked, and the ego is to blame.
    scenario = straight_road(ego_speed=14, opponent_speed=8, opponent_gap=56)
    found = judge_contact(scenario, episode(scenario, attacked=cutting_in(scenario, 20)), SIZE)
    assert found is not None
    assert found.avoidability.avoidable
    assert found.competent.prevented
    assert found.fuzzy.prevented
    assert (found.fault.party, found.fault.kind) == ("ego", "rear_end")
    assert not beyond_care(found)


def test_plan_goes_on_where_the_recording_ends() -> None:
    # The recording ends two steps after the contact, when the opponent begins to pull away at 30 m/s: with its plan
    # the ego need only wait; at constant velocity it would have to stop.
    scenario = straight_road(ego_speed=10, opponent_speed=2, opponent_gap=30, opponent_offset=0.0)
    attacked = scenario.states(1)
    leaving = np.maximum(np.arange(STEPS) - 34, 0) * 0.1
    attacked[:, 0] += 28 * leaving
    attacked[:, 3] += np.where(leaving > 0, 28.0, 0.0)
    full, cut = (episode(scenario, attacked=attacked, steps=steps) for steps in (STEPS, 34))
    found, ended = judge_contact(scenario, full, SIZE), judge_contact(scenario, cut, SIZE)
    assert found is not None
    assert ended is not None
    assert found.contact_step == ended.contact_step == 32
    assert found.avoidability.unavoidable_from_step == ended.avoidability.unavoidable_from_step


def test_contact_with_a_bystander_is_visible_from_the_start() -> None:
    scenario = straight_road(ego_speed=15, opponent_gap=-60, extra=[Agent("parked", 60.0, 0.0, speed=0.0)])
    found = judge_contact(scenario, episode(scenario), SIZE)
    assert found is not None
    assert found.agent == 2
    assert not found.is_opponent
    assert found.visible_step == 11
    assert (found.fault.party, found.fault.kind) == ("ego", "hit_stopped")
    assert found.avoidability.avoidable
    # The same with the opponent, whose attack would only have begun later.
    scenario = straight_road(ego_speed=15, opponent_speed=0, opponent_gap=60, opponent_offset=0.0)
    found = judge_contact(scenario, episode(scenario, attacked=cutting_in(scenario, 60)), SIZE)
    assert found is not None
    assert found.is_opponent
    assert found.visible_step == 11
    assert found.avoidability.avoidable


def test_a_contact_at_the_first_step_is_judged() -> None:
    # 1 m per step nearer to a standing car: the boxes meet at step 11.
    scenario = straight_road(ego_speed=10, opponent_speed=0, opponent_gap=15.5, opponent_offset=0.0)
    found = judge_contact(scenario, episode(scenario), SIZE)
    assert found is not None
    assert found.contact_step == 11
    assert not found.avoidability.avoidable
    assert not found.competent.prevented
    assert not found.fuzzy.prevented
    assert beyond_care(found)
    # Half a step nearer they met at step 10 already, and no step that counts could have changed that.
    scenario = straight_road(ego_speed=10, opponent_speed=0, opponent_gap=14.5, opponent_offset=0.0)
    assert judge_contact(scenario, episode(scenario), SIZE) is None


def test_whoever_is_struck_from_behind_could_have_been_careful_in_vain() -> None:
    # A truck of the log comes up from behind and does not brake. There is room to pull over: the search escapes.
    truck = Agent("truck", -30.0, 0.0, speed=14.0)
    scenario = straight_road(ego_speed=8, opponent_gap=40, extra=[truck])
    found = judge_contact(scenario, episode(scenario), SIZE)
    assert found is not None
    assert (found.fault.party, found.fault.kind, found.fault.ego_face) == ("opponent", "rear_end", "rear")
    assert found.avoidability.avoidable
    assert beyond_care(found)
    # The ego that drives into the rear of another is not excused.
    scenario = straight_road(ego_speed=14, opponent_speed=8, opponent_gap=30, opponent_offset=0.0)
    found = judge_contact(scenario, episode(scenario), SIZE)
    assert (found.fault.party, found.fault.kind) == ("ego", "rear_end")
    assert not beyond_care(found)


def test_no_contact_and_failed_episode() -> None:
    scenario = straight_road()
    assert judge_contact(scenario, episode(scenario), SIZE) is None
    assert not beyond_care(None)
    crash = straight_road(ego_speed=15, opponent_speed=0, opponent_gap=40, opponent_offset=0.0)
    assert judge_contact(crash, episode(crash, error="broken"), SIZE) is None
    assert judge_contact(crash, episode(crash), SIZE) is not None


def escaped(scenario: Scenario, attacked: np.ndarray, escape: str = "avoidable", rows: slice = slice(None), **more):
    """Whether a driver in the place of the logged ego, who was there in these rows, escapes a plan."""
    valid = np.zeros(STEPS, dtype=bool)
    valid[rows] = True
    drive = Trajectory(scenario.states(scenario.ego), valid)
    return escapes(scenario, AttackPlan(attacked, np.ones(STEPS, dtype=bool)), drive, SIZE, escape, **more)


def test_who_escapes_a_plan() -> None:
    # The scenes of the cut-ins above: too late for the careful human, and with room for everyone.
    late = straight_road(ego_speed=14, opponent_speed=8, opponent_gap=21)
    room = straight_road(ego_speed=14, opponent_speed=8, opponent_gap=56)
    assert not escaped(late, cutting_in(late, 20), "preventable")
    assert escaped(room, cutting_in(room, 20), "preventable")
    assert escaped(room, cutting_in(room, 20))
    # Another car that is suddenly where the ego is leaves nobody a way out.
    sudden = room.states(1)
    sudden[12:] = room.states(0)[12:]
    assert not escaped(room, sudden)
    assert not escaped(room, sudden, "preventable")
    # An ego that had ended before, or that is not attacked, had nothing to escape.
    assert escaped(room, sudden, rows=slice(0, 12))
    assert escaped(room, room.states(1))
    # One that begins right there has no way out either.
    assert not escaped(room, sudden, rows=slice(20, None))


def test_without_road_edges_the_competent_driver_decides() -> None:
    scenes = [straight_road(ego_speed=14, opponent_speed=8, opponent_gap=gap, edges=False) for gap in (21, 56)]
    assert [escaped(scene, cutting_in(scene, 20)) for scene in scenes] == [False, True]


def test_contacts_with_bystanders_may_be_passed_over() -> None:
    # As above: a standing car that nobody avoids at the first step that counts.
    scenario = straight_road(ego_speed=10, opponent_gap=40, extra=[Agent("parked", 15.5, 0.0, speed=0.0)])
    assert not escaped(scenario, scenario.states(1))
    assert escaped(scenario, scenario.states(1), opponent_only=True)


def test_a_drive_of_another_length_than_the_scene_is_judged() -> None:
    scenario = straight_road(ego_speed=14, opponent_speed=8, opponent_gap=21)
    plan = AttackPlan(cutting_in(scenario, 20), np.ones(STEPS, dtype=bool))
    for rows in (40, STEPS, 150):
        drive = Trajectory(np.resize(scenario.states(0), (rows, 5)), np.arange(rows) < STEPS)
        assert not escapes(scenario, plan, drive, SIZE, "preventable")


def test_an_opponent_on_foot_is_judged_and_a_bystander_is_not() -> None:
    scene = kerbside(y=-2.0, extra=[Agent("bystander", 20.0, 0.0, 0.0, 0.0, Kind.PEDESTRIAN, (0.8, 0.8, 1.75))])
    attacked = scene.states(scene.opponent).copy()
    attacked[20:, 1] = np.minimum(-2.0 + 0.14 * np.arange(71), 0.0)
    attacked[20:34, 4] = 1.4
    verdict = judge_contact(scene, episode(scene, attacked=attacked), SIZE)
    # The ego's front, 2.25 m ahead of its centre, meets the box of 0.8 m at x = 39.6 m after 3.74 s.
    assert (verdict.agent, verdict.contact_step, verdict.is_opponent) == (scene.opponent, 38, True)
    assert verdict.fault is None
    assert verdict.avoidability.avoidable
    assert not beyond_care(verdict)
    assert judge_contact(scene.with_opponent(None), episode(scene.with_opponent(None)), SIZE) is None
