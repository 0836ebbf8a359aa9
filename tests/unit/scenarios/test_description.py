"""Lossless conversion to and from ScenarioDescription."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from harness.errors import ScenarioError
from scenarios import safe_pickle
from scenarios.description import from_description, to_description
from scenarios.scenario import Kind
from scenarios.store import rename
from tests.scenes import Agent, crossing, straight_road
from tests.unit.scenarios.same import same


def old_file():
    """A CAT-like file in the dress of several old converters."""
    document = to_description(straight_road(opponent_from=5, extra=[Agent("7", 3, 1, 0, 1, Kind.PEDESTRIAN)]))
    for track in document["tracks"].values():
        for key in ("position", "heading", "velocity", "length", "width", "height"):
            track["state"][key] = track["state"][key].astype(np.float32)
    walker = document["tracks"]["7"]["state"]
    for key in ("length", "width", "height"):
        del walker[key]
    other = document["tracks"]["opponent"]["state"]
    other["size"] = np.stack([other.pop("length"), other.pop("width"), other.pop("height")], -1)
    other["valid"] = other["valid"].astype(np.float64)
    ego = document["tracks"]["ego"]["state"]
    ego["length"] = ego["length"].astype(np.float64)[:, None]
    del ego["width"]
    ego["throttle"] = np.arange(91.0)
    ego["heading"] = ego["heading"].tolist()
    document["tracks"][12] = copy.deepcopy(document["tracks"]["7"])  # An integer key.
    lane = document["map_features"]["left"]
    lane["polyline"] = lane["polyline"].tolist()
    lane["entry_lanes"] = [77]
    lane["surprise"] = {"deep": np.arange(3)}
    document["map_features"]["stop"] = {"type": "STOP_SIGN", "position": np.zeros(3, np.float32), "lane": ["left"]}
    document["map_features"]["void"] = {"type": "ROAD_LINE_SOLID_SINGLE_WHITE", "polyline": []}
    document["map_features"]["walk"] = {"type": "CROSSWALK", "polygon": np.ones((4, 3), np.float32)}
    document["dynamic_map_states"] = {"76": {"type": "TRAFFIC_LIGHT", "state": {"object_state": [None] * 91}}}
    document["metadata"]["history"] = [1, {"a": (2, 3)}]
    document["unheard_of"] = {"x": np.float32(1)}
    return document


def test_old_file_comes_back_key_by_key():
    document = old_file()
    before = copy.deepcopy(document)
    same(before, to_description(from_description(document, "old.pkl")))
    same(before, document)  # Reading changed nothing.


def test_values_of_the_old_file_are_understood():
    scene = from_description(old_file(), "old.pkl")
    opponent, walker = scene.index_of("opponent"), scene.index_of("12")
    assert scene.ego == scene.index_of("ego")
    assert scene.dt == 0.1
    assert not scene.valid[opponent, :5].any()
    assert scene.valid[opponent, 5:].all()
    np.testing.assert_allclose(scene.size[opponent, 10], (4.5, 2.0, 1.5))
    np.testing.assert_allclose(scene.size[scene.ego, 0], (4.5, 2.0, 1.5))  # The missing width: 2 m by default.
    assert scene.kinds[walker] == Kind.PEDESTRIAN
    left = next(feature for feature in scene.features if feature.id == "left")
    assert left.entry == ("77",)
    assert left.right == ("right",)
    assert {feature.id for feature in scene.features if feature.closed} == {"walk"}


def test_edits_win_over_the_file():
    document = old_file()
    scene = from_description(document, "old.pkl")
    position, valid = scene.position.copy(), scene.valid.copy()
    opponent = scene.index_of("opponent")
    position[opponent, 20, :2] = (1.0, 2.0)
    valid[opponent, 90] = False
    features = (replace(scene.features[0], exit=("left",)), *scene.features[1:])
    edited = replace(scene, position=position, valid=valid, features=features, id="attacked", ego=opponent)
    found = to_description(edited)
    state = found["tracks"]["opponent"]["state"]
    assert state["position"].dtype == np.float32
    np.testing.assert_array_equal(state["position"][20, :2], (1.0, 2.0))
    assert state["valid"][90] == 0.0
    assert state["valid"].dtype == np.float64
    assert found["id"] == "attacked"
    assert found["metadata"]["sdc_id"] == "opponent"
    assert found["map_features"]["right"]["exit_lanes"] == ["left"]
    same(document["tracks"]["ego"], found["tracks"]["ego"])


def test_a_store_name_does_not_change_the_file():
    document = old_file()
    scene = rename(from_description(document, "old.pkl"), "old")
    assert scene.id == "old"
    assert to_description(scene)["id"] == document["id"]


def test_the_written_file_is_independent_of_the_scene():
    scene = from_description(old_file(), "old.pkl")
    found = to_description(scene)
    found["map_features"]["right"]["polyline"][:] = 0.0
    found["tracks"]["ego"]["state"]["position"][:] = 0.0
    assert scene.features[0].points.any()
    assert scene.position[scene.ego].any()


@pytest.mark.parametrize("scene", [straight_road(median=True, origin=(3e4, -2e4), rotation=1.0), crossing()])
def test_scenes_made_in_memory_survive(scene):
    document = to_description(scene)
    found = from_description(document, "memory")
    for name in ("kinds", "position", "heading", "velocity", "size", "valid"):
        np.testing.assert_array_equal(getattr(scene, name), getattr(found, name))
    for one, two in zip(scene.features, found.features, strict=True):
        assert (one.id, one.type, one.entry, one.exit, one.left, one.right) == (
            two.id,
            two.type,
            two.entry,
            two.exit,
            two.left,
            two.right,
        )
        np.testing.assert_array_equal(one.points, two.points)
    assert found.objects_of_interest == ("ego", "opponent")
    same(document, to_description(found))


def test_metadrive_accepts_scenes_made_in_memory():
    description = pytest.importorskip("metadrive.scenario.scenario_description").ScenarioDescription
    for scene in (straight_road(extra=[Agent("cone", 5, 5, 0, 0, Kind.CONE)]), crossing(opponent_from=3)):
        description.sanity_check(description(to_description(scene)))


def test_velocity_is_derived_where_the_file_has_none():
    document = to_description(straight_road(ego_speed=7.0, opponent_from=5))
    for track in document["tracks"].values():
        del track["state"]["velocity"]
    scene = from_description(document)
    np.testing.assert_allclose(scene.velocity[0], np.tile([7.0, 0.0], (91, 1)), atol=1e-9)
    assert not scene.velocity[1, :5].any()
    same(document, to_description(scene))


def test_exchanged_length_and_width_are_put_right():
    document = to_description(straight_road())
    state = document["tracks"]["ego"]["state"]
    state["length"], state["width"] = state["width"], state["length"]
    scene = from_description(document)
    assert scene.box(0) == (4.5, 2.0)
    same(document, to_description(scene))


@pytest.mark.parametrize(
    ("damage", "field", "reason"),
    [
        (lambda d: d.pop("tracks"), "tracks", "is missing"),
        (lambda d: d["tracks"].clear(), "tracks", "none"),
        (lambda d: d.update(tracks=[1]), "tracks", "list instead of a dictionary"),
        (lambda d: d["tracks"]["ego"].pop("state"), "tracks['ego']: state", "is missing"),
        (lambda d: d["tracks"]["ego"]["state"].pop("position"), "position", "is missing"),
        (lambda d: d["tracks"]["ego"]["state"].update(position=np.zeros((50, 3))), "position", "50 rows"),
        (lambda d: d["tracks"]["ego"]["state"].update(position=np.zeros(91)), "position", "shape"),
        (lambda d: d["tracks"]["ego"]["state"].update(heading=5), "heading", "int instead"),
        (lambda d: d["tracks"]["ego"]["state"].update(heading=["x"] * 91), "heading", "instead of numbers"),
        (lambda d: d["map_features"]["left"].update(polyline=np.zeros((4, 7))), "map_features['left']", "shape"),
        (lambda d: d["map_features"].update(left=3), "map_features['left']", "int"),
        (lambda d: d["metadata"].pop("sdc_id"), "sdc_id", "is missing"),
        (lambda d: d["metadata"].update(sdc_id="nobody"), "sdc_id", "nobody"),
        (lambda d: d.update(length="long"), "length", "long"),
        (lambda d: d["tracks"].update({7: d["tracks"]["ego"], "7": d["tracks"]["ego"]}), "tracks", "same id"),
        (lambda d: d.update(length=10**7), "position", "10000000 steps"),
        (lambda d: d.update(length=10**5000), "length", "int"),
        (lambda d: d.update(length=True), "length", "True"),
        (lambda d: d.update(length=np.float64(91)), "length", "91.0"),
        (lambda d: d["tracks"]["ego"]["state"].update(position=np.array(3.0)), "position", "ndarray"),
        (lambda d: d["tracks"]["ego"]["state"].update(velocity=np.array(3.0)), "velocity", "ndarray"),
        (lambda d: d["tracks"]["ego"]["state"].update(heading=[2**70] * 91), "heading", "object"),
        (lambda d: d["tracks"]["ego"]["state"].update(heading=[[1], 2] * 45), "heading", "one list"),
        (lambda d: d["tracks"]["ego"]["state"].update(heading=["x" * 10**6, *range(90)]), "heading", "str"),
        (lambda d: d["tracks"]["ego"]["state"].update(valid=np.array(["yes"] * 91)), "valid", "<U3"),
        (lambda d: d["tracks"]["ego"].update(type=["VEHICLE"]), "tracks['ego']: type", "list"),
        (lambda d: d["tracks"].update({(1, 2): d["tracks"]["ego"]}), "tracks", "tuple instead of an id"),
        (lambda d: d["tracks"].update({"x" * 10**6: d["tracks"]["ego"]}), "tracks", "1,000,000 characters"),
        (lambda d: d["tracks"].update({k: d["tracks"]["ego"] for k in range(10**4)}), "tracks", "at most 10,000"),
        (lambda d: d.update(id=10**5000), "id", "int instead of an id"),
        (lambda d: d.update(id=[["deep"]]), "id", "list instead of an id"),
        (lambda d: d["metadata"].update(scenario_id={}), "scenario_id", "dict instead of an id"),
        (lambda d: d["metadata"].update(sdc_id=b"ego"), "sdc_id", "bytes instead of an id"),
        (lambda d: d["metadata"].update(sdc_id="nobody" * 10**5), "sdc_id", "600,000 characters"),
        (lambda d: d["metadata"].update(ts=["a"] * 91), "ts", "str"),
        (lambda d: d["metadata"].update(ts=np.array(1.0)), "ts", "1 time stamps"),
        (lambda d: d["metadata"].update(ts=[10**400] * 91), "ts", "ts"),
        (lambda d: d["metadata"].update(objects_of_interest=[{}]), "objects_of_interest", "dict"),
        (lambda d: d["metadata"].update(tracks_to_predict=[{"track_index": 9}]), "tracks_to_predict", "found 9"),
        (lambda d: d["metadata"].update(tracks_to_predict=[{}]), "tracks_to_predict", "None"),
        (lambda d: d["metadata"].update(tracks_to_predict=["ego"] * 10_001), "tracks_to_predict", "10,001 entries"),
        (
            lambda d: d["map_features"]["right"].update(exit_lanes=np.zeros(1_000_001, np.int8)),
            "map_features",
            "ids of",
        ),
        (lambda d: d["map_features"]["left"].update(type=7), "map_features['left']: type", "7 instead"),
        (lambda d: d["map_features"]["left"].update(polyline=[["x", "y"]]), "map_features['left']", "str"),
        (lambda d: d["map_features"]["left"].update(polyline=[[1, 2], [3]]), "polyline", "inhomogeneous"),
        (lambda d: d["map_features"]["left"].update(polyline=np.array(5.0)), "polyline", "shape ()"),
        (lambda d: d["map_features"]["left"].update(exit_lanes=[["a"]]), "exit_lanes", "list instead of an id"),
        (lambda d: d["map_features"]["left"].update(left_neighbor={"a": 1}), "left_neighbor", "dict instead"),
        (lambda d: d["map_features"].update(stop={"type": "STOP_SIGN", "lane": [{}, 2.5]}), "lane", "2.5 instead"),
        (lambda d: d["map_features"].update({1.5: d["map_features"]["left"]}), "map_features[1.5]", "an id"),
        (lambda d: d.update(dynamic_map_states=[]), "dynamic_map_states", "list instead"),
        (lambda d: d.update(dynamic_map_states={None: {}}), "dynamic_map_states", "None instead of an id"),
    ],
)
def test_damage_is_reported_with_file_field_and_reason(damage, field, reason):
    document = to_description(straight_road())
    damage(document)
    with pytest.raises(ScenarioError) as caught:
        from_description(document, "folder/bad.pkl")
    message = str(caught.value)
    assert message.startswith("folder/bad.pkl: ")
    assert field in message
    assert reason in message


@pytest.mark.womd
@pytest.mark.parametrize("every", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_real_scenes_come_back(womd, every):
    files = sorted(womd.glob("*.pkl"))[::every] + sorted(womd.glob("*/*.pkl"))[:: min(every, 4)]
    for path in files:
        same(safe_pickle.load(path), to_description(from_description(safe_pickle.load(path), str(path))))
