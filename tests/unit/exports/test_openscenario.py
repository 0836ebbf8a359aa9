"""Exported files against the standards' schemas, and read back: positions, times, sizes, roads."""

import os
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scenariogeneration", reason="the optional library scenariogeneration is not installed")

from harness import attack
from harness.attacks.open_loop import attack_logged
from harness.episodes.protocol import CORRECTED
from harness.errors import ConfigError
from harness.exports.opendrive import ORIGIN_CODE, lane_roads
from harness.exports.openscenario import EGO, OPPONENT, write_openscenario
from harness.geometry import project_to_polyline, wrap_angle
from harness.registry import make
from scenarios import open_source
from scenarios.scenario import Kind, Scenario
from tests.scenes import LANE_WIDTH, Agent, crossing, straight_road
from tests.sources import tiny_source
from tests.unit.exports.reading import read_roads, read_tracks, schema_errors

MIXED = [
    Agent("truck", 40.0, 0.0, 0.0, 8.0, size=(9.0, 2.5, 3.2)),
    Agent("walker <&>", 30.0, -4.0, 1.2, 1.0, Kind.PEDESTRIAN, (0.8, 0.8, 1.8)),
    Agent("bike", 5.0, -1.5, 0.1, 4.0, Kind.CYCLIST, (1.8, 0.6, 1.7)),
    Agent("cone", 60.0, -1.5, 0.0, 0.0, Kind.CONE, (0.4, 0.4, 0.8)),
    Agent("late", -20.0, LANE_WIDTH, 0.0, 12.0, first=20, last=60),
    Agent("flash", 80.0, 0.0, 0.0, 0.0, first=30, last=30),
]


def names(scenario: Scenario) -> dict[str, int]:
    found = {f"agent {name}": row for row, name in enumerate(scenario.agent_ids)}
    return found | {EGO: scenario.ego, OPPONENT: scenario.opponent}


def check(scenario: Scenario, folder: Path) -> None:
    """Both files are valid, and what they say is what the scene says."""
    drive, roads = write_openscenario(scenario, folder, "scene")
    assert schema_errors(drive) == []
    assert schema_errors(roads) == []
    seen = np.zeros_like(scenario.valid)
    for track in read_tracks(drive):
        row = names(scenario)[track.entity]
        steps = np.round(track.times / scenario.dt).astype(int)
        assert np.allclose(steps * scenario.dt, track.times)
        assert scenario.valid[row, steps].all()
        seen[row, steps] = True
        gap = track.poses[:, :2] + scenario.origin - scenario.position[row, steps, :2]
        assert np.hypot(*gap.T).max() <= 0.01
        assert np.abs(wrap_angle(track.poses[:, 2] - scenario.heading[row, steps])).max() < 1e-4
        np.testing.assert_allclose(track.size, scenario.box(row), atol=1e-6)
    # Only a track of a single step has no polyline.
    for row, step in np.argwhere(scenario.valid & ~seen):
        assert not scenario.valid[row, max(step - 1, 0) : step].any() or step == 0
        assert not scenario.valid[row, step + 1 : step + 2].any()
    lines = read_roads(roads)
    for feature in scenario.features:
        if feature.is_lane and feature.id in lines:
            _, offset, _ = project_to_polyline(feature.points[:, :2] - scenario.origin, lines[feature.id])
            assert np.abs(offset).max() < 0.1


@pytest.mark.parametrize(
    "scenario",
    [
        straight_road(extra=MIXED, origin=(51234.5, -8765.25), rotation=0.7),
        crossing(opponent_from=5),
        straight_road(with_opponent=False),
    ],
    ids=["mixed", "crossing", "alone"],
)
def test_files_are_valid_and_say_what_the_scene_says(scenario: Scenario, tmp_path: Path) -> None:
    check(scenario, tmp_path)


def test_who_comes_and_goes_does_so_by_events(tmp_path: Path) -> None:
    scenario = straight_road(extra=MIXED)
    drive, _ = write_openscenario(scenario, tmp_path, "scene")
    root = ET.parse(drive).getroot()
    kinds = Counter()
    for event in root.iter("Event"):
        time = float(next(event.iter("SimulationTimeCondition")).get("value"))
        for action in event.iter("EntityAction"):
            kinds[action.get("entityRef"), action[0].tag, round(time, 6)] += 1
    assert kinds == {
        ("agent late", "AddEntityAction", 2.0): 1,
        ("agent late", "DeleteEntityAction", 6.1): 1,
        ("agent flash", "AddEntityAction", 3.0): 1,
        ("agent flash", "DeleteEntityAction", 3.1): 1,
    }
    assert {item.get("entityRef") for item in root.iter("Private")} == set(names(scenario)) - {
        "agent late",
        "agent flash",
        "agent ego",
        "agent opponent",
    }
    types = {item.get("name"): item[0] for item in root.iter("ScenarioObject")}
    assert types["agent truck"].get("vehicleCategory") == "truck"
    assert types["agent bike"].get("vehicleCategory") == "bicycle"
    assert types["agent walker <&>"].tag == "Pedestrian"
    assert types["agent cone"].tag == "MiscObject"


def test_the_rear_axle_is_the_reference_point(tmp_path: Path) -> None:
    drive, _ = write_openscenario(straight_road(), tmp_path, "scene")
    root = ET.parse(drive).getroot()
    (ego,) = (item for item in root.iter("Private") if item.get("entityRef") == EGO)
    # A car of 4.5 m whose middle is at (0, 0): the axle is 0.3 of that behind.
    assert float(next(ego.iter("WorldPosition")).get("x")) == pytest.approx(-1.35)


def test_roads_are_linked_where_there_is_no_choice() -> None:
    roads = {road.feature.id: road for road in lane_roads(crossing(), np.zeros(2))}
    follow = {name: road.after for name, road in roads.items() if road.after is not None}
    # "west" splits and "north" has two ways in; the rest of the chain is unique.
    assert follow == {"through": roads["east"].number, "south": roads["up"].number}
    straight = {road.feature.id: road for road in lane_roads(straight_road(), np.zeros(2))}
    assert straight["left"].width == straight["right"].width == LANE_WIDTH


def test_the_header_says_where_the_origin_lies(tmp_path: Path) -> None:
    _, roads = write_openscenario(straight_road(origin=(1000.0, 2000.0)), tmp_path, "scene")
    header = ET.parse(roads).getroot().find("header")
    (data,) = header.iter("userData")
    assert (data.get("code"), data.get("value")) == (ORIGIN_CODE, "1000.0000 2000.0000")
    assert float(header.get("west")) < -100.0 < 300.0 < float(header.get("east"))


def test_a_broken_file_is_noticed(tmp_path: Path) -> None:
    drive, roads = write_openscenario(straight_road(), tmp_path, "scene")
    drive.write_text(drive.read_text().replace('followingMode="position"', 'followingMode="sideways"'))
    roads.write_text(roads.read_text().replace("<planView>", "<plan>").replace("</planView>", "</plan>"))
    assert schema_errors(drive)
    assert schema_errors(roads)


def test_the_command_exports_the_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenarios.selection.open_source", lambda data, split=None, **_: tiny_source())
    out = tmp_path / "run"
    attack.main(["--adversary", "rule", "--scenes", "2", "--export-openscenario", "--out", str(out)])
    source = tiny_source()
    for index in (0, 1):
        scenario = source[index]
        _, plan = attack_logged(make("adversary", "rule"), scenario, CORRECTED)
        file = out / "openscenario" / "rule" / f"{scenario.id}-rule.xosc"
        assert schema_errors(file) == []
        (track,) = (track for track in read_tracks(file) if track.entity == OPPONENT)
        steps = np.round(track.times / scenario.dt).astype(int)
        np.testing.assert_allclose(track.poses[:, :2] + scenario.origin, plan.states[steps, :2], atol=0.01)
        named = ET.parse(file).getroot().find("RoadNetwork/LogicFile").get("filepath")
        assert (file.parent / named).is_file()


def test_a_missing_library_is_an_error_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scenariogeneration", None)
    monkeypatch.setitem(sys.modules, "scenariogeneration.xosc", None)
    with pytest.raises(ConfigError, match=r"gauntlet-drive\[openscenario\]"):
        write_openscenario(straight_road(), tmp_path, "scene")


@pytest.mark.womd
@pytest.mark.skipif("GAUNTLET_WOMD" not in os.environ, reason="GAUNTLET_WOMD names no folder of WOMD scenes")
def test_real_scenes(tmp_path: Path) -> None:
    source = open_source(os.environ["GAUNTLET_WOMD"])
    for index in (0, 1, 2):
        check(source[index], tmp_path / str(index))
