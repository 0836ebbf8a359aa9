"""Where scenes lie below a root: official layouts, summaries and mappings, links, bounds."""

import os
import pickle

import pytest

from harness.errors import ScenarioError
from scenarios.importers import layouts
from scenarios.importers.layouts import SceneFound, find_scenes, kind_of, natural_key, summary_paths
from scenarios.store import ScenarioStore


def make(root, *names, text='{"objects": []}'):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found(root):
    return [(os.path.relpath(path, root), kind, split) for path, kind, split in find_scenes(root)]


def database(folder, summary, mapping=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset_summary.pkl").write_bytes(pickle.dumps({name: {} for name in summary}))
    if mapping is not None:
        (folder / "dataset_mapping.pkl").write_bytes(pickle.dumps(mapping))


def test_a_flat_folder_is_its_files_in_natural_order(tmp_path):
    make(tmp_path, "10.pkl", "2.pkl", ".3.pkl", "notes.txt", "sub/1.pkl", "x.tfrecord", "scene.json")
    make(tmp_path, "other.json", text="{}")
    kinds = [("scene.json", "gpudrive"), ("x.tfrecord", "womd"), ("2.pkl", "description"), ("10.pkl", "description")]
    assert found(tmp_path) == [(name, kind, None) for name, kind in kinds]
    assert list(find_scenes(tmp_path / "2.pkl")) == [SceneFound(str(tmp_path / "2.pkl"), "description", None)]


def test_a_stray_file_beside_split_folders_is_said(tmp_path, caplog):
    make(tmp_path, "0.pkl", "train/1.pkl", "pictures/2.pkl")
    assert [found.path for found in find_scenes(tmp_path)] == [str(tmp_path / "0.pkl")]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: scene files lie beside the folders 'train', which are not searched"
    ]


def test_argoverse2_below_its_root(tmp_path):
    for split, name in (("val", "b"), ("train", "a10"), ("train", "a9"), ("test", "c")):
        make(tmp_path, f"av2/{split}/{name}/scenario_{name}.parquet", f"av2/{split}/{name}/log_map_archive_{name}.json")
    ids = [("train", "a9"), ("train", "a10"), ("val", "b"), ("test", "c")]
    expected = [(f"av2/{split}/{name}/scenario_{name}.parquet", "argoverse2", split) for split, name in ids]
    assert found(tmp_path) == expected


def test_gpudrive_names_its_scenes_after_shards(tmp_path):
    names = ("training/group_0/tfrecord-00000-of-01000_7.json", "training/group_10/a.json", "training/group_2/b.json")
    make(tmp_path, *names, "testing/group_0/tfrecord-00000-of-00150_1.json")
    assert found(tmp_path) == [
        (names[0], "gpudrive", "train"),
        (names[2], "gpudrive", "train"),
        (names[1], "gpudrive", "train"),
        ("testing/group_0/tfrecord-00000-of-00150_1.json", "gpudrive", "test"),
    ]


def test_womd_shards_without_tf_examples(tmp_path):
    shards = [
        f"scenario/{part}/{part}.tfrecord-0000{n}-of-00150" for part in ("validation_interactive",) for n in (1, 0)
    ]
    make(tmp_path, *shards, "scenario/training/training.tfrecord-00000-of-01000")
    make(tmp_path, "tf_example/training/training_tfexample.tfrecord-00000-of-01000", "lidar_and_camera/x.tfrecord")
    assert found(tmp_path) == [
        ("scenario/training/training.tfrecord-00000-of-01000", "womd", "train"),
        (shards[1], "womd", "val"),
        (shards[0], "womd", "val"),
    ]


def test_the_innermost_split_folder_counts(tmp_path):
    make(tmp_path, "training/Testing/1.pkl", "training/2/3.pkl", "other/4.pkl")
    assert found(tmp_path) == [
        ("training/Testing/1.pkl", "description", "test"),
        ("training/2/3.pkl", "description", "train"),
        ("other/4.pkl", "description", None),
    ]
    # The name of the root itself says nothing: it was chosen.
    assert found(tmp_path / "other") == [("4.pkl", "description", None)]


def test_equal_names_in_two_splits_are_two_ids_in_each(tmp_path):
    make(tmp_path, "train/0.pkl", "test/0.pkl", "test/1.pkl")
    assert ScenarioStore(tmp_path).ids == ("train/0", "test/0", "test/1")
    assert ScenarioStore(tmp_path, part="train").ids == ("train/0",)
    assert ScenarioStore(tmp_path, part="test").ids == ("test/0", "test/1")


def test_scenarionet_summaries_are_followed_in_their_order(tmp_path):
    make(tmp_path, "nuplan_0/b.pkl", "nuplan_1/a.pkl", "nuplan_1/not_named.pkl", "stray.pkl")
    database(tmp_path, ["b.pkl", "a.pkl", "gone.pkl"], {"b.pkl": "nuplan_0", "a.pkl": "nuplan_1"})
    names = ["nuplan_0/b.pkl", "nuplan_1/a.pkl", "gone.pkl"]
    assert found(tmp_path) == [(name, "description", None) for name in names]
    assert [os.path.relpath(path, tmp_path) for path in summary_paths(tmp_path)] == names


def test_merged_databases_share_files_below_one_root(tmp_path):
    make(tmp_path, "one/a.pkl", "two/b.pkl")
    database(tmp_path / "one", ["a.pkl"])
    database(tmp_path / "two", ["b.pkl"], {})
    database(tmp_path / "merged", ["b.pkl", "a.pkl"], {"a.pkl": "../one", "b.pkl": "../two"})
    # Each file once, although two databases name it.
    assert found(tmp_path) == [("two/b.pkl", "description", None), ("one/a.pkl", "description", None)]
    # A merged data set alone is enough, and holds no more than it names.
    make(tmp_path, "one/more.pkl")
    database(tmp_path / "filtered", ["a.pkl"], {"a.pkl": "../one"})
    assert found(tmp_path / "filtered") == [("../one/a.pkl", "description", None)]


def test_mappings_may_name_split_folders(tmp_path):
    make(tmp_path, "train/a.pkl", "val/b.pkl", "train/test/c.pkl")
    database(tmp_path, ["a.pkl", "b.pkl", "c.pkl"], {"a.pkl": "train", "b.pkl": "val", "c.pkl": "train/test"})
    assert [split for _, _, split in found(tmp_path)] == ["train", "val", "test"]  # The innermost folder counts.


@pytest.mark.parametrize(
    ("summary", "mapping"),
    [
        (["a.pkl"], {"a.pkl": "/etc"}),
        (["../a.pkl"], {}),
        (["/etc/passwd"], {}),
        ([7], {}),
        (["a.pkl"], {"a.pkl": 7}),
        (["a.pkl"], ["a.pkl"]),
    ],
)
def test_a_summary_names_files_and_folders(tmp_path, summary, mapping):
    database(tmp_path, summary, mapping)
    with pytest.raises(ScenarioError, match=r"expected names|expected dictionaries") as caught:
        found(tmp_path)
    assert "\n" not in str(caught.value)


def test_links_to_folders_are_followed_once(tmp_path):
    make(tmp_path, "disk/1.pkl", "root/other/2.pkl")
    (tmp_path / "root" / "train").symlink_to(tmp_path / "disk")
    (tmp_path / "root" / "val").symlink_to(tmp_path / "disk")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "other" / "broken.pkl").symlink_to(tmp_path / "nowhere")
    assert found(tmp_path / "root") == [("train/1.pkl", "description", "train"), ("other/2.pkl", "description", None)]


def test_a_search_ends(tmp_path, monkeypatch):
    make(tmp_path, "1/2/3/4/5/6/deep.pkl", "1/2/3/4/5/6x/7/too_deep.pkl")
    assert found(tmp_path) == [("1/2/3/4/5/6/deep.pkl", "description", None)]
    monkeypatch.setattr(layouts, "MAX_ENTRIES", 7)
    with pytest.raises(ScenarioError, match="more than 7 files below it"):
        found(tmp_path)


def test_nothing_there(tmp_path):
    (tmp_path / "notes.txt").touch()
    os.mkfifo(tmp_path / "pipe.pkl")
    with pytest.raises(ScenarioError, match=r"no scenes\. Expected ScenarioNet pickles"):
        found(tmp_path)
    with pytest.raises(ScenarioError, match="not a scene file"):
        found(tmp_path / "notes.txt")
    with pytest.raises(ScenarioError, match="no such file or folder"):
        found(tmp_path / "gone")


def test_xml_is_told_by_its_first_bytes(tmp_path):
    make(tmp_path, "a.xml", text="<?xml version='1.0'?>\n<commonRoad commonRoadVersion='2020a'>")
    make(tmp_path, "b.xml", text="<?xml version='1.0'?><OpenDRIVE/>")
    assert [kind_of(tmp_path / name) for name in ("a.xml", "b.xml")] == ["commonroad", None]


def test_natural_order_takes_any_name():
    names = ["²", "10", "b2", "b10", "2", "a", "b02"]
    assert sorted(names, key=natural_key) == ["a", "b02", "b2", "b10", "²", "2", "10"]


@pytest.mark.parametrize("part", ["a\0b", "\ud800", 7, None, ["a"]])
def test_what_is_no_path_is_refused_in_one_line(tmp_path, part):
    database(tmp_path, ["1.pkl"], {"1.pkl": part})
    with pytest.raises(ScenarioError, match="expected names of files, and of folders"):
        list(summary_paths(tmp_path))
