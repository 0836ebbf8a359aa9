"""The grammar of `--scenes`."""

from types import SimpleNamespace

import pytest

from harness.errors import ConfigError
from scenarios.selection import needed, open_scenes, selected

IDS = ("a", "b", "7", "d", "e,f")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2", [0, 1]),
        ("20", [0, 1, 2, 3, 4]),
        ("1:3", [1, 2]),
        ("3:", [3, 4]),
        (":2", [0, 1]),
        ("#3", [3]),
        ("#3,0:2,b", [3, 0, 1, 1]),
        ("d", [3]),
        ("7", [0, 1, 2, 3, 4]),
        ("7,#0", [2, 0]),
        ("e,f", [4]),
    ],
)
def test_selections(text, expected):
    assert selected(text, IDS) == expected


ODD = ("", "0", "#5", "3:3", "2:9", "c", "0:2,4", "#x", "-1", "0:1000000000000", "#" + "1" * 5000)


@pytest.mark.parametrize("text", ODD)
def test_what_names_no_scene_is_refused(text):
    with pytest.raises(ConfigError, match="scenes"):
        selected(text, IDS)


def test_a_number_in_a_list_is_told_how_to_be_one_scene():
    with pytest.raises(ConfigError, match="#4"):
        selected("0:2,4", IDS)


def test_an_id_that_is_nearly_right_is_told_the_right_one():
    with pytest.raises(ConfigError, match="Did you mean 'sd_pg-test-000000-1'"):
        selected("pg-test-000000-1", ["sd_pg-test-000000-0", "sd_pg-test-000000-1"])


def test_no_generated_scene_is_refused_like_no_scene_of_a_folder(monkeypatch):
    asked = []

    def open_source(data, split, **options):
        asked.append(options["test"])
        return SimpleNamespace(ids=IDS)

    monkeypatch.setattr("scenarios.selection.open_source", open_source)
    with pytest.raises(ConfigError, match="scenes '0'"):
        open_scenes("procedural", "test", "0")
    assert asked == [None]


@pytest.mark.parametrize(
    ("split", "text", "expected"),
    [
        ("all", "1", (0, 0, 1)),  # the scenes of all begin with the test scenes
        (None, "#51", (2, 0, 50)),
        ("all", "1000", (200, 0, 50)),
        ("all", "10:", (200, 0, 50)),
        ("test", "60", (0, 0, 60)),  # a number asks for so many
        ("test", "#3,5:7", (0, 0, 7)),
        ("val", "#39", (0, 40, 0)),
        ("test", "#50", None),  # beyond the usual number: refused where the scenes are known
        ("test", "pg-test-000003-0", None),
    ],
)
def test_no_more_scenes_are_generated_than_are_asked_for(split, text, expected):
    assert tuple(needed(split, text).values()) == (expected or ())  # train, val, test
