"""Numbers of episodes that can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from harness.attacks.open_loop import judge
from harness.benchmarking.scores import Case, profiles, score
from harness.episodes.attacks import attack_context, one_step_late
from harness.episodes.protocol import CORRECTED, PROTOCOLS, PUBLISHED
from harness.interfaces import AttackPlan, Episode, Trajectory
from scenarios.scenario import Scenario
from tests.scenes import Agent, straight_road


def episode_of(scene: Scenario, opponent: Trajectory | None = None, **more: object) -> Episode:
    """The scene as an episode with a replayed ego, and another opponent where given."""
    agent = scene.opponent
    logged = None if agent is None else Trajectory(scene.states(agent), scene.valid[agent])
    agents, agents_valid = np.stack([scene.states(row) for row in range(scene.num_agents)]), scene.valid.copy()
    if opponent is not None:
        agents[agent], agents_valid[agent] = opponent
    values: dict[str, object] = {
        "scenario_id": scene.id, "policy": "replay", "adversary": "x", "intensity": 1.0, "seed": 0,
        "ego": Trajectory(scene.states(scene.ego), scene.valid[scene.ego]), "opponent": opponent or logged,
        "agents": agents, "agents_valid": agents_valid,
        "plan": None, "steps": 90, "reward": 1.0, "cost": 0.0, "route_completion": 1.0, "arrived": True,
        "off_road": False, "truncated": False, "crash_contact": None, "crash_geometry": None, "crash_opponent": None,
        "mean_speed": 10.0, "mean_jerk": 0.0,
    }  # fmt: skip
    return Episode(**{**values, **more})  # type: ignore[arg-type]


def ahead(scene: Scenario, gap: float, start: int = 30) -> AttackPlan:
    """The opponent jumps in front of the ego at step `start` and stays `gap` m ahead (centres)."""
    assert scene.opponent is not None
    states = scene.states(scene.opponent).copy()
    states[start:] = scene.states(scene.ego)[start:]
    states[start:, 0] += gap
    return AttackPlan(states, np.ones(len(states), bool))


def case_of(scene: Scenario, plan: AttackPlan | None, **more: object) -> Case:
    played = None if plan is None else Trajectory(plan.states, plan.valid)
    contact = more.pop("crash_contact", None)
    values: dict[str, object] = {
        "scenario": scene, "episode": episode_of(scene, played, crash_contact=contact, plan=plan),
        "undisturbed": episode_of(scene), "plan": plan, "ego_size": scene.box(scene.ego), "protocol": CORRECTED,
    }  # fmt: skip
    return Case(**{**values, **more})  # type: ignore[arg-type]


def test_a_hit() -> None:
    scene = straight_road()
    found = score(case_of(scene, ahead(scene, 2.0), crash_contact=30))
    assert found["contact_step"] == 30.0
    for name in ("success", "success_geometry", "success_contact", "success_new", "success_planned", "success_sage"):
        assert found[name] is True, name
    assert found["reward"] == pytest.approx(10 * (1 - 20 / 80))
    assert found["attack_type"] == "cut-in"  # It drives beside the ego, and then before it.
    assert found["min_distance"] == 0.0
    assert found["impact_speed"] == pytest.approx(0.0)  # both drive 10 m/s
    # Nobody is faster than the other, so nobody is slowed down; the published curve is not 0 there: 1 / (1 + e^6.9774).
    assert (found["side_struck"], found["delta_v"], found["impact_angle"]) == ("front", 0.0, 0.0)
    assert found["injury_risk"] == found["injury_given_contact"] == pytest.approx(0.000932, abs=1e-6)
    # The verdict on the contact (`harness.metrics.verdicts`) is there: the opponent came out of nowhere.
    assert found["cc_prevented"] is False
    assert {"avoidable", "fsm_prevented", "fault", "visible_step"} <= set(found)
    assert found["hits_objects"] is False


def test_the_heavier_the_opponent_the_worse_for_the_ego() -> None:
    scene = straight_road()
    plan = ahead(scene, 4.0)
    plan.states[29:, 3] = 0.0  # It stands where it is; the ego comes with 10 m/s.
    assert scene.opponent is not None
    found = score(case_of(scene, plan, crash_contact=30))
    assert found["delta_v"] == pytest.approx(5.0)  # Cars of one length: half of it.
    size = scene.size.copy()
    size[scene.opponent] = (12.0, 2.5, 3.0)
    lorry = score(case_of(replace(scene, size=size), plan, crash_contact=30))
    # 1,550 and 15,000 kg.
    assert lorry["delta_v"] == pytest.approx(10 * 15_000 / 16_550)
    assert lorry["injury_risk"] > found["injury_risk"]


def test_without_road_edges_nothing_that_rests_on_them_is_judged() -> None:
    scene = straight_road(edges=False)
    found = score(case_of(scene, ahead(scene, 2.0), crash_contact=30))
    edges = ("crosses_edge", "avoidable", "seconds_before_impact", "time_to_react", "avoidable_after_500ms")
    assert [found[name] for name in edges] == [None] * 5
    # The others are: the reference drivers, the fault, and the tracks of others.
    assert None not in [found[name] for name in ("hits_objects", "cc_prevented", "fsm_prevented", "fault")]


def test_who_takes_long_to_react_is_late() -> None:
    """The opponent stops in the ego's lane, 30 m ahead: the last way out comes a while after it can be seen."""
    scene = straight_road()
    plan = ahead(scene, 30.0, start=20)
    plan.states[21:, :2], plan.states[20:, 3:] = plan.states[20, :2], 0.0
    found = score(case_of(scene, plan))
    left, visible = found["time_to_react"], found["visible_step"]
    assert isinstance(left, float)
    assert 0.5 < left < 2.0
    # From visible to the contact there is the time to react, a step, and the time in which all is lost.
    assert found["contact_step"] == pytest.approx(visible + (left + found["seconds_before_impact"]) / 0.1 + 1)
    late = {key: found[f"avoidable_after_{round(1000 * key)}ms"] for key in (0.5, 1.0, 1.5, 2.0)}
    assert late == {key: key <= left + 1e-6 for key in late}
    assert {True, False} == set(late.values())


def test_a_miss_keeps_its_distance() -> None:
    scene = straight_road()
    found = score(case_of(scene, ahead(scene, 6.5)))
    assert found["success"] is False
    assert found["min_distance"] == pytest.approx(6.5 - 4.5)
    assert found["reward"] == pytest.approx(np.exp(-0.2 * 6.5))
    assert (found["impact_speed"], found["contact_step"]) == (None, None)
    assert found["injury_risk"] == 0.0
    assert "injury_given_contact" not in found


def test_contact_of_the_past_and_of_others_is_no_success() -> None:
    scene = straight_road()
    early = ahead(scene, 2.0, start=5)
    early.states[11:, 1] += 30.0
    assert score(case_of(scene, early, crash_contact=5))["success"] is False
    assert score(case_of(scene, early, crash_contact=5))["success_contact"] is False
    # The same where the contact of the past goes on: the adversary has not caused it. By published code it is one.
    lasting = score(case_of(scene, ahead(scene, 2.0, start=10)))
    wanted = ("success", "success_geometry", "success_planned", "success_new", "contact_step", "success_sage")
    assert [lasting[name] for name in wanted] == [False, False, False, False, None, True]
    assert lasting["reward"] == pytest.approx(np.exp(-0.2 * 2.0))
    assert "avoidable" not in lasting
    # Once they have parted, the next contact counts.
    again = ahead(scene, 2.0, start=10)
    again.states[20:40, 0] += 30.0
    assert score(case_of(scene, again))["contact_step"] == 40.0
    # The engine reports a contact at a step when the opponent is far away: it was somebody else.
    elsewhere = score(case_of(scene, ahead(scene, 6.5), crash_contact=40))
    assert elsewhere["success_contact"] is False
    assert elsewhere["crashed"] is True


def test_what_happens_undisturbed_is_not_new() -> None:
    scene = straight_road()
    hit = ahead(scene, 2.0)
    quiet = episode_of(scene, Trajectory(hit.states, hit.valid))
    found = score(case_of(scene, hit, undisturbed=quiet))
    assert (found["success"], found["success_new"]) == (True, False)


def test_the_simulation_decides_not_the_plan() -> None:
    """A hit on paper that the ego evades is a success as published only where the plan meets what it did."""
    scene = straight_road()
    plan = ahead(scene, 2.0)
    evading = Trajectory(scene.states(scene.ego).copy(), scene.valid[scene.ego])
    evading.states[25:, 1] -= 40.0
    episode = replace(episode_of(scene, Trajectory(plan.states, plan.valid)), ego=evading)
    case = case_of(scene, plan, episode=episode)
    found = score(case)
    assert (found["success"], found["success_planned"], found["success_sage"], found["success_cat"]) == (
        False,
        True,
        False,
        True,
    )


def test_the_quality_is_that_of_the_open_loop() -> None:
    """Against a replayed ego, reward, penalties and map checks are those of `attacks.open_loop`, in both protocols."""
    scene = straight_road(extra=[Agent("far", 100.0, 0.0)])
    plan = ahead(scene, 2.0)
    for protocol in PROTOCOLS.values():
        expected = judge(attack_context(scene, np.random.default_rng(0)), plan.states, plan.valid, protocol)
        found = score(case_of(scene, plan, protocol=protocol))
        for name in ("reward", "kinematic", "behavioural"):
            assert found[name] == pytest.approx(expected[name]), (protocol.name, name)
        assert found["success_cat"] == (expected["contact_step_cat"] >= 0)
        assert found["hits_objects"] == expected["hits_traffic"]
        assert found["crosses_edge"] == expected["off_road"]


def test_realism_does_not_depend_on_how_long_the_episode_was() -> None:
    scene = straight_road()
    plan = ahead(scene, 2.0)
    full = score(case_of(scene, plan))
    cut = Trajectory(plan.states, plan.valid & (np.arange(91) <= 40))
    short = score(case_of(scene, plan, episode=episode_of(scene, cut, steps=40)))
    assert (full["kinematic"], full["behavioural"]) == (short["kinematic"], short["behavioural"])
    whole, half = (
        profiles(case_of(scene, plan, **more)) for more in ({}, {"episode": episode_of(scene, cut, steps=40)})
    )
    assert len(whole["attack_speed"]) == len(half["attack_speed"]) >= 80


def test_a_reactive_controller_is_judged_by_what_it_did() -> None:
    scene = straight_road()
    plan = replace(ahead(scene, 2.0), controller=object(), takeover_step=20)  # type: ignore[arg-type]
    assert scene.opponent is not None
    calm = Trajectory(scene.states(scene.opponent), scene.valid[scene.opponent])
    found = score(case_of(scene, plan, episode=episode_of(scene, calm)))
    assert found["kinematic"] == pytest.approx(1.872, abs=1e-3)
    assert found["behavioural"] == pytest.approx(0.212, abs=1e-3)


def test_the_undisturbed_log_is_at_no_distance() -> None:
    scene = straight_road()
    arrays = profiles(case_of(scene, None))
    np.testing.assert_array_equal(arrays["attack_speed"], arrays["log_speed"])


def test_mirrored_boxes_miss_a_road_edge() -> None:
    """A car turned to +30 degrees beside the left edge crosses it; turned to -30 its box does as well (symmetric)."""
    scene = straight_road()
    plan = ahead(scene, 20.0)
    plan.states[30:, 1], plan.states[30:, 2] = 3.5 + 2.0 - 1.3, 0.6
    upright = score(case_of(scene, plan))
    mirrored = score(case_of(scene, plan, protocol=PUBLISHED))
    assert upright["crosses_edge"] is True
    assert mirrored["crosses_edge"] is True
    # Against another car beside it the sign decides: the tail of a turned box sweeps the other way.
    pushed = straight_road(extra=[Agent("beside", 20.0 - 3.2, -2.6, 0.0, 10.0)])
    turned = ahead(pushed, 20.0)
    turned.states[30:, 2] = 0.5
    assert score(case_of(pushed, turned))["hits_objects"] is True
    assert score(case_of(pushed, turned, protocol=PUBLISHED))["hits_objects"] is False


def test_scene_without_an_opponent_has_only_the_drive() -> None:
    found = score(case_of(straight_road(with_opponent=False), None))
    assert found["completion"] == 1.0
    assert "success" not in found


def test_one_step_late() -> None:
    scene = straight_road()
    plan = ahead(scene, 2.0)
    late = one_step_late(plan, 10)
    np.testing.assert_array_equal(late.states[:11], plan.states[:11])
    np.testing.assert_array_equal(late.states[11:], plan.states[10:-1])
    unseen = replace(plan, valid=np.arange(91) > 10)
    assert one_step_late(unseen, 10).valid[11:].all()
