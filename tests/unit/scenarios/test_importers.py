"""Importers of other formats: small files made here, broken ones, and the real ones where they are at hand."""

import json
import os
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from harness.errors import ScenarioError
from scenarios import open_source
from scenarios.description import from_description, to_description
from scenarios.importers import argoverse2, gpudrive, tfrecord, womd
from scenarios.importers.womd_schema import message
from scenarios.scenario import Kind
from scenarios.store import load_scene
from scenarios.training_pool import training_pool

STEPS = 91


def proto(name: str = "ab12cd34ef567890", offset: float = 0.0, steps: int = STEPS) -> bytes:
    """An AV (id 5) at 10 m/s along +x, a pedestrian (id 9) that is there from step 20 on, one lane, one light."""
    scene = message("Scenario")(scenario_id=name, sdc_track_index=0, current_time_index=10)
    scene.timestamps_seconds.extend(np.arange(steps) * 0.1)
    scene.objects_of_interest.extend([5, 9])
    scene.tracks_to_predict.add(track_index=1, difficulty=2)
    for agent, kind in ((5, 1), (9, 2)):
        track = scene.tracks.add(id=agent, object_type=kind)
        for step in range(steps):
            track.states.add(
                center_x=8000.0 + offset + step,
                center_y=float(agent),
                center_z=12.5,
                length=4.5,
                width=2.0,
                height=1.5,
                heading=0.25,
                velocity_x=10.0,
                valid=agent == 5 or step >= 20,
            )
    lane = scene.map_features.add(id=1).lane
    lane.type, lane.speed_limit_mph = 2, 25.0
    lane.exit_lanes.extend([2])
    lane.left_neighbors.add(feature_id=3)
    for x in range(60):
        lane.polyline.add(x=8000.0 + offset + 2 * x, y=5.0, z=12.0)
    edge = scene.map_features.add(id=4).road_edge
    edge.type = 2
    for x in (0, 50):
        edge.polyline.add(x=8000.0 + offset + x, y=1.0, z=12.0)
    scene.map_features.add(id=6).crosswalk.polygon.add(x=1.0, y=2.0, z=3.0)
    scene.map_features.add(id=7).stop_sign.position.x = 8020.0
    for step in range(steps):
        moment = scene.dynamic_map_states.add()
        if step != 3:
            moment.lane_states.add(lane=1, state=4 if step < 50 else 6).stop_point.x = 8050.0
    return scene.SerializeToString()


def test_check_sums():
    # The check value of CRC-32C, and a long record against a plain table.
    assert tfrecord.crc32c(b"123456789") == 0xE3069283
    data = np.random.default_rng(0).integers(0, 256, 40_001, dtype=np.uint8).tobytes()
    table, crc = tfrecord._table_list(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    assert tfrecord.crc32c(data) == crc ^ 0xFFFFFFFF


def test_womd_proto(tmp_path):
    path = tmp_path / "a.tfrecord-00000-of-00001"
    tfrecord.write(path, [proto("aa11bb22cc33dd44"), proto("ee11bb22cc33dd44")])
    source = open_source(path)
    assert source.ids == ("aa11bb22cc33dd44", "ee11bb22cc33dd44")
    scene = source[1]
    assert scene.position[0, 7].tolist() == [8007.0, 5.0, 12.5]
    assert scene.heading[0, 0] == np.float32(0.25)
    assert scene.kinds.tolist() == [Kind.VEHICLE, Kind.PEDESTRIAN]
    assert scene.valid[1].sum() == STEPS - 20
    assert (scene.ego, scene.dt, scene.objects_of_interest) == (0, 0.1, ("5", "9"))
    assert list(scene.metadata["tracks_to_predict"]) == ["9"]
    features = {feature.id: feature for feature in scene.features}
    assert features["1"].type == "LANE_SURFACE_STREET"
    assert (features["1"].exit, features["1"].left) == (("2",), ("3",))
    assert features["4"].type == "ROAD_EDGE_MEDIAN"
    assert features["4"].points[1].tolist() == [8050.0, 1.0, 12.0]
    assert features["6"].closed
    states = scene.lights["1"]["state"]["object_state"]
    assert (states[0], states[3], states[60]) == ("LANE_STATE_STOP", None, "LANE_STATE_GO")


def test_imported_scenes_survive_as_pickles(tmp_path):
    from scenarios.export import write_folder

    scene = womd.from_bytes(proto())
    write_folder([scene], tmp_path)
    again = load_scene(next(path for path in tmp_path.glob("*.pkl") if "dataset" not in path.name))
    for name in ("position", "heading", "velocity", "size", "valid"):
        assert np.array_equal(getattr(again, name), getattr(scene, name)), name
    assert again.metadata["tracks_to_predict"] == scene.metadata["tracks_to_predict"]
    assert again.lights.keys() == scene.lights.keys()
    assert all(np.array_equal(a.points, b.points) for a, b in zip(again.features, scene.features, strict=True))
    document = to_description(scene)
    assert to_description(from_description(document))["metadata"].keys() == document["metadata"].keys()


def broken(kind: str) -> bytes:
    data = proto()
    length = struct.pack("<Q", len(data))
    good = length + struct.pack("<I", tfrecord.masked_crc(length)) + data + struct.pack("<I", tfrecord.masked_crc(data))
    if kind == "cut":
        return good[:-100]
    if kind == "cut header":
        return good + b"\0\0\0"
    if kind == "flipped":
        return good[:5000] + bytes([good[5000] ^ 1]) + good[5001:]
    if kind == "huge length":
        huge = struct.pack("<Q", 1 << 62)
        return huge + struct.pack("<I", tfrecord.masked_crc(huge)) + data
    if kind == "text":
        return b"This is not a TFRecord file at all, not even nearly."
    return good


@pytest.mark.parametrize("kind", ["cut", "cut header", "flipped", "huge length", "text"])
def test_damaged_tfrecords_give_one_clear_line(tmp_path, kind):
    path = tmp_path / "bad.tfrecord"
    path.write_bytes(broken(kind))
    with pytest.raises(ScenarioError, match=r"bad\.tfrecord: record at byte") as caught:
        open_source(path)
    assert "\n" not in str(caught.value)


def test_hostile_protos_give_one_clear_line(tmp_path):
    path = tmp_path / "bad.tfrecord"
    rng = np.random.default_rng(0)
    data = proto()
    for attempt in range(40):
        spoiled = bytearray(data)
        for place in rng.integers(0, len(data), 20):
            spoiled[place] = rng.integers(0, 256)
        tfrecord.write(path, [bytes(spoiled[: rng.integers(1, len(data))]) if attempt % 2 else bytes(spoiled)])
        with suppress(ScenarioError):  # Anything else fails the test.
            open_source(path)[0]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda scene: scene.ClearField("timestamps_seconds"), "time stamps"),
        (lambda scene: scene.tracks[0].states.pop(), "90 states for 91"),
        (lambda scene: setattr(scene, "sdc_track_index", 7), "sdc_track_index"),
        (lambda scene: scene.tracks_to_predict.add(track_index=99), "track 99"),
        (lambda scene: setattr(scene.tracks[1], "id", 5), "twice"),
        (lambda scene: setattr(scene.map_features[1], "id", 1), "map feature 1: occurs twice"),
    ],
)
def test_incomplete_protos_say_what_is_missing(change, match):
    scene = message("Scenario").FromString(proto())
    change(scene)
    with pytest.raises(ScenarioError, match=match):
        womd.from_bytes(scene.SerializeToString(), "file")


def json_scene(name: str = "ab12cd34ef56789", offset: float = 0.0) -> dict:
    def points(*rows: tuple[float, float]) -> list[dict[str, float]]:
        return [{"x": 8000.0 + offset + x, "y": y, "z": 1.0} for x, y in rows]

    def thing(number: int, first: int) -> dict:
        valid = [step >= first for step in range(STEPS)]
        gone = {"x": -1e4, "y": -1e4, "z": -1e4}
        return {
            "id": number,
            "type": "vehicle",
            "length": 4.5,
            "width": 2.0,
            "height": 1.5,
            "valid": valid,
            "position": [points((step, number))[0] if ok else gone for step, ok in enumerate(valid)],
            "velocity": [{"x": 10.0 if ok else -1e4, "y": 0.0} for ok in valid],
            "heading": [0.1 if ok else -1e4 for ok in valid],
            "goalPosition": {"x": 0, "y": 0, "z": 0},
            "mark_as_expert": False,
        }

    lane = [(x, 3.0) for x in range(0, 101, 2)]
    return {
        "name": "file.json",
        "scenario_id": name,
        "objects": [thing(3, 0), thing(8, 15)],
        "roads": [
            {"id": 1, "type": "lane", "map_element_id": 2, "geometry": points(*lane)},
            {"id": 2, "type": "lane", "map_element_id": 2, "geometry": points((100.1, 3.0), (130.0, 3.0))},
            {"id": 3, "type": "lane", "map_element_id": 2, "geometry": points((100.0, 3.1), (100.0, 30.0))},
            {"id": 4, "type": "road_edge", "map_element_id": 16, "geometry": points((0, 0), (100, 0))},
            {"id": 5, "type": "stop_sign", "map_element_id": 17, "geometry": points((5, 5))},
        ],
        "tl_states": {},
        "metadata": {
            "sdc_track_index": 0,
            "objects_of_interest": [3, 8],
            "tracks_to_predict": [{"track_index": 1, "difficulty": 0}],
        },
    }


def test_gpudrive(tmp_path):
    (tmp_path / "0ab.json").write_text(json.dumps(json_scene()))
    (tmp_path / "splits.json").write_text('{"train": ["0ab"]}')
    source = open_source(tmp_path)
    assert source.ids == ("0ab",)
    scene = source[0]
    assert scene.position[0, 4].tolist() == [8004.0, 3.0, 1.0]
    assert scene.position[1, 3].tolist() == [0.0, 0.0, 0.0]
    assert scene.valid[1].sum() == STEPS - 15
    assert (scene.heading[1, 20], scene.agent_ids[scene.ego]) == (0.1, "3")
    assert list(scene.metadata["tracks_to_predict"]) == ["8"]
    features = {feature.id: feature for feature in scene.features}
    # Only what goes on in the same direction is a successor.
    assert features["1"].exit == ("2",)
    assert features["2"].entry == ("1",)
    assert features["4"].type == "ROAD_EDGE_MEDIAN"
    assert open_source(tmp_path, "train").ids == ("0ab",)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda scene: scene.pop("objects"),
        lambda scene: scene["objects"][0].pop("heading"),
        lambda scene: scene["objects"][0]["heading"].pop(),
        lambda scene: scene["metadata"].update(sdc_track_index=5),
        lambda scene: scene["metadata"].update(tracks_to_predict=[{"track_index": 9}]),
        lambda scene: scene["objects"][1].update(id=3),
        lambda scene: scene["roads"][0].update(geometry=[1, 2]),
        lambda scene: scene["roads"][0].update(map_element_id=float("nan")),
        lambda scene: scene["roads"][0]["geometry"][0].update(x=float("nan")),
        lambda scene: scene["objects"][0].update(length="long"),
        lambda scene: scene["objects"][0].update(length=10**400),
        lambda scene: scene["objects"][0].update(valid=1),
        lambda scene: scene["objects"][0].update(valid=["a"] * 91),
        lambda scene: scene["metadata"].update(tracks_to_predict=[{"track_index": "one"}]),
        lambda scene: scene.update(metadata=[]),
        lambda scene: scene.update(roads=7),
        lambda scene: scene.update(objects={"a": 1}),
        lambda scene: scene.update(tl_states=json.loads("[" * 400 + "]" * 400)),
        lambda scene: scene.update(tl_states={"1": [10**400]}),
        lambda scene: scene.update(tl_states=[0] * 1_000_001),
        lambda scene: scene["metadata"].update(objects_of_interest=[3] * 10_001),
    ],
)
def test_broken_gpudrive_files_give_one_clear_line(tmp_path, spoil):
    document = json_scene()
    spoil(document)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ScenarioError, match=r"bad\.json"):
        gpudrive.load(path)
    path.write_text(json.dumps(document)[:1000])
    with pytest.raises(ScenarioError, match="JSON"):
        gpudrive.load(path)


def test_copies_of_a_lane_do_not_multiply(tmp_path, monkeypatch):
    document = json_scene()
    document["roads"] += [{**document["roads"][0], "id": 100 + place} for place in range(1000)]
    path = tmp_path / "copies.json"
    path.write_text(json.dumps(document))
    lanes = [feature for feature in gpudrive.load(path).features if feature.is_lane]
    assert len(lanes) == 1003
    assert max(len(lane.exit) for lane in lanes) <= gpudrive.MAX_BRANCHES
    monkeypatch.setattr("scenarios.bounds.MAX_CROWD", 1000)
    with pytest.raises(ScenarioError, match=r"copies\.json: map_features: .* points of lines within 10 m"):
        load_scene(path)


def test_empty_messages_are_counted_before_they_are_read():
    scene = message("Scenario").FromString(proto())
    points = scene.map_features.add(id=77).road_edge.polyline
    for _ in range(100):
        points.add()
    data = scene.SerializeToString()
    # The same field again and again: protobuf joins the parts.
    assert len(womd.from_bytes(data).features[-1].points) == 100
    edge = message("MapFeature")(id=78)
    edge.road_edge.polyline.extend([message("MapPoint")()] * 1_000_001)
    twice = data + message("Scenario")(map_features=[edge, edge]).SerializePartialToString()
    with pytest.raises(ScenarioError, match=r"points; at most 2,000,000"):
        womd.from_bytes(twice, "file")
    many = message("Scenario")(objects_of_interest=[1] * 20_000)
    with pytest.raises(ScenarioError, match="20,002 agents"):
        womd.from_bytes(proto() + many.SerializePartialToString(), "file")


def test_bad_files_can_be_left_out(tmp_path):
    (tmp_path / "good.json").write_text(json.dumps(json_scene()))
    (tmp_path / "bad.json").write_text('{"objects": []}')
    tfrecord.write(tmp_path / "x.tfrecord", [proto()])
    (tmp_path / "y.tfrecord").write_bytes(b"nothing")
    source = open_source(tmp_path, on_error="skip")
    assert source.ids == ("good", "ab12cd34ef567890")
    assert [rejected.path.name for rejected in source.rejected] == ["bad.json", "y.tfrecord"]


def test_training_pool_drops_windows_of_held_out_drives(tmp_path):
    held, train = tmp_path / "held", tmp_path / "train"
    held.mkdir()
    train.mkdir()
    tfrecord.write(held / "h.tfrecord", [proto("0ab12cd34ef56789"), proto("1111111111111111", 500.0)])
    (train / "same_id.json").write_text(json.dumps(json_scene("ab12cd34ef56789", 3000.0)))
    (train / "other.json").write_text(json.dumps(json_scene("2222222222222222", 6000.0)))
    tfrecord.write(
        train / "t.tfrecord",
        [
            proto("3333333333333333", 540.0),  # 40 of 120 m on: two thirds of the lane are the held-out scene's.
            proto("4444444444444444", 9000.0),
            proto("2222222222222222", 6000.0),
        ],
    )
    pool = training_pool(open_source(train), [open_source(held)])
    assert set(pool.ids) == {"other", "4444444444444444"}
    assert {drop.scene: drop.held_out for drop in pool.dropped} == {
        "same_id": "0ab12cd34ef56789",
        "3333333333333333": "1111111111111111",
        "2222222222222222": "other",
    }
    assert len(pool) == 2


def test_import_command_takes_every_format(tmp_path):
    from harness.scenarios import main

    tfrecord.write(tmp_path / "a.tfrecord", [proto("aa11bb22cc33dd44"), proto("ee11bb22cc33dd44", 5000.0)])
    tfrecord.write(tmp_path / "held.tfrecord", [proto("ee11bb22cc33dd44", 5000.0)])
    out = tmp_path / "out"
    main(["import", str(tmp_path / "a.tfrecord"), str(out), "--not-in", str(tmp_path / "held.tfrecord")])
    assert len(open_source(out)) == 1


def test_argoverse2(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow (pip install 'gauntlet-drive[argoverse]')")
    import pyarrow.parquet as parquet

    steps = 110
    rows = [("AV", "vehicle", 1, step, float(step), 0.0) for step in range(steps)]
    rows += [("71", "bus", 3, step, 30.0 + step, 3.0) for step in range(5, 40)]
    names = ("track_id", "object_type", "object_category", "timestep", "position_x", "position_y")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    count = len(rows)
    columns |= {"heading": [0.0] * count, "velocity_x": [10.0] * count, "velocity_y": [0.0] * count}
    columns |= {"scenario_id": ["s1"] * count, "focal_track_id": ["71"] * count, "city": ["here"] * count}
    columns["num_timestamps"] = [steps] * count
    path = tmp_path / "scenario_s1.parquet"
    parquet.write_table(pyarrow.table({name: list(values) for name, values in columns.items()}), path)
    # A long text that every row repeats is held once.
    assert argoverse2._read_table(path)["city"].dtype == object

    def line(y: float, z: float) -> list[dict[str, float]]:
        return [{"x": float(x), "y": y, "z": z} for x in range(0, 201, 10)]

    box = [(0, -3), (200, -3), (200, 6), (0, 6)]
    archive = {
        "lane_segments": {
            "11": {
                "centerline": line(0.0, 0.0),
                "left_lane_boundary": line(1.75, -7.0),
                "right_lane_boundary": line(-1.75, -7.0),
                "left_lane_mark_type": "DASHED_WHITE",
                "right_lane_mark_type": "NONE",
                "left_neighbor_id": 12,
                "right_neighbor_id": None,
                "predecessors": [],
                "successors": [13],
                "lane_type": "VEHICLE",
                "is_intersection": False,
            }
        },
        "pedestrian_crossings": {},
        "drivable_areas": {"1": {"area_boundary": [{"x": x, "y": y, "z": -7.0} for x, y in box[::-1]]}},
    }
    (tmp_path / "log_map_archive_s1.json").write_text(json.dumps(archive))
    source = open_source(tmp_path)
    assert source.ids == ("s1",)
    scene = source[0]
    bus = scene.index_of("71")
    assert (scene.agent_ids[scene.ego], scene.num_steps) == ("AV", steps)
    assert scene.valid[bus].sum() == 35
    assert scene.position[scene.ego, 10].tolist() == [10.0, 0.0, -7.0 + 0.8]
    assert scene.box(bus)[0] == 11.0
    assert list(scene.metadata["tracks_to_predict"]) == ["71"]
    features = {feature.id: feature for feature in scene.features}
    assert (features["11"].exit, features["11"].left) == (("13",), ("12",))
    edge = features["edge-0"].points
    area = 0.5 * np.sum(edge[:-1, 0] * edge[1:, 1] - edge[1:, 0] * edge[:-1, 1])
    assert area == pytest.approx(1800.0, rel=1e-3)  # Positive: counter-clockwise, the road on the left.
    assert edge[0, 2] == -7.0
    (tmp_path / "log_map_archive_s1.json").unlink()
    with pytest.raises(ScenarioError, match="log_map_archive_s1"):
        open_source(tmp_path)[0]


@pytest.mark.wod_proto
def test_real_protos():
    folder = os.environ.get("GAUNTLET_WOD_PROTO")
    if not folder:
        pytest.skip("needs WOMD protos: set GAUNTLET_WOD_PROTO")
    source = open_source(Path(folder))
    tracks = {name: source[index].num_agents for index, name in enumerate(source.ids)}
    assert tracks == {"637f20cafde22ff8": 83, "ee519cf571686d19": 257}
