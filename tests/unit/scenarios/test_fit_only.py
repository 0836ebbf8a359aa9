"""Scenes that are unfit for attacks are left out by one rule, counted and named."""

from dataclasses import replace

import pytest

from harness.envs.suite import LogReplayEnv
from harness.errors import ConfigError, ScenarioError
from scenarios.export import write_folder
from scenarios.indexing.facts import SceneFacts, unfit_reasons
from scenarios.selection import LeftOut, fit_scenes, left_out, left_out_line, open_scenes
from scenarios.splits import Concat, Subset
from tests.scenes import straight_road
from tests.sources import ListSource


def named(scene, name):
    return replace(scene, id=name)


def mixed():
    scenes = [
        straight_road(),
        straight_road(ego_speed=0.0, opponent_speed=8.0, opponent_gap=-30.0),
        straight_road(with_opponent=False),
        straight_road(opponent_gap=15.0),
        straight_road(ego_speed=0.2),
    ]
    return ListSource([named(scene, f"s{number}") for number, scene in enumerate(scenes)])


def test_unfit_scenes_are_left_out_in_order_and_named():
    found = fit_scenes(mixed())
    assert found.ids == ("s0", "s3")
    assert [item.scene for item in found.left_out] == ["s1", "s2", "s4"]
    assert found.left_out[1] == LeftOut("s2", "no opponent")
    line = left_out_line(found.left_out, 5)
    assert line == "left out 3 of 5 scenes as unfit (--fit-only): ego hardly moves 2, no opponent 1."


def test_what_was_left_out_is_found_inside_of_sources():
    found = fit_scenes(mixed())
    assert (
        tuple(left_out(Concat([Subset(found, [1]), ListSource([named(straight_road(), "other")])]))) == found.left_out
    )
    assert tuple(left_out(mixed())) == ()


def test_a_source_that_knows_is_asked_and_its_scenes_are_not_read():
    class Knowing(ListSource):
        def facts(self, indices):
            return (SceneFacts(unfit="no opponent" if index == 1 else None) for index in indices)

        def sketches(self, indices):
            raise AssertionError("not asked")

        def __getitem__(self, index):
            raise AssertionError("read")

    source = Concat([Subset(Knowing([named(straight_road(), name) for name in "abc"]), [2, 1]), mixed()])
    assert unfit_reasons(source, range(3)) == [None, "no opponent", None]
    assert fit_scenes(source).ids == ("c", "s0", "s3")


def test_what_cannot_be_read_is_left_out_and_named(tmp_path):
    write_folder(mixed(), tmp_path)
    (tmp_path / "sd_s3.pkl").write_bytes(b"no pickle")
    found = open_scenes(str(tmp_path), "all", fit_only=True)
    assert found.ids == ("sd_s0",)
    assert left_out_line(found.left_out, 5).endswith("ego hardly moves 2, no opponent 1, cannot be read 1.")


def test_one_bad_file_costs_one_file(tmp_path):
    write_folder(mixed(), tmp_path / "data")
    (tmp_path / "data" / "sd_s0.pkl").write_bytes(b"no pickle")
    data = str(tmp_path / "data")
    found = open_scenes(data, "all")
    assert found.ids == ("sd_s1", "sd_s2", "sd_s3", "sd_s4")
    assert left_out_line(list(left_out(found)), 5) == "left out 1 of 5 scenes: cannot be read 1."
    assert len(open_scenes(data, "all", unread=True)) == 5
    with LogReplayEnv(data) as env:
        assert env.source.ids == found.ids
        assert [item.scene for item in env.left_out] == ["sd_s0"]
    with pytest.raises(ScenarioError, match=r"sd_s0\.pkl"):
        open_scenes(data, "all", "1")


def test_the_selection_comes_first_and_none_that_is_fit_is_an_error(tmp_path):
    write_folder(mixed(), tmp_path / "data")
    data = str(tmp_path / "data")
    every = open_scenes(data, "all").ids
    found = open_scenes(data, "all", "0:2", fit_only=True)
    assert found.ids == every[:1]
    assert [item.scene for item in left_out(found)] == [every[1]]
    assert open_scenes(data, "all", "0:2").ids == every[:2]
    assert open_scenes(data, "all", fit_only=True).ids == (every[0], every[3])
    with pytest.raises(ConfigError, match=r"--fit-only leaves none of the 2 scenes of .*ego hardly moves"):
        open_scenes(data, "all", "#1,#2", fit_only=True)
