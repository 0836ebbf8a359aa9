"""How scenes are written back, and what a user's path means."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from harness.errors import ConfigError, ScenarioError
from scenarios.description import from_description
from scenarios.description_writing import to_description
from scenarios.export import SUMMARY, write_folder
from scenarios.importers.layouts import kind_of
from scenarios.source_format import ColumnFormat, copy_data
from scenarios.sources import open_source
from tests.scenes import straight_road


def test_a_column_is_written_in_the_files_type_and_shape():
    wide = ColumnFormat("length", np.dtype(np.float32), (1,)).write(np.array([4.5, 4.5]))
    assert (wide.dtype, wide.shape) == (np.float32, (2, 1))


def test_a_column_that_the_file_held_as_a_list_is_a_list_again():
    column = ColumnFormat("heading", np.dtype(np.float64), (), raw=[0.0, 1.0])
    assert column.write(np.array([0.0, 1.0])) == [0.0, 1.0]
    assert column.write(np.array([0.0, 2.0])) == [0.0, 2.0]


def test_columns_that_we_do_not_keep_come_back_beside_edited_ones():
    raw = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    written = ColumnFormat("velocity", raw.dtype, (3,), raw=raw).write(np.array([[1.0, 2.0], [9.0, 5.0]]))
    assert written.tolist() == [[1, 2, 3], [9, 5, 6]]


def test_a_copy_shares_nothing():
    data = {"a": [np.zeros(2), (1, {"b": np.ones(1)})]}
    copy = copy_data(data)
    copy["a"][0][:] = 7
    copy["a"][1][1]["b"][:] = 7
    assert data["a"][0].tolist() == [0, 0]
    assert data["a"][1][1]["b"].tolist() == [1]


def test_a_scene_made_in_memory_has_every_field_that_metadrive_asks_for():
    scene = straight_road(steps=20)
    written = to_description(scene)
    assert written["metadata"]["sdc_id"] == "ego"
    assert written["metadata"]["objects_of_interest"] == ["ego", "opponent"]
    assert written["metadata"]["ts"] == pytest.approx(np.arange(20) * 0.1)
    track = written["tracks"]["opponent"]
    assert track["type"] == "VEHICLE"
    assert track["state"]["position"][10] == pytest.approx([30.0, 3.5, 0.0])
    assert track["state"]["position"] is not scene.position
    assert set(track["state"]) == {"position", "heading", "velocity", "length", "width", "height", "valid"}
    lane = written["map_features"]["right"]
    assert (lane["left_neighbor"], lane["polyline"].shape) == ([{"feature_id": "left"}], (201, 3))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sd_1.pkl", "description"),
        ("dataset_summary.pkl", None),
        (".hidden.pkl", None),
        ("training.tfrecord-00000-of-01000", "womd"),
        ("scenario_7.parquet", "argoverse2"),
        ("log_map_archive_7.json", None),
        ("notes.txt", None),
    ],
)
def test_formats_are_told_by_name(tmp_path, name, kind):
    assert kind_of(tmp_path / name) == kind


def test_json_is_told_by_its_first_bytes(tmp_path):
    scene, other, archive = (tmp_path / f"{name}.json" for name in ("scene", "other", "log_map_archive_7"))
    archive.write_text('{"objects": []}')
    scene.write_text('{"name": "x", "objects": []}')
    other.write_text("{}")
    assert [kind_of(path) for path in (scene, other, archive, tmp_path / "gone.json")] == ["gpudrive", None, None, None]


def test_what_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown split 'tets'\. Known: train, val, test, all"):
        open_source(tmp_path, "tets")
    with pytest.raises(ScenarioError, match="no such file or folder"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "sd_1.pkl").write_bytes(b"")
    with pytest.raises(ConfigError, match="no sub-folder 'test', only train"):
        open_source(tmp_path, "test")


def test_ids_that_are_no_file_names_have_files_of_their_own(tmp_path):
    ids = ["a/b", "a_b", "sd_a_b", "\u5c71", "\u5ddd", "x" * 200, "..", "=cmd|'/C calc'!A0", "7"]
    (tmp_path / SUMMARY).write_bytes(pickle.dumps({5: {}, "x" * 300: {}, "a\0": {}}))
    paths = write_folder((replace(straight_road(), id=name) for name in ids), tmp_path)
    assert [path.name for path in paths][-1] == "7.pkl"
    assert [scene.metadata["scenario_id"] for scene in open_source(tmp_path, cache_scenes=0)] == ids
    with pytest.raises(ScenarioError, match="two scenes have the id 'a b'"):
        write_folder([replace(straight_road(), id="a b")] * 2, tmp_path)


def test_a_scene_whose_file_leaves_stamps_and_ego_empty_is_written_so():
    document = to_description(straight_road())
    document["metadata"] |= {"ts": None, "sdc_id": None, "sdc_track_index": 0}
    written = to_description(from_description(document))["metadata"]
    assert (written["ts"], written["sdc_id"]) == (None, None)
