"""Kinds of encounter as they were played, and rates of a benchmark by tags."""

from dataclasses import replace

import numpy as np
import pytest

from harness.benchmarking.attack_types import attack_type
from harness.benchmarking.lineup import SystemInfo
from harness.benchmarking.summary import Cell
from harness.interfaces import Trajectory
from harness.report.tag_tables import rates_by_tag
from scenarios.tagging.vocabulary import SceneTags
from tests.scenes import Agent, crossing, make_scene, moved_aside, straight_road

JUNCTION, MERGE = SceneTags({"road": ("junction",)}), SceneTags({"road": ("junction", "merge")})


def played(scene, contact=None, start=11):
    ego, other = (Trajectory(scene.states(row), scene.valid[row]) for row in (scene.ego, scene.opponent))
    return attack_type(scene, ego, scene.box(scene.ego), other, scene.box(scene.opponent), start, contact)


def test_without_a_contact_it_is_judged_where_the_two_are_nearest():
    assert played(straight_road()) == "parallel"
    assert played(straight_road(opponent_offset=0.0)) == "rear-end"
    assert played(crossing(opponent_delay=1.0)) == "crossing"
    scene = make_scene([Agent("ego", 0.0, 0.0), Agent("opponent", 60.0, 3.5, np.pi)], straight_road().features)
    assert played(scene) == "oncoming"
    assert played(straight_road(opponent_to=10)) is None


def test_what_comes_after_the_contact_does_not_count():
    """It cuts in from step 30 to 50, and swerves back from 60 on."""
    scene = moved_aside(straight_road(opponent_gap=8.0), "opponent", 30, 50, -3.5)
    assert played(scene, contact=55) == "cut-in"
    back = moved_aside(scene, "opponent", 60, 80, 3.5)
    assert played(back, contact=55) == "cut-in"
    assert played(scene) == "cut-in"
    assert played(scene, contact=20) == "cut-in"  # It touches the ego from beside.


def test_a_crash_that_turns_the_other_does_not_change_the_kind():
    scene = straight_road(opponent_gap=5.0)
    heading = scene.heading.copy()
    heading[scene.opponent, 40:] = np.pi / 2
    assert played(replace(scene, heading=heading), contact=40) == "cut-in"
    assert played(replace(scene, heading=heading), contact=41) == "crossing"


def cell(adversary="cat", **outcomes):
    system = SystemInfo("idm", "idm", False, False, "controls", "")
    known = {name: np.array(values, dtype=float) for name, values in outcomes.items()}
    return Cell(system, adversary, 1.0, 3, 0, 0, {}, (), {}, {}, known, (("cut-in",), ("cut-in",), ("crossing",)))


def test_rates_by_tags_of_scenes_and_by_kinds_of_encounter():
    """Three scenes; the third one failed."""
    made = cell(success=[[1], [0], [np.nan]], crashed=[[1], [1], [np.nan]])
    rows = {(row["tag"], row["value"]): row for row in rates_by_tag([made], [JUNCTION, MERGE, MERGE]).rows}
    assert set(rows) == {("road", "junction"), ("road", "merge"), ("played", "cut-in")}
    assert [row["n"] for row in rows.values()] == [2, 1, 2]
    assert rows["road", "junction"]["success"].interval.mean == pytest.approx(0.5)
    assert rows["road", "merge"]["success"].interval.mean == 0.0
    assert rows["road", "merge"]["crashed"].interval.mean == 1.0


def test_nobody_attacks_an_undisturbed_scene():
    quiet = cell("none", success=[[0], [0], [0]], crashed=[[0], [1], [0]])
    row = rates_by_tag([quiet], [JUNCTION] * 3).rows[0]
    assert "success" not in row
    assert row["crashed"].interval.mean == pytest.approx(1 / 3)
    assert rates_by_tag([cell()], [JUNCTION] * 3).rows == []
