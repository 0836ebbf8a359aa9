"""Tags of scenes whose every number can be worked out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.geometry import quarter_turn
from scenarios.map_index import MapIndex
from scenarios.scenario import Kind, MapFeature
from scenarios.tagging import meetings, roads, way
from scenarios.tagging.scene_tags import motion_of, tags_of
from scenarios.tagging.vocabulary import ALL_VALUES, AXES, MEETINGS, QUANTITIES, TAGS, SceneTags
from tests.scenes import Agent, crossing, driven_along, kerbside, make_scene, moved_aside, straight_road

WEST = np.stack([np.arange(-50.0, -9.0, 2.0), np.zeros(21)], -1)
ANGLE = np.linspace(-np.pi / 2, 0.0, 31)
TURN = np.stack([-10.0 + 10.0 * np.cos(ANGLE), 10.0 + 10.0 * np.sin(ANGLE)], -1)
NORTH = np.array([[0.0, 200.0]])
LEFT = np.concatenate([WEST, TURN[1:], NORTH])
"""The way of a left turn at `crossing`: 40 m, a quarter of a circle of 10 m, and on."""


def lane(name, points, entry=(), exit_=()):
    flat = np.concatenate([points, np.zeros((len(points), 1))], -1)
    return MapFeature(name, "LANE_SURFACE_STREET", flat, entry=tuple(entry), exit=tuple(exit_))


def of(scene, tag):
    return tags_of(scene).values.get(tag, ())


def test_a_straight_road_with_a_car_beside():
    tags = tags_of(straight_road())
    assert dict(tags.values) == {
        "road": ("straight",),
        "traffic": ("sparse",),
        "manoeuvre": ("follow-lane",),
        "type": ("parallel",),
    }
    assert str(tags) == "straight, sparse, follow-lane, parallel"
    numbers = {"speed": 10, "top_speed": 10, "opponent_speed": 10, "density": 1, "curvature": 0, "path": 90}
    assert tags.numbers == pytest.approx(numbers | {"vehicles": 2, "pedestrians": 0, "cyclists": 0})


@pytest.mark.parametrize(("gap", "rules"), [(20.0, ("safe-distance",)), (31.0, ()), (-20.0, ())])
def test_who_is_in_the_ego_s_path_throughout_is_before_or_behind_it(gap, rules):
    """At 10 m/s a gap of 20 m is 2 s, one of 31 m more than 3 s."""
    scene = straight_road(opponent_gap=gap, opponent_offset=0.0)
    assert (of(scene, "type"), of(scene, "rule")) == (("rear-end",), rules)


def test_who_comes_from_beside_cuts_in_unless_it_is_the_ego_that_changes_lanes():
    scene = straight_road(opponent_gap=25.0)
    cut = moved_aside(scene, "opponent", 30, 50, -3.5)
    assert (of(cut, "type"), of(cut, "manoeuvre")) == (("cut-in",), ("follow-lane",))
    changed = moved_aside(scene, "ego", 30, 50, 3.5)
    assert (of(changed, "type"), of(changed, "manoeuvre")) == (("rear-end",), ("lane-change",))
    behind = moved_aside(straight_road(opponent_gap=-25.0), "opponent", 30, 50, -3.5)
    assert of(behind, "type") == ("rear-end",)


def test_the_ego_in_a_curve_is_no_turn():
    angle = np.linspace(0.0, np.pi / 2, 61)
    bend = np.stack([60.0 * np.sin(angle), 60.0 - 60.0 * np.cos(angle)], -1)
    scene = make_scene([Agent("ego", 0.0, 0.0)], [lane("bend", bend)])
    scene = driven_along(scene, "ego", bend, 10.0)
    tags = tags_of(scene)
    assert (tags.values["road"], tags.values["manoeuvre"]) == (("curve",), ("follow-lane",))
    assert tags.numbers["curvature"] == pytest.approx(1 / 60, rel=0.06)
    assert "type" not in tags.values


def test_a_crossing_is_a_junction_without_lights():
    scene = crossing()
    assert of(scene, "road") == ("junction",)
    assert of(scene, "type") == ("crossing",)
    assert of(scene, "rule") == ("right-of-way",)
    assert of(scene, "manoeuvre") == ("follow-lane",)


def test_whoever_waits_before_a_junction_is_at_one():
    scene = driven_along(crossing(), "ego", np.array([[-40.0, 0.0], [-12.0, 0.0], [0.0, 0.0]]), 0.2)
    assert of(scene, "road") == ("straight",)  # From -40 m the 25 m ahead do not reach it.
    near = driven_along(crossing(), "ego", np.array([[-20.0, 0.0], [0.0, 0.0]]), 0.2)
    assert of(near, "road") == ("junction",)


def test_a_left_turn_into_the_way_of_somebody_is_merging():
    turned = driven_along(crossing(), "ego", LEFT, 10.0)
    assert of(turned, "manoeuvre") == ("left-turn",)
    # The opponent is at y = 20 when the ego comes to y = 10, and drives on before it.
    ahead = driven_along(turned, "opponent", np.array([[0.0, -35.7], [0.0, 200.0]]), 10.0)
    assert of(ahead, "type") == ("merging",)
    mirrored = replace(turned, position=turned.position * [1, -1, 1], heading=-turned.heading, features=())
    assert of(mirrored, "manoeuvre") == ("right-turn",)


def test_who_turns_into_the_ego_s_road_is_merging_and_who_crosses_it_is_not():
    """The opponent comes from the west, turns left, and is 10 m north of the junction when the ego passes it."""
    base = crossing()
    up = np.array([[0.0, -60.0], [0.0, 200.0]])
    scene = driven_along(driven_along(base, "ego", up, 10.0), "opponent", LEFT, 10.0)
    assert of(scene, "type") == ("merging",)
    straight_on = np.array([[-50.0, 0.0], [200.0, 0.0]])
    assert of(driven_along(scene, "opponent", straight_on, 10.0), "type") == ("crossing",)


def test_oncoming_traffic():
    scene = make_scene(
        [Agent("ego", 0.0, 0.0), Agent("opponent", 100.0, 3.5, np.pi)], straight_road().features, opponent="opponent"
    )
    assert of(scene, "type") == ("oncoming",)


@pytest.mark.parametrize("radius", [20.0, 40.0])
def test_a_roundabout_is_a_loop_that_is_round_and_short(radius):
    """Radius 40 m is 251 m around; a square of 70 m is 280 m around."""
    angle = np.linspace(0.0, 2 * np.pi, 121)
    ring = radius * np.stack([np.sin(angle), -np.cos(angle)], -1)
    square = np.array([[0, -35], [35, -35], [35, 35], [-35, 35], [-35, -35], [0, -35]], dtype=float)
    for line, found in ((ring, ("roundabout",)), (square, ("curve",))):
        pieces = [line[:61], line[60:]] if len(line) > 60 else [line[:4], line[3:]]
        lanes = [lane("a", pieces[0], ["b"], ["b"]), lane("b", pieces[1], ["a"], ["a"])]
        scene = driven_along(make_scene([Agent("ego", 0.0, 0.0)], lanes), "ego", line, 10.0)
        assert of(scene, "road") == found


def joined(angle, spread=30.0):
    """A lane along x from -100 m, and another that joins it at 0 from the right at an angle (rad)."""
    main, on = np.array([[-100.0, 0.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [100.0, 0.0]])
    ramp = np.array([[-spread * np.cos(angle), -spread * np.sin(angle)], [0.0, 0.0]])
    lanes = [lane("main", main, (), ["on"]), lane("ramp", ramp, (), ["on"]), lane("on", on, ["main", "ramp"])]
    return make_scene([Agent("ego", -50.0, 0.0)], lanes)


def test_a_lane_that_joins_at_a_small_angle_is_a_merge():
    scene = joined(np.radians(10))  # 25 m before the joint the two are 4.4 m apart.
    assert (of(scene, "road"), of(scene, "rule")) == (("merge",), ("right-of-way",))
    assert of(joined(np.radians(2)), "road") == ("straight",)  # 0.9 m: one lane, drawn twice.


def test_a_lane_that_turns_off_makes_a_junction():
    on = np.array([[0.0, 0.0], [100.0, 0.0]])
    off = np.array([[0.0, 0.0], [5.0, -1.0], [9.0, -5.0], [10.0, -10.0], [10.0, -40.0]])
    lanes = [
        lane("main", np.array([[-100.0, 0.0], [0.0, 0.0]]), (), ["on", "off"]),
        lane("on", on, ["main"]),
        lane("off", off, ["main"]),
    ]
    assert of(make_scene([Agent("ego", -50.0, 0.0)], lanes), "road") == ("junction",)


@pytest.mark.parametrize(("angle", "road"), [(90.0, "junction"), (35.0, "junction"), (25.0, "straight")])
def test_a_lane_that_crosses_the_way_makes_a_junction(angle, road):
    """It crosses at x = 20, and leads nowhere else."""
    across = np.outer([-50.0, 50.0], [np.cos(np.radians(angle)), np.sin(np.radians(angle))]) + np.array([20.0, 0.0])
    lanes = [lane("own", np.array([[-50.0, 0.0], [200.0, 0.0]])), lane("other", across)]
    assert of(make_scene([Agent("ego", 0.0, 0.0)], lanes), "road") == (road,)


def lit(*states):
    light = {"type": "TRAFFIC_LIGHT", "lane": "through", "state": {"object_state": list(states)}}
    return replace(crossing(), lights={"7": light})


@pytest.mark.parametrize(
    ("states", "lights"),
    [
        (["LANE_STATE_STOP"] * 20 + ["LANE_STATE_GO"] * 71, ("red", "green")),
        (["LANE_STATE_ARROW_CAUTION"] * 91, ("yellow",)),
        (["LANE_STATE_UNKNOWN"] * 91, ("unlit",)),
        # The ego comes to the lane after 4 s: what is shown later does not bind it.
        (["LANE_STATE_GO"] * 60 + ["LANE_STATE_STOP"] * 31, ("green",)),
    ],
)
def test_lights_of_the_ego_s_lanes_before_it_is_there(states, lights):
    scene = lit(*states)
    assert of(scene, "lights") == lights
    assert "right-of-way" not in of(scene, "rule")


def test_signs_and_crosswalks_on_the_way():
    place = np.array([[-10.0, 0.0, 0.0]])
    across = np.array([[-13.0, -5.0], [-11.0, -5.0], [-11.0, 5.0], [-13.0, 5.0]])
    aside = across + np.array([0.0, 40.0])
    base = crossing()

    def with_(*features):
        return of(replace(base, features=(*base.features, *features)), "rule")

    assert with_(MapFeature("s", "STOP_SIGN", place, extras={"lane": ["west"]})) == ("stop-sign",)
    assert with_(MapFeature("s", "STOP_SIGN", place, extras={"lane": ["south"]})) == ("right-of-way",)
    assert with_(MapFeature("s", "STOP_SIGN", place, extras={"lane": [["west"], None]})) == ("right-of-way",)
    assert with_(MapFeature("c", "CROSSWALK", across, closed=True)) == ("crosswalk", "right-of-way")
    assert with_(MapFeature("c", "CROSSWALK", aside, closed=True)) == ("right-of-way",)


def test_people_count_where_they_meet_the_ego_or_attack_it():
    def crosses(y, first):
        who = Agent("walker", 40.0, y, np.pi / 2, 0.0, Kind.PEDESTRIAN, (0.8, 0.8, 1.75), first=first, last=first)
        return of(straight_road(extra=[who]), "type")

    # The ego is at x = 40 after 4 s.
    assert crosses(-2.0, 40) == ("parallel", "pedestrian")
    assert crosses(-2.0, 10) == ("parallel", "pedestrian")
    assert crosses(-2.0, 5) == ("parallel",)
    assert crosses(-3.0, 40) == ("parallel",)
    assert of(kerbside(y=-9.0), "type") == ("pedestrian",)
    assert of(kerbside(y=-9.0, kind=Kind.CYCLIST), "type") == ("cyclist",)


def test_stop_and_start():
    line = np.array([[0.0, 0.0], [200.0, 0.0]])
    speeds = np.concatenate([np.full(30, 5.0), np.zeros(30), np.full(31, 5.0)])
    scene = straight_road()
    assert of(driven_along(scene, "ego", line, speeds), "manoeuvre") == ("follow-lane", "stop", "start")
    assert of(driven_along(scene, "ego", line, speeds[:60].repeat(2)[:91]), "manoeuvre") == ("follow-lane", "stop")
    assert of(driven_along(scene, "ego", line, 0.0), "manoeuvre") == ("follow-lane",)


@pytest.mark.parametrize(("count", "traffic"), [(3, "sparse"), (4, "moderate"), (14, "dense")])
def test_traffic_is_told_by_density(count, traffic):
    """With the opponent there are so many and one more, all of them at 10 m/s and within 50 m."""
    extra = [Agent(f"car {n}", 5.0 * n - 30.0, 3.5) for n in range(count)]
    scene = straight_road(opponent_gap=45.0, extra=extra)
    assert of(scene, "traffic") == (traffic,)
    assert tags_of(scene).numbers["density"] == count + 1


@pytest.mark.parametrize("build", [straight_road, crossing, kerbside])
def test_tags_do_not_depend_on_where_a_scene_lies(build):
    there = tags_of(build(origin=(3e4, -2e4), rotation=2.0))
    here = tags_of(build())
    assert there.values == here.values
    assert there.numbers == pytest.approx(here.numbers, abs=1e-6)


def test_without_opponent_lanes_or_ego_less_is_known():
    scene = straight_road(with_opponent=False)
    assert "type" not in tags_of(scene).values
    assert "opponent_speed" not in tags_of(scene).numbers
    assert "road" not in tags_of(replace(scene, features=())).values
    gone = replace(scene, valid=np.zeros_like(scene.valid))
    assert tags_of(gone) == SceneTags()


def test_what_is_left_where_nobody_attacks():
    tags = tags_of(straight_road(opponent_offset=0.0))
    left = tags.without_opponent()
    assert "type" not in left.values
    assert "opponent_speed" not in left.numbers
    assert left.values["rule"] == tags.values["rule"]


def test_every_value_is_found_by_a_test_of_this_file():
    """A value that no scene can have would be a hole in every table of coverage."""
    text = open(__file__).read()
    assert [value for _, value in ALL_VALUES if f'"{value}"' not in text] == []


def test_the_page_has_every_rule():
    page = (Path(__file__).parents[3] / "docs/tags.md").read_text()
    rules = [f"| `{tag.name}` | `{value}` | {rule} |" for tag in TAGS for value, rule in tag.values.items()]
    rules += [f"| `{one.name}` | {one.unit} | {one.about} |" for one in QUANTITIES]
    assert [rule for rule in rules if rule not in page] == []
    for axis, name in AXES.items():
        tags = ", ".join(f"`{tag.name}`" for tag in TAGS if tag.axis == axis)
        assert f"| {name} | {tags} |" in page


def test_a_u_turn():
    angle = np.linspace(0.0, np.pi, 41)
    line = np.concatenate([[[-30.0, 0.0]], 6.0 * np.stack([np.sin(angle), 1 - np.cos(angle)], -1), [[-90.0, 12.0]]])
    assert of(driven_along(straight_road(), "ego", line, 8.0), "manoeuvre") == ("u-turn",)


def test_meetings_are_those_of_the_vocabulary():
    assert set(MEETINGS) == {"cut-in", "merging", "rear-end", "parallel", "crossing", "oncoming"}


def test_the_parts_of_a_way():
    scene = crossing()
    ego = motion_of(scene, scene.ego)
    line = meetings.driven_path(ego)
    found = way.ego_way(scene, ego, line[1:-1])
    names = [MapIndex.of(scene).lane_ids[lane] for lane in found.lanes]
    assert names == ["west", "through", "east"]
    assert found.since == (0, 41, 61)
    assert len(found.joints) == 2
    assert roads.is_crossed(MapIndex.of(scene), found)
    assert quarter_turn(np.radians([0.0, 44, 46, 134, 136, -46])).tolist() == [0, 0, 1, 1, 2, 3]
