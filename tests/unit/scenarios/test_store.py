"""Folders of scenes: order, cache, errors, export."""

import logging
import os
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest

from harness.errors import ConfigError, ScenarioError, UnsafePickleError
from scenarios import export
from scenarios.description import to_description
from scenarios.store import ScenarioStore, examine, load_scene
from scenarios.validate import Needs
from tests.scenes import straight_road


def dump(path, scene=None, **options):
    path.write_bytes(pickle.dumps(to_description(scene or straight_road(**options)), 4))


@pytest.fixture
def folder(tmp_path):
    """Twelve numbered scenes, in which the opponent's speed is the number."""
    for number in range(12):
        dump(tmp_path / f"{number}.pkl", opponent_speed=float(number), scene_id=f"id{number}")
    return tmp_path


def test_index_n_is_n_pkl_without_a_summary(folder):
    store = ScenarioStore(folder)
    assert len(store) == 12
    assert store.ids == tuple(str(number) for number in range(12))
    for number in (0, 2, 10, 11):
        assert store[number].velocity[1, 0, 0] == number
        assert store[number].id == str(number)
    assert store[-1].id == "11"
    assert [scene.id for scene in store] == list(store.ids)
    with pytest.raises(IndexError):
        store[12]


def test_files_with_any_name_are_scenes_with_names_that_can_be_shown(tmp_path):
    names = {
        b"[bold]x": "[bold]x",
        b"esc\x1b[31mred": r"esc\x1b[31mred",
        b"new\nline": r"new\nline",
        b"latin\xe9": r"latin\udce9",
        "山".encode() * 32: "山" * 32,
        b"=cmd|' C'!A0": "=cmd|' C'!A0",
        "\u202ea".encode(): r"\u202ea",
    }
    for number, name in enumerate(names):
        dump(tmp_path / os.fsdecode(name + b".pkl"), opponent_speed=float(number))
    os.mkfifo(tmp_path / "pipe.pkl")
    (tmp_path / "zero.pkl").symlink_to("/dev/zero")
    store = ScenarioStore(tmp_path)
    assert sorted(store.ids) == sorted(names.values())
    assert {scene.id for scene in store} == set(names.values())
    assert len({scene.velocity[1, 0, 0] for scene in store}) == len(names)


def test_the_opponent_is_selected(folder):
    scene = ScenarioStore(folder)[5]
    assert scene.opponent == 1


def test_summary_order_and_mapping_are_followed(folder):
    (folder / "part").mkdir()
    shutil.move(folder / "3.pkl", folder / "part" / "3.pkl")
    (folder / "dataset_summary.pkl").write_bytes(pickle.dumps({"3.pkl": {}, "1.pkl": {}}))
    (folder / "dataset_mapping.pkl").write_bytes(pickle.dumps({"3.pkl": "part", "1.pkl": ""}))
    store = ScenarioStore(folder)
    assert store.ids == ("3", "1")
    assert store[0].velocity[1, 0, 0] == 3.0


def test_a_summary_that_names_missing_files(folder):
    (folder / "dataset_summary.pkl").write_bytes(pickle.dumps({"3.pkl": {}, "gone.pkl": {}}))
    with pytest.raises(ScenarioError, match=r"gone\.pkl"):
        ScenarioStore(folder)
    store = ScenarioStore(folder, on_error="skip")
    assert store.ids == ("3",)
    assert [entry.path.name for entry in store.rejected] == ["gone.pkl"]


def test_the_cache_is_bounded_and_recent(folder):
    store = ScenarioStore(folder, cache_scenes=2)
    first = store[0]
    assert store[0] is first
    store[1], store[0], store[2]
    assert store[0] is first
    assert len(store._cache) == 2
    store[3], store[4]
    assert store[0] is not first
    none = ScenarioStore(folder, cache_scenes=0)
    assert none[0] is not none[0]


BAD = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:500]),
    "empty": lambda path: path.write_bytes(b""),
    "foreign": lambda path: path.write_bytes(b'{"not": "a pickle"}'),
    "malicious": lambda path: path.write_bytes(b"cos\nsystem\n(S'true'\ntR."),
    "not_a_scene": lambda path: path.write_bytes(pickle.dumps([1, 2])),
    "nan": lambda path: dump(path, with_nan()),
    "ego_gap": lambda path: dump(path, with_gap()),
    "no_lanes": lambda path: dump(path, replace(straight_road(), features=())),
}


def with_nan():
    scene = straight_road()
    position = scene.position.copy()
    position[0, 30] = np.nan
    return replace(scene, position=position)


def with_gap():
    scene = straight_road()
    valid = scene.valid.copy()
    valid[0, 30:35] = False
    return replace(scene, valid=valid)


@pytest.mark.parametrize("damage", BAD.values(), ids=BAD.keys())
def test_bad_files_raise_with_their_name_or_are_counted(folder, caplog, damage):
    damage(folder / "5.pkl")
    store = ScenarioStore(folder)
    assert len(store) == 12
    with pytest.raises(ScenarioError, match=r"5\.pkl: "):
        store[5]
    assert store[6].id == "6"
    with caplog.at_level(logging.WARNING):
        skipping = ScenarioStore(folder, on_error="skip")
    assert len(skipping) == 11
    assert skipping.ids[5] == "6"
    assert skipping[5].velocity[1, 0, 0] == 6.0
    assert [entry.path.name for entry in skipping.rejected] == ["5.pkl"]
    assert "5.pkl" in caplog.text
    _, findings = examine(folder / "5.pkl")
    assert any(finding.level == "error" for finding in findings)


def test_a_malicious_file_is_called_that(folder):
    BAD["malicious"](folder / "5.pkl")
    with pytest.raises(UnsafePickleError, match=r"os\.system"):
        ScenarioStore(folder)[5]


def test_needs_reject_scenes_for_a_use(folder):
    dump(folder / "4.pkl", with_opponent=False)
    dump(folder / "7.pkl", steps=50)
    assert len(ScenarioStore(folder, on_error="skip")) == 12
    store = ScenarioStore(folder, on_error="skip", needs=Needs(steps=91, opponent=True))
    # "0.pkl" holds an opponent at 0 m/s, but to_description marks it as object of interest.
    assert [(entry.path.name, "opponent" in entry.reason) for entry in store.rejected] == [
        ("4.pkl", True),
        ("7.pkl", False),
    ]


def test_no_folder_no_scenes_all_bad_and_bad_options(tmp_path):
    with pytest.raises(ScenarioError, match="no such file or folder"):
        ScenarioStore(tmp_path / "none")
    with pytest.raises(ScenarioError, match="no scenes"):
        ScenarioStore(tmp_path)
    (tmp_path / "0.pkl").write_bytes(b"")
    with pytest.raises(ScenarioError, match="all 1 scenes are bad"):
        ScenarioStore(tmp_path, on_error="skip")
    with pytest.raises(ConfigError, match="on_error"):
        ScenarioStore(tmp_path, on_error="ignore")
    with pytest.raises(ConfigError, match="cache_scenes"):
        ScenarioStore(tmp_path, cache_scenes=-1)


def test_export_is_read_back_and_has_a_summary(tmp_path):
    scenes = [straight_road(scene_id="a b/c", opponent_speed=3.0), straight_road(scene_id="7")]
    paths = export.write_folder(scenes, tmp_path)
    assert [path.name for path in paths] == ["sd_a_b_c~5b2b711a42d27981.pkl", "7.pkl"]
    store = ScenarioStore(tmp_path)
    assert store.ids == ("sd_a_b_c~5b2b711a42d27981", "7")
    np.testing.assert_array_equal(store[0].position, scenes[0].position)
    summary = pickle.loads((tmp_path / "dataset_summary.pkl").read_bytes())
    assert summary["7.pkl"]["number_summary"]["num_objects_each_type"] == {"VEHICLE": 2}
    assert not any(path.name.endswith(".part") for path in tmp_path.iterdir())
    with pytest.raises(ScenarioError, match="two scenes"):
        export.write_folder([scenes[0], scenes[0]], tmp_path)


def test_export_to_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScenarioError, match="cannot make"):
        export.write_pickle(to_description(straight_road()), tmp_path / "file" / "x.pkl")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ScenarioError, match="No space left"):
        export.write_pickle(to_description(straight_road()), tmp_path / "x.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.womd
def test_cat_folder_loads_as_it_is(womd):
    store = ScenarioStore(womd)
    assert store.ids[:3] == ("0", "1", "2")
    late = (29, 32, 38, 49, 66, 93, 120, 130, 146, 224, 258, 280, 310, 316, 349, 360)
    for number in late:
        scene = load_scene(womd / f"{number}.pkl")
        first = int(np.flatnonzero(scene.valid[scene.opponent])[0])
        assert 1 <= first <= 9
        assert not scene.position[scene.opponent, :first, :2].any()
