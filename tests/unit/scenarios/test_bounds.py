"""What a scene may measure: each bound from both sides, and that what lies beyond is named in one line."""

from dataclasses import replace

import numpy as np
import pytest

from harness.errors import one_line
from scenarios import bounds
from scenarios.findings import Finding
from scenarios.scenario import MapFeature
from scenarios.validate import validate
from tests.scenes import Agent, crossing, straight_road


def edited(name, change, scene=None):
    """A scene with one array replaced by what `change` makes of it."""
    scene = scene or straight_road()
    return replace(scene, **{name: change(getattr(scene, name).copy())})


def put(value, *where):
    def change(array):
        array[where] = value
        return array

    return change


def times(stamps):
    return replace(straight_road(), metadata={"ts": stamps})


def with_feature(points, kind="LANE_SURFACE_STREET"):
    scene = straight_road()
    feature = MapFeature("far", kind, np.asarray(points))
    return replace(scene, features=(*scene.features, feature))


def lit(**light):
    whole = {"state": {"object_state": ["LANE_STATE_STOP"] * 91}, "lane": 7, "stop_point": [1.0, 2.0, 0.0]}
    return replace(straight_road(), lights={"7": {**whole, **light}})


CLOCK = np.arange(91) * 0.1
OTHER = Agent("x", 0.0, 9.0, 0.0, 5.0)

CASES = [
    # Headings: unwrapped ones pass, degrees do not, not even where all are small.
    (edited("heading", lambda h: h + 4 * np.pi), None, "", ""),
    (edited("heading", lambda h: h + 30 * np.pi), "error", "tracks['ego']: heading", "degrees"),
    (edited("heading", put(95.0, 2), straight_road(extra=[OTHER])), "warning", "tracks['x']: heading", "degrees"),
    (edited("heading", np.degrees, straight_road(rotation=0.3)), "error", "heading", "degrees"),
    (edited("heading", np.degrees, crossing()), "error", "heading", "degrees"),
    (edited("heading", lambda h: h + np.pi), None, "", ""),  # All drive backwards.
    (edited("heading", put(np.degrees(1.0), 1), straight_road(rotation=1.0)), "error", "['opponent']: heading", "degr"),
    # Places.
    (straight_road(origin=(4e4, -7e4)), None, "", ""),
    (straight_road(origin=(5e5, 5.4e6)), None, "", ""),
    (straight_road(origin=(2e9, 0.0)), "error", "(ego): position", "begins at (2e+09, 0)"),
    (edited("position", put(1e9, 2, 50, 0), straight_road(extra=[OTHER])), "error", "['x']: position", "1e+09 m from"),
    (edited("position", lambda p: p * 1e9), "error", "['ego']: position", "m from the ego's start"),
    (edited("position", put(1e9, 1, slice(None), 2)), "error", "['opponent']: position", "1e+09 m from"),
    (edited("position", put(-1e4, slice(None), slice(None), 2)), None, "", ""),
    # Teleports, beside and across a gap.
    (edited("position", put(300.0, 1, slice(40, None), 1)), "error", "['opponent']: position", "jumps 296 m"),
    (
        edited("valid", put(False, 1, slice(38, 42)), edited("position", put(300.0, 1, slice(40, None), 1))),
        "error",
        "['opponent']: position",
        "jumps 29",
    ),
    (
        edited("position", put(300.0, 2, slice(40, None), 1), straight_road(extra=[OTHER])),
        "warning",
        "tracks['x']: position",
        "jumps",
    ),
    (straight_road(opponent_speed=300.0), "error", "['opponent']: velocity", "300 m/s"),
    (straight_road(extra=[Agent("x", 0.0, 9.0, 0.0, 1e4)]), "error", "['x']: velocity", "1e+04 m/s"),
    # Sizes.
    (edited("size", lambda s: s * 1e-9), "error", "['ego']: size", "e-09 m"),
    (edited("size", lambda s: s * 1e4), "error", "['opponent']: size", "e+04 m"),
    (edited("size", put(0.0, slice(None), slice(None), 2)), None, "", ""),
    (edited("size", put(1e9, 1, 5, 2)), "error", "['opponent']: size", "1e+09 m"),
    (edited("size", put(0.01, 2), straight_road(extra=[OTHER])), "warning", "['x']: size", "0.01 m"),
    (edited("size", put(1e4, 2), straight_road(extra=[OTHER])), "error", "['x']: size", "1e+04 m"),
    (straight_road(extra=[Agent("x", 0.0, 9.0, 0.0, 5.0, size=(75.0, 2.6, 3.5))]), None, "", ""),
    (straight_road(extra=[Agent("x", 0.0, 9.0, 0.0, 0.0, size=(0.2, 0.2, 0.5))]), None, "", ""),
    # Time.
    (times(CLOCK), None, "", ""),
    (times(CLOCK[::-1]), "error", "ts", "runs backwards at step 1"),
    (times(np.zeros(91)), "error", "ts", "repeats at step 1"),
    (times(["a"] * 91), "error", "ts", "no time stamps"),
    (times(CLOCK[:50]), "error", "ts", "50 time stamps for 91 steps"),
    (times(0.1), "error", "ts", "1 time stamps"),
    (times([10**5000] * 91), "error", "ts", "no time stamps"),
    (times(np.where(np.arange(91) == 7, np.nan, CLOCK)), "error", "ts", "time stamp 7 is nan"),
    (replace(straight_road(), dt=100.0), "error", "ts", "100 s; 0.005 to 1 s"),
    (replace(straight_road(), dt=np.nan), "error", "ts", "nan s"),
    # Map.
    (with_feature([[0.0, 0.0], [2.0**63, 0.0]]), "error", "map_features['far']", "9.22e+18 m from the ego's start"),
    (with_feature([[0.0, 0.0], [1e9, 0.0]], "ROAD_LINE_SOLID_SINGLE_WHITE"), "error", "['far']", "1e+09 m from"),
    (with_feature([[0.0, 0.0], [2e4, 0.0]]), None, "", ""),
    (with_feature([[0.0, 9e4], [0.0, -9e4]] * 6), "error", "map_features", "1,982 km of lines"),
    (with_feature(np.zeros((0, 2)), "ROAD_EDGE_BOUNDARY"), None, "", ""),
    (with_feature(np.tile([[3.0, 0.0], [4.0, 0.0]], (4900, 1))), None, "", ""),
    (
        with_feature(np.tile([[3.0, 0.0], [4.0, 0.0]], (5100, 1))),
        "error",
        "map_features",
        "points of lines within 10 m",
    ),
    (
        with_feature(np.tile([[3.0, -35.0], [3.0, 35.0]], (5100, 1))),
        "error",
        "map_features",
        "points of lines within 10 m",
    ),
    # Lights.
    (lit(), None, "", ""),
    (lit(state={"object_state": [4] * 91}), "warning", "dynamic_map_states", "known colour (4)"),
    (lit(state={"object_state": [None, "TRAFFIC_LIGHT_GREEN"]}), None, "", ""),
    (lit(state={"object_state": np.zeros(6_000_001, np.int8)}), "error", "dynamic_map_states['7']", "6,000,001 states"),
    (lit(state={"object_state": "STOP"}), "error", "dynamic_map_states['7']", "of type str"),
    (lit(state={"object_state": 7}), "error", "dynamic_map_states['7']", "of type int"),
    (lit(state={"object_state": [[1]]}), "error", "dynamic_map_states['7']", "other than names"),
    (lit(state={"object_state": [10**5000]}), "error", "dynamic_map_states['7']", "other than names"),
    (lit(state=5), "error", "dynamic_map_states['7']", "not a dictionary"),
    (lit(lane=[1]), "error", "dynamic_map_states['7']", "lane is of type list"),
    (lit(stop_point=[np.nan, 0.0]), "error", "dynamic_map_states['7']", "NaN or infinite"),
    (lit(stop_point="here"), "error", "dynamic_map_states['7']", "not made of numbers"),
    (lit(stop_point=[1.0]), "error", "dynamic_map_states['7']", "1 coordinates"),
    (replace(straight_road(), lights={"7": None}), "error", "dynamic_map_states['7']", "not a dictionary"),
]


@pytest.mark.parametrize(("scene", "level", "field", "reason"), CASES, ids=range(len(CASES)))
def test_what_lies_beyond_is_named(scene, level, field, reason):
    findings = validate(scene)
    if level is None:
        assert findings == ()
    else:
        assert any(f.level == level and field in f.field and reason in f.reason for f in findings), findings
        assert all("\n" not in str(finding) for finding in findings)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("MAX_AGENTS", "agents"),
        ("MAX_STEPS", "steps"),
        ("MAX_ROWS", "agents times steps"),
        ("MAX_FEATURES", "elements"),
        ("MAX_POINTS", "points"),
    ],
)
def test_counts_have_bounds(monkeypatch, name, what):
    assert bounds.check_counts(straight_road()) is not None
    monkeypatch.setattr(bounds, name, 1)
    (finding,) = bounds.check_counts(straight_road())
    assert (finding.level, what in finding.reason) == ("error", True)


def test_single_precision_far_out_is_said():
    scene = straight_road(origin=(5e5, 5.4e6))
    coarse = tuple(replace(f, points=f.points.astype(np.float32)) for f in scene.features)
    assert any("single precision" in f.reason for f in validate(replace(scene, features=coarse)))


def test_a_long_finding_is_cut_and_keeps_one_line():
    text = str(Finding("error", "a\nb\x1b[31m\ud800", "y" * 10**6))
    assert len(text) < 2000
    assert text.startswith(r"error: a\nb\x1b[31m\ud800: yy")
    assert one_line("abc", 3) == "abc"


@pytest.mark.parametrize("name", ["a\x1b[31mb", "a\nb", "a\u202eb", "a\ud800", "a\u200bb", "\x00"])
def test_names_that_cannot_be_shown_are_named_as_escapes(name):
    scene = straight_road()
    features = (replace(scene.features[0], id=name), *scene.features[1:])
    for field, odd in (
        ("id", replace(scene, id=name)),
        ("tracks", replace(scene, agent_ids=(name, *scene.agent_ids[1:]))),
        ("map_features", replace(scene, features=features)),
        ("map_features: type", replace(scene, features=(replace(features[1], type=name), *scene.features))),
        ("dynamic_map_states", replace(scene, lights={name: {}})),
    ):
        found = [finding for finding in validate(odd) if finding.field == field]
        assert [finding.level for finding in found] == ["error"]
        assert found[0].reason.isascii()
    fine = replace(scene, id="山[/bold] <b>&=1+1|x, Ünï")
    assert not [finding for finding in validate(fine) if finding.field == "id"]
