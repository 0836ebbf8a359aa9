"""CommonRoad: lanelets, signs, lights, obstacles, the ego, hostile XML, and windows that are one log."""

from dataclasses import replace
from types import SimpleNamespace
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest

from harness.errors import ConfigError, ScenarioError
from scenarios import bounds, open_source
from scenarios.importers import commonroad, commonroad_xml
from scenarios.importers.commonroad import to_description
from scenarios.importers.commonroad_agents import Track, read_obstacle
from scenarios.importers.commonroad_logs import LogPart, LogScenes, cut, held_out_by_time, read_logs, span_of
from scenarios.importers.commonroad_roads import LaneletMap
from scenarios.importers.outlines import road_outlines
from scenarios.importing import import_folder
from scenarios.scenario import Kind
from scenarios.sources import open_part
from scenarios.training_pool import training_pool
from tests.unit.scenarios.commonroad import RECTANGLE, ROAD, SIGNS, lanelet, obstacle, problem, scenario, state


@pytest.fixture
def write(tmp_path):
    def one(*parts: str, file: str = "a.xml", **about):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(scenario(*parts, **about))
        return path

    return one


def test_lanelets_become_lanes(write):
    scene = commonroad.load(write(ROAD, SIGNS, obstacle(7)))
    features = {feature.id: feature for feature in scene.features}
    assert [features[name].type for name in "1245"] == ["LANE_SURFACE_STREET"] * 3 + ["CROSSWALK"]
    assert "6" not in features
    # Bounds of two and three points: the middle goes by length.
    assert features["2"].points.tolist() == [[0, 1.75, 0], [50, 1.75, 0], [100, 1.75, 0]]
    assert (features["2"].exit, features["3"].entry) == (("3",), ("2",))
    # Who comes towards us is no neighbour to change to.
    assert (features["1"].left, features["1"].right, features["2"].left) == ((), ("2",), ("1",))
    assert features["2"].extras["speed_limit_kmh"] == 45.0
    assert features["5"].closed
    assert features["5"].points.tolist() == [[60, 0, 0], [60, 10.5, 0], [63, 10.5, 0], [63, 0, 0]]
    lines = {name: feature.type for name, feature in features.items() if feature.type.startswith("ROAD_LINE")}
    # The bound of lanes 1 and 2 has other points in each, so it is drawn for both; a kerb is no line.
    assert lines == {
        "1-left": "ROAD_LINE_SOLID_SINGLE_WHITE",
        "1-right": "ROAD_LINE_BROKEN_SINGLE_WHITE",
        "2-left": "ROAD_LINE_BROKEN_SINGLE_WHITE",
    }
    assert features["sign-41"].type == "STOP_SIGN"
    assert features["sign-41"].points.tolist() == [[190, -1, 0]]


def test_road_edges_are_the_outside_of_the_road(write):
    scene = commonroad.load(write(ROAD, obstacle(7)))
    edges = sorted((feature.points for feature in scene.features if feature.is_road_edge), key=lambda line: line[0, 1])
    assert len(edges) == 2
    south, north = edges
    # None between neighbours, none across the ends of the road, none along the sidewalk; the road is on the left.
    np.testing.assert_allclose(south[:, 1], 0.0, atol=0.01)
    np.testing.assert_allclose(north[:, 1], 10.5, atol=0.01)
    assert south[0, 0] == pytest.approx(0.3, abs=0.02)
    assert south[-1, 0] == pytest.approx(199.7, abs=0.02)
    assert north[0, 0] > north[-1, 0]


def test_a_bound_inside_another_lanelet_is_no_edge(write):
    across = lanelet(8, [(90, -40), (90, 40)], [(94, -40), (94, 40)], kind="intersection")
    scene = commonroad.load(write(ROAD, across, obstacle(7)))
    inside = [
        point
        for feature in scene.features
        if feature.is_road_edge
        for point in feature.points
        if 0.1 < point[1] < 10.4 and 0.1 < point[0] < 199.9
    ]
    assert inside == []


def test_outlines_close_gaps_and_keep_the_road_on_their_left():
    boxes = [np.array([(x, 0), (x, 4), (x + 10, 4), (x + 10, 0)], float) for x in (0.0, 10.15)]
    (outline,) = road_outlines([*boxes, np.zeros((2, 2))], gap=0.1)
    turns = np.cross(np.diff(outline, axis=0)[:-1], np.diff(outline, axis=0)[1:])
    assert turns.sum() > 0
    assert (outline.min(0), outline.max(0)) == (pytest.approx([0, 0]), pytest.approx([20.15, 4]))
    assert len(road_outlines(boxes)) == 2


def test_edges_have_the_height_of_their_bounds():
    roads = LaneletMap()
    text = lanelet(1, [(0, 4), (50, 4)], [(0, 0), (50, 0)]).replace("</y></point>", "</y><z>7.5</z></point>")
    roads.add(fromstring(text))
    assert [set(line[:, 2]) for line in roads.edges()] == [{7.5}, {7.5}]
    assert LaneletMap().features() == {}


def test_states_may_be_areas_and_intervals():
    corners = "".join(f"<point><x>{x}</x><y>{y}</y></point>" for x, y in ((-1, -1), (3, -1), (3, 1), (-1, 1)))
    area = "<position><circle><radius>1</radius><center><x>5</x><y>6</y></center></circle></position>"
    span = "<intervalStart>2</intervalStart><intervalEnd>4</intervalEnd>"
    text = (
        f'<dynamicObstacle id="1"><type>bus</type><shape><polygon>{corners}</polygon></shape><initialState>{area}'
        f"<time><exact>3</exact></time><velocity>{span}</velocity></initialState></dynamicObstacle>"
    )
    track = read_obstacle(fromstring(text), 0.1)
    assert (track.kind, track.size, track.steps.tolist()) == ("VEHICLE", (4.0, 2.0, 3.2), [3])
    # The middle of the polygon lies 1 m ahead of its reference point.
    assert track.rows.tolist() == [[6.0, 6.0, 0.0, 3.0, 0.0]]


def test_lights_follow_their_cycle(write, monkeypatch):
    scene = commonroad.load(write(ROAD, SIGNS, obstacle(7)))
    light = scene.lights["2"]
    shown = light["state"]["object_state"]
    # 35 steps a cycle, begun at step 3: step 0 lies 32 steps into it.
    assert shown[:4] == ["LANE_STATE_GO"] * 3 + ["LANE_STATE_STOP"]
    assert [shown[step] for step in (17, 18, 37, 38)] == ["LANE_STATE_STOP", *["LANE_STATE_GO"] * 2, "LANE_STATE_STOP"]
    assert light["stop_point"].tolist() == [100, 1.75, 0]
    monkeypatch.setattr("scenarios.importers.commonroad_roads.MAX_ROWS", 79)
    with pytest.raises(ScenarioError, match="lights of 1 lanelets times 80 steps"):
        commonroad.load(write(ROAD, SIGNS, obstacle(7)))


def test_limits_that_are_none_are_left_out(write):
    scene = commonroad.load(write(ROAD, SIGNS.replace("12.5", "-12.5"), obstacle(7)))
    assert "speed_limit_kmh" not in next(feature for feature in scene.features if feature.id == "2").extras


def test_obstacles_become_tracks(write):
    walker = obstacle(8, "pedestrian", 20.0, -2.0, 1.5, first=5, last=30, shape="<circle><radius>0.4</radius></circle>")
    # A truck whose reference point lies 3 m behind its centre.
    long = "<rectangle><length>12</length><width>2.5</width><center><x>3</x><y>0</y></center></rectangle>"
    others = [obstacle(9, "truck", 60.0, 5.0, 0.0, shape=long), obstacle(10, "motorcycle", 30.0), obstacle(11, "ufo")]
    shape = f"<type>parkedVehicle</type><shape>{RECTANGLE}</shape>"
    parked = f'<staticObstacle id="12">{shape}{state("initialState", 0, 150, -3, 1.5)}</staticObstacle>'
    scene = commonroad.load(write(ROAD, obstacle(7), walker, *others, parked))
    row = {name: place for place, name in enumerate(scene.agent_ids)}
    assert (scene.num_steps, scene.dt, scene.agent_ids[scene.ego]) == (80, 0.2, "7")
    kinds = [Kind(int(scene.kinds[row[name]])) for name in ("7", "8", "9", "10", "11", "12")]
    assert kinds == [Kind.VEHICLE, Kind.PEDESTRIAN, Kind.VEHICLE, Kind.CYCLIST, Kind.OTHER, Kind.VEHICLE]
    assert scene.position[row["7"], 10].tolist() == [20.0, 1.75, 0.75]
    assert scene.velocity[row["7"], 10].tolist() == [10.0, 0.0]
    assert np.flatnonzero(scene.valid[row["8"]]).tolist() == list(range(5, 31))
    assert scene.size[row["8"], 5].tolist() == [0.8, 0.8, 1.75]
    assert scene.position[row["9"], 0].tolist() == [63.0, 5.0, 1.75]
    assert scene.valid[row["12"]].all()
    assert (scene.heading[row["12"], 40], scene.velocity[row["12"], 40].tolist()) == (1.5, [0.0, 0.0])


def test_what_states_leave_out_follows_from_the_motion(write):
    text = obstacle(7, speed=-4.0, x=100.0).replace("<orientation><exact>0.0</exact></orientation>", "")
    text = text.replace("<velocity><exact>-4.0</exact></velocity>", "")
    scene = commonroad.load(write(ROAD, text))
    np.testing.assert_allclose(np.abs(scene.heading[0]), np.pi)
    np.testing.assert_allclose(scene.velocity[0], [[-4.0, 0.0]] * 80, atol=1e-9)


@pytest.mark.parametrize(
    ("parts", "ego", "steps"),
    [
        # The longest path wins.
        ((obstacle(1), obstacle(2, speed=11.0)), "2", 80),
        # A planning problem names another, but only at its own time step.
        ((obstacle(1), obstacle(2, speed=11.0), problem(3, 6.0, 1.75)), "1", 80),
        ((obstacle(1), obstacle(2, speed=11.0), problem(4, 6.0, 1.75)), "2", 80),
        # Who is there for 9 s is preferred to who gets farther in less.
        ((obstacle(1, first=10, last=55), obstacle(2, speed=30.0, last=40)), "1", 46),
        # A parked car is the last resort; motorcycles are no vehicles here.
        ((obstacle(1, speed=0.0), obstacle(2, speed=11.0, last=20), obstacle(3, "motorcycle")), "2", 21),
        ((obstacle(1, speed=0.0), obstacle(3, "pedestrian")), "1", 80),
    ],
)
def test_the_ego_is_chosen_by_rule(write, parts, ego, steps):
    scene = commonroad.load(write(ROAD, *parts))
    assert (scene.agent_ids[scene.ego], scene.num_steps) == (ego, steps)
    assert scene.valid[scene.ego].all()


def test_a_folder_opens_at_ten_hertz(write, tmp_path):
    write(ROAD, obstacle(7), obstacle(8, x=12.0), file="2.xml")
    write(ROAD, obstacle(7), file="10.xml")
    source = open_source(tmp_path)
    assert source.ids == ("2", "10")
    scene = source[0]
    assert (scene.num_steps, scene.dt, scene.agent_ids[scene.opponent]) == (159, 0.1, "8")
    assert scene.position[scene.ego, 1, 0] == pytest.approx(1.0)


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
GOOD = scenario(ROAD, obstacle(7))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (GOOD.replace("<commonRoad", f"{BOMB}<commonRoad"), "document type"),
        (GOOD.replace("<commonRoad", f"{OUTSIDE}<commonRoad"), "document type"),
        (GOOD.replace("<commonRoad", f"<!--{'x' * 70_000}--><commonRoad"), "hold no element"),
        (GOOD.replace("<location/>", f"<location/>{BOMB}"), "cannot be read as XML"),
        (GOOD.replace("<location/>", "&a;"), "cannot be read as XML"),
        (GOOD.replace("<location/>", f'<location a="{"x" * 1_200_000}"/>'), "attribute of more than 1,000,000 bytes"),
        (GOOD.replace("<location/>", "<a>" * 40 + "</a>" * 40), "more than 32 levels"),
        (GOOD.replace("UTF-8", "no-such-code"), "cannot be read as XML"),
        (GOOD[:-200], "cannot be read as XML"),
        ("", "hold no element"),
        (GOOD.replace("2020a", "2031b"), "commonRoadVersion is '2031b'"),
        (GOOD.replace('"0.2"', '"0"'), "timeStepSize"),
        (GOOD.replace("<x>50</x>", "<x>nan</x>"), "instead of a number"),
        (GOOD.replace("<x>50</x>", "<x>1e300</x>"), "instead of a number"),
        (GOOD.replace("<x>50</x>", "<x>far</x>"), "instead of a number"),
        (GOOD.replace("<x>50</x>", ""), "x is missing"),
        (GOOD.replace("<exact>79</exact>", "<exact>79.5</exact>"), "whole number"),
        (GOOD.replace("<exact>79</exact>", "<exact>70</exact>"), "do not ascend"),
        (GOOD.replace("<exact>79</exact>", "<exact>90000000</exact>"), "no vehicle is there throughout"),
        (GOOD.replace("<type>car</type>", "<type>pedestrian</type>"), "no dynamic obstacle that is a vehicle"),
        (GOOD.replace(RECTANGLE, ""), "missing"),
        (GOOD.replace(RECTANGLE, "<circle><radius/></circle>"), "instead of a number"),
        (GOOD.replace('lanelet id="2"', 'lanelet id="1"'), "occurs twice"),
        (GOOD.replace("</commonRoad>", obstacle(7) + "</commonRoad>"), "same id"),
        (GOOD.replace("</commonRoad>", f"{SIGNS}{SIGNS}</commonRoad>"), "trafficSign '40': occurs twice"),
        (GOOD.replace(' id="7"', ""), "id or initialState is missing"),
    ],
)
def test_broken_and_hostile_files_give_one_clear_line(tmp_path, text, match):
    path = tmp_path / "bad.xml"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=match) as caught:
        commonroad.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_files_that_hold_too_much_are_refused(write, monkeypatch):
    path = write(ROAD, *(obstacle(name, last=60) for name in range(20)))
    assert commonroad.load(path).num_agents == 20
    for module, name, most, match in (
        (commonroad, "MAX_AGENTS", 19, "more than 19 obstacles"),
        (commonroad_xml, "MAX_CHILDREN", 25, "25 children of the root"),
        (commonroad_xml, "MAX_ELEMENTS", 9000, "9,000 elements"),
    ):
        monkeypatch.setattr(module, name, most)
        with pytest.raises(ScenarioError, match=match):
            commonroad.load(path)
    monkeypatch.undo()
    monkeypatch.setattr(bounds, "MAX_ROWS", 1000)
    with pytest.raises(ScenarioError, match="at most 1,000 can be used"):
        commonroad.load(path)
    monkeypatch.setattr(commonroad_xml, "MAX_BYTES", 1000)
    with pytest.raises(ScenarioError, match=r"a\.xml"):
        commonroad.load(path)


def windows(write, changed: str = "") -> None:
    """Steps 0 to 239 in three windows, and a lone one; the first is named from step 1 on, as some are."""
    for number, (first, last) in enumerate(((1, 79), (80, 159), (160, 239), (320, 399))):
        begin = number * 16.0
        parts = [obstacle(7, x=10 * begin, speed=10.0), obstacle(50 + number, "bicycle", x=5.0, last=20)]
        # The same id, but 90 m away: another vehicle.
        parts.append(obstacle(8, x=100.0 * number, speed=1.0))
        road = ROAD.replace("<x>50</x>", "<x>51</x>") if changed and number == 2 else ROAD
        write(road, *parts, file=f"logs/DEU_Map-1_14{first}_T-{last}.xml", name=f"w{number}")


def test_windows_are_joined_to_logs(write, tmp_path):
    windows(write)
    write("<!-- no scene -->", file="logs/other.txt")
    first, lone = read_logs(tmp_path / "logs")
    assert (first.window.name, first.first, first.last, len(first.files)) == ("DEU_Map-1_14", 0, 239, 3)
    assert (lone.first, lone.last) == (320, 399)
    tracks = {track.id: track for track in first.window.tracks}
    assert tracks["7"].steps.tolist() == list(range(240))
    np.testing.assert_allclose(tracks["7"].rows[:, 0], np.arange(240) * 2.0)
    assert set(tracks) == {"7", "50", "51", "52", "8", "8-80", "8-160"}
    assert tracks["51"].steps.tolist() == list(range(80, 101))
    assert first.joined == 2


def test_windows_of_other_maps_are_other_logs(write, tmp_path):
    windows(write, changed="yes")
    assert [(log.first, log.last) for log in read_logs(tmp_path / "logs")] == [(0, 159), (160, 239), (320, 399)]


def test_logs_are_cut_into_scenes_with_an_ego(write, tmp_path):
    windows(write)
    logs = read_logs(tmp_path / "logs")
    scenes = LogScenes(cut(logs, 20.0))
    assert scenes.ids == ("DEU_Map-1_14_0-100", "DEU_Map-1_14_101-201")
    scene = scenes[1]
    assert (scene.num_steps, scene.agent_ids[scene.ego], scene.dt) == (201, "7", 0.1)
    assert scene.position[scene.ego, 0, 0] == pytest.approx(202.0)
    with pytest.raises(ConfigError, match=r"longest has 47\.8 s"):
        cut(logs, 60.0)
    with pytest.raises(ConfigError, match="at least"):
        cut(logs, float("nan"))
    with pytest.raises(ConfigError, match="inf s"):
        cut(logs, float("inf"))


def test_import_joins(write, tmp_path):
    windows(write)
    done = import_folder(tmp_path / "logs", tmp_path / "out", join=20.0)
    assert len(done.written) == 2
    assert open_source(tmp_path / "out")[1].num_steps == 201
    # Nobody is there for all of 40 s once vehicle 7 is gone.
    for path in (tmp_path / "logs").glob("*.xml"):
        path.write_text(path.read_text().replace('id="7"', f'id="7{path.stem[-2:]}"'))
    done = import_folder(tmp_path / "logs", tmp_path / "out2", join=40.0)
    assert not done.written
    assert "no vehicle is there throughout" in done.left_out[0].reason
    done = import_folder(tmp_path / "logs", tmp_path / "out3", join=40.0, ego_may_leave=True)
    (scene,) = open_source(tmp_path / "out3")
    there = scene.valid[scene.ego]
    assert (scene.num_steps, len(done.written), len(done.left_out)) == (401, 1, 0)
    assert there[:21].all()
    assert not there[-1]
    whole = scene.valid[:, 0] & (np.ptp(scene.position[..., 0], axis=1) > 10)
    assert there.sum() == scene.valid[whole].sum(1).max()
    with pytest.raises(ConfigError, match="goes with --join"):
        import_folder(tmp_path / "logs", tmp_path / "out4", ego_may_leave=True)


def test_an_ego_that_may_leave_drives_and_stays_longest(write, tmp_path):
    windows(write)
    window = read_logs(tmp_path / "logs")[0].window

    def driving(name: str, steps: int, speed: float) -> Track:
        rows = np.zeros((steps, 5))
        rows[:, 0] = speed * 0.2 * np.arange(steps)
        return Track(name, "VEHICLE", (4.0, 2.0, 1.5), np.arange(steps), rows)

    tracks = [
        driving("parked", 201, 0.0),
        driving("fast", 60, 20.0),
        driving("slow", 100, 1.0),
        driving("brief", 5, 40.0),
    ]
    for known, name in ((tracks, "slow"), (tracks[:2], "fast"), (tracks[::3], "parked")):
        found = to_description(replace(window, tracks=known), (0, 200), ego_may_leave=True)
        assert (found["metadata"]["sdc_id"], found["length"]) == (name, 201)
    with pytest.raises(ScenarioError, match="from step 0 to step 10"):
        to_description(replace(window, tracks=tracks[3:]), (0, 200), ego_may_leave=True)


def test_the_end_of_a_log_is_held_out(write, tmp_path):
    """Scenes before it that share a moving agent with it are in no split, and the map that all share drops none."""
    windows(write)
    (first,) = (tmp_path / "logs").glob("*_T-79.xml")
    first.write_text(first.read_text().replace('id="7"', 'id="77"'))  # So that 7 is there from step 80 to step 239.
    out = tmp_path / "out"
    done = import_folder(tmp_path / "logs", out, join=5.0, hold_out_last=16.0)
    train, test = (open_part(f"{out}@{split}") for split in ("train", "test"))
    assert 0 < len(train) < len(done.written) - len(test)
    begins = [span_of(scene.metadata["scenario_id"]).first for scene in test]
    assert min(begins) >= 160
    # From step 320 on there is another log, all of which is its end.
    late = {agent for scene, begin in zip(test, begins, strict=True) for agent in moving(scene) if begin < 320}
    assert "7" in late
    assert not late & {agent for scene in train for agent in moving(scene)}
    assert training_pool(train, [test]).ids == train.ids
    pool = training_pool(open_source(out), [test])
    assert {drop.reason for drop in pool.dropped} == {"the same scene id"}
    with pytest.raises(ConfigError, match="hold-out-last goes with --join"):
        import_folder(tmp_path / "logs", out, hold_out_last=16.0)
    for seconds, what in ((4.0, "nothing would be held out"), (float("nan"), "positive time")):
        with pytest.raises(ConfigError, match=what):
            import_folder(tmp_path / "logs", tmp_path / "none", join=5.0, hold_out_last=seconds)
    assert not (tmp_path / "none").exists()


def test_what_is_held_out_by_time_by_hand():
    def track(first: int, last: int, speed: float = 10.0, *, static: bool = False) -> SimpleNamespace:
        steps = np.arange(first, last + 1)
        return SimpleNamespace(steps=steps, rows=np.outer(0.1 * speed * steps, [1.0, 0.0]), static=static)

    def split(seconds: float, *tracks: SimpleNamespace) -> list[str | None]:
        log = SimpleNamespace(last=399, window=SimpleNamespace(dt=0.1, tracks=tracks))
        parts = [LogPart(str(first), log, first, first + 99) for first in range(0, 400, 100)]
        return list(held_out_by_time(parts, seconds).values())

    assert split(10.0) == ["train", "train", "train", "test"]
    assert split(12.0) == ["train", "train", None, "test"]
    assert split(10.0, track(150, 300)) == ["train", None, None, "test"]
    assert split(10.0, track(150, 299)) == ["train", "train", "train", "test"]
    assert split(10.0, track(20, 350, 0.0), track(0, 399, static=True)) == ["train", "train", "train", "test"]


def moving(scene):
    """Ids of the agents that get 2 m from where they begin."""
    way = scene.position[..., :2] - scene.position[:, :1, :2]
    return {
        name for name, far in zip(scene.agent_ids, (np.hypot(*way.T).T * scene.valid).max(1), strict=True) if far > 2
    }


def test_parts_of_a_log_are_known_by_their_names():
    one, other = span_of("C-DEU_MONAEast-2_160-205"), span_of("C-DEU_MONAEast-2_205-250")
    assert (one.log, one.first, one.last) == ("C-DEU_MONAEast-2", 160, 205)
    assert one.overlaps(other)
    assert not one.overlaps(span_of("C-DEU_MONAEast-2_206-251"))
    assert not one.overlaps(span_of("C-DEU_MONAWest-2_160-205"))
    for name in (
        "drive_2018-05",
        "pg-train-000002-0",
        "0a0af725-fbc3-41de-b969-3be718f694e2",
        "8a346109094cd5aa",
        "scene-0061",
    ):
        assert span_of(name) is None


def test_a_bad_window_costs_itself_alone(write, tmp_path):
    windows(write)
    write(ROAD, obstacle(7), file="logs/plain.xml")
    (tmp_path / "logs" / "DEU_Map-1_14160_T-239.xml").write_text("<commonRoad>")
    with pytest.raises(ScenarioError, match="commonRoadVersion is None"):
        read_logs(tmp_path / "logs")
    # Empty, it is not even known for CommonRoad's.
    (tmp_path / "logs" / "DEU_Map-1_15000_T-5079.xml").touch()
    done = import_folder(tmp_path / "logs", tmp_path / "out", join=10.0)
    bad = {"plain.xml", "DEU_Map-1_14160_T-239.xml", "DEU_Map-1_15000_T-5079.xml"}
    assert {name for name, _ in done.left_out} == bad
    steps = [path.stem.rpartition("_")[2] for path in done.written]
    assert steps == ["0-50", "51-101", "102-152", "320-370"]
    with pytest.raises(ScenarioError):
        import_folder(tmp_path / "logs", tmp_path / "out2", join=10.0, strict=True)
