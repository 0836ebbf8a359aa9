"""Conditions on tags: what they mean, and what is said of those that cannot be read."""

from dataclasses import replace

import pytest

from harness.commands.left_out import scene_lines
from harness.errors import ConfigError, UnknownNameError
from scenarios.comparisons import ORDER, comparison, number
from scenarios.export import write_folder
from scenarios.importing import import_folder
from scenarios.selection import matching_scenes, open_scenes
from scenarios.tagging.vocabulary import SceneTags
from scenarios.where import Where
from tests.scenes import crossing, kerbside, straight_road
from tests.sources import ListSource

TAGS = SceneTags({"type": ("cut-in", "pedestrian"), "road": ("junction",)}, {"speed": 12.0, "curvature": 0.02})


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("type=cut-in and speed>10", True),
        ("type = cut-in and speed > 12", False),
        ("type=pedestrian", True),
        ("type==cut-in", True),
        ("type!=crossing and type!=cut-in", False),
        ("not type=crossing", True),
        ("not (type=cut-in or road=straight)", False),
        ("road=straight or road=junction and speed<20", True),
        ("(road=straight or road=junction) and speed>=20", False),
        ("road=junction or road=straight and speed>20", True),
        ("not road=junction or speed<=12", True),
        ("curvature>=2e-2", True),
        ("curvature=.02", True),
        # What a scene has no value or number for meets no comparison, but for that it is not so.
        ("lights=red", False),
        ("lights!=red", True),
        ("density<100", False),
        ("density!=100", False),
        ("not density<100", True),
    ],
)
def test_what_conditions_mean(text, met):
    assert Where.parse(text).holds(TAGS) is met


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("", ConfigError, "a comparison is missing at the beginning. Expected TAG=VALUE"),
        ("type=cut-in and", ConfigError, "missing after 'type=cut-in and'"),
        ("type=cut-in speed>10", ConfigError, "'type=cut-in speed>10' is no comparison"),
        ("(type=cut-in", ConfigError, "a parenthesis is not closed"),
        ("type=cut-in)", ConfigError, r"'\)' is one word too many"),
        ("cut-in", ConfigError, "'cut-in' is no comparison"),
        ("speed>fast", ConfigError, "speed is a number, and 'fast' is none"),
        ("road>junction", ConfigError, "have no order. Write road=junction or road!=junction"),
        ("type=cutin", UnknownNameError, "unknown value of the tag type in --where 'cutin'. Did you mean 'cut-in'"),
        ("sped>10", UnknownNameError, "unknown tag or number in --where 'sped'. Did you mean 'speed'"),
        ("(" * 60 + "speed>1" + ")" * 60, ConfigError, "more than 50 levels"),
        ("not " * 60 + "speed>1", ConfigError, "more than 50 levels"),
        ("speed>1 or " * 400, ConfigError, "4400 characters; expected at most 2000"),
    ],
)
def test_conditions_that_cannot_be_read_say_why(text, kind, message):
    with pytest.raises(kind, match=message):
        Where.parse(text)


def test_one_comparison_is_read_alike_everywhere():
    assert comparison(" a b >= 3 ") == ("a b", ">=", "3")
    assert comparison("sage?spread=3.crashed > .2", ORDER) == ("sage?spread=3.crashed", ">", ".2")
    assert comparison("a<b>3", ORDER) == ("a<b", ">", "3")
    assert [comparison(text) for text in ("a", "a>", ">3", "a>3<4=")] == [None] * 4
    assert [number(text) for text in (".2", "-1e3", "1.2.3", "nan", "1_0", "")] == [
        0.2,
        -1000.0,
        None,
        None,
        None,
        None,
    ]


@pytest.fixture
def data(tmp_path):
    scenes = [straight_road(), crossing(), straight_road(ego_speed=0.0), crossing(ego_speed=5.0), kerbside()]
    write_folder([replace(scene, id=f"s{number}") for number, scene in enumerate(scenes)], tmp_path / "data")
    return str(tmp_path / "data")


def test_a_condition_narrows_before_scenes_are_counted(data):
    found = open_scenes(data, "all", where="road=junction")
    assert [name[-2:] for name in found.ids] == ["s1", "s3"]
    assert open_scenes(data, "all", "#1", where="road=junction").ids == found.ids[1:]
    assert open_scenes(data, "all", "1", where="road=junction and speed<8").ids == found.ids[1:]
    slow = open_scenes(data, "all", where="road=straight and top_speed<20", fit_only=True)
    assert [name[-2:] for name in slow.ids] == ["s0"]
    assert scene_lines([slow]) == ["--where 'road=straight and top_speed<20': 3 of 5 scenes."]
    with pytest.raises(ConfigError, match="names no scene, or one beyond the 2"):
        open_scenes(data, "all", "#2", where="road=junction")


def test_what_is_asked_of_the_opponent_is_asked_of_the_one_who_was_chosen(data):
    assert [name[-2:] for name in open_scenes(data, "all", where="type=pedestrian", opponent="pedestrian").ids] == [
        "s4"
    ]
    with pytest.raises(ConfigError, match="leaves none"):
        open_scenes(data, "all", where="type=crossing", opponent="pedestrian")


def test_a_bad_condition_is_said_before_the_data_is_looked_at():
    with pytest.raises(ConfigError, match="is no comparison"):
        open_scenes("nowhere", "all", where="junction")


def test_where_nothing_is_left_it_is_said_what_there_is():
    source = ListSource([straight_road(), crossing()])
    with pytest.raises(ConfigError) as error:
        matching_scenes(source, Where.parse("road=merge"), "mine")
    assert "--where 'road=merge' leaves none of the 2 scenes of mine." in str(error.value)
    assert "road=junction (1), road=straight (1)" in str(error.value)


def test_an_import_takes_a_condition(data, tmp_path):
    done = import_folder(tmp_path / "data", tmp_path / "out", where="road=junction")
    assert len(done.written) == 2
    assert {reason for _, reason in done.left_out} == {"does not meet --where 'road=junction'"}
