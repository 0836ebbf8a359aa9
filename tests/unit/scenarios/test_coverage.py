"""Which combinations of tags scenes cover, and which scenes would add some."""

import csv

import numpy as np
import pytest

from harness import scenarios as command
from harness.commands import scene_lists
from harness.report.coverage_tables import additions_table, pairs_table, shares_table, values_table
from scenarios import coverage
from scenarios.coverage import EXCLUDED, PAIRS, additions, pair_counts, pairs_present, value_counts
from scenarios.export import write_folder
from scenarios.tagging.scene_tags import tags_of
from scenarios.tagging.vocabulary import AXES, SceneTags, axis_values
from tests.scenes import crossing, kerbside, straight_road

A = SceneTags({"road": ("junction",), "manoeuvre": ("left-turn",), "type": ("crossing",)})
B = SceneTags({"road": ("junction", "merge"), "type": ("crossing",), "nonsense": ("x",), "rule": ("y",)})
C = SceneTags({"road": ("junction",), "rule": ("crosswalk", "right-of-way"), "type": ("cyclist",)})


def test_every_pair_of_values_on_two_axes_counts_once():
    sizes = [len(axis_values(axis)) for axis in AXES]
    assert len(PAIRS) == sum(a * b for i, a in enumerate(sizes) for b in sizes[i + 1 :]) - len(EXCLUDED)
    assert len(set(PAIRS)) == len(PAIRS)
    assert str(PAIRS[0]) == "road=junction and manoeuvre=follow-lane"


def test_what_the_rules_exclude_no_scene_has():
    scenes = [straight_road(), crossing(), kerbside()]
    found = {(a, b) for scene in scenes for a in _values(scene) for b in _values(scene)}
    assert not found & EXCLUDED


def _values(scene):
    return [value for values in tags_of(scene).values.values() for value in values]


def test_counts_of_values_and_pairs():
    """A has three pairs; B two, and what no rule knows is none; C has one and four."""
    counts = value_counts([A, B, C])
    assert (counts["road", "junction"], counts["road", "merge"], counts["type", "crossing"]) == (3, 1, 2)
    assert pairs_present([A, B, C]).sum(1).tolist() == [3, 2, 5]
    by_name = dict(zip(map(str, PAIRS), pair_counts([A, B, C]).tolist(), strict=True))
    assert by_name["road=junction and type=crossing"] == 2
    assert by_name["road=junction and rule=crosswalk"] == 1
    assert pair_counts([]).tolist() == [0] * len(PAIRS)


def test_scenes_are_added_by_what_they_add():
    found = list(additions(pair_counts([A]) > 0, [A, B, C, C], most=5))
    assert [(one.scene, len(one.pairs)) for one in found] == [(2, 5), (1, 1)]
    assert str(found[1].pairs[0]) == "road=merge and type=crossing"
    assert [one.scene for one in additions(pair_counts([A]) > 0, [A, B, C], most=1)] == [2]
    assert list(additions(np.zeros(len(PAIRS), dtype=bool), [], most=3)) == []


def test_tables():
    rows = {(row["tag"], row["value"]): row["scenes"] for row in values_table([A, C]).rows}
    assert (rows["road", "junction"], rows["type", "cyclist"], rows["lights", "red"]) == (2, 1, 0)
    first, *_, whole = shares_table([A], [C]).rows
    # Of 8 values of the environment and 7 of the competency, 5 pairs are excluded.
    assert (first["covered"], first["elsewhere"], first["nowhere"], first["all"]) == (1, 0, 50, 51)
    assert (whole["covered"], whole["elsewhere"], whole["all"]) == (3, 5, len(PAIRS))
    assert additions_table([coverage.Addition(1, PAIRS[:1])], ["a", "b"]).rows[0]["scene"] == "b"
    listed = {(row["tag_a"], row["tag_b"]): row for row in pairs_table([A], [B, C], ["b", "c"]).rows}
    assert listed["road=junction", "type=crossing"]["would_cover"] == ""
    assert listed["road=merge", "type=crossing"]["would_cover"] == "b"
    assert listed["road=merge", "type=crossing"]["scenes"] == 0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GAUNTLET_CACHE", str(tmp_path / "cache"))
    write_folder([straight_road(scene_id="a"), crossing(scene_id="b"), kerbside(scene_id="c")], tmp_path / "data")
    return tmp_path / "data"


def test_the_command_prints_tables_and_writes_pairs(folder, tmp_path, capsys):
    assert scene_lists.say_coverage is not None
    command.main(
        ["coverage", str(folder), "--where", "road=straight", "--scenes", "1", "--csv", str(tmp_path / "c.csv")]
    )
    said = capsys.readouterr().out
    assert "--where 'road=straight': 2 of 3 scenes." in said
    assert "Pairs of values that 1 scenes cover" in said
    assert "road=junction and manoeuvre=follow-lane" in said
    rows = list(csv.DictReader((tmp_path / "c.csv").open()))
    assert len(rows) == len(PAIRS)
    row = next(row for row in rows if (row["tag_a"], row["tag_b"]) == ("road=junction", "rule=right-of-way"))
    assert (row["scenes"], row["elsewhere"], row["would_cover"]) == ("0", "1", "sd_b")
    with pytest.raises(SystemExit, match="2"):
        command.main(["coverage", str(folder), "--additions", "-1"])


def test_unfit_scenes_are_no_additions(folder, tmp_path):
    write_folder([crossing(scene_id="b", ego_speed=0.0)], folder)
    found = []
    for chosen in ([], ["--fit-only"]):
        command.main(["coverage", str(folder), "--scenes", "#0", "--csv", str(tmp_path / "c.csv"), *chosen])
        found.append("sd_b" in (tmp_path / "c.csv").read_text())
    assert found == [True, False]


def test_the_list_shows_and_filters_tags(folder, tmp_path, capsys):
    command.main(["list", str(folder), "--where", "type=crossing or type=pedestrian", "--csv", str(tmp_path / "t.csv")])
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [(row["road"], row["type"], row["speed"]) for row in rows] == [("junction", "crossing", "10.0")]
    assert "1 of 3 scenes" in capsys.readouterr().out
    command.main(["list", str(folder), "--scenes", "#0"])
    assert "straight, sparse, follow-lane, parallel" in " ".join(capsys.readouterr().out.split())
