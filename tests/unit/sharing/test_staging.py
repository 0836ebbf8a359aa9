"""What a folder becomes before it is sent, its card, and scenes without pickles."""

import json
from dataclasses import replace

import numpy as np
import pytest

from harness import push
from harness.errors import ConfigError, ScenarioError, WeightsError
from harness.sharing.card import LICENCES, data_lines, write_card
from harness.sharing.contents import SharedFile
from harness.sharing.hub import Hub, Repository, content_digest
from harness.sharing.recognition import recognise
from harness.sharing.scene_files import pack_scene, unpack_scene
from harness.sharing.staging import stage, without_places
from harness.sharing.transfer import prepare_parcel
from scenarios.description import to_description
from scenarios.export import write_pickle
from tests import scenes


def test_pictures_stay_behind_and_the_record_goes_with_a_single_file(policy_run, tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "alone").mkdir()
    whole = stage(policy_run, tmp_path / "whole")
    assert [file.path for file in whole.files] == ["curve.csv", "policy.safetensors", "run.json"]
    assert whole.left_out == ("curve.png",)
    alone = stage(policy_run / "policy.safetensors", tmp_path / "alone")
    assert [file.path for file in alone.files] == ["policy.safetensors", "run.json"]


def test_code_and_links_are_refused_by_name(policy_run, tmp_path):
    (policy_run / "best").mkdir()
    (policy_run / "best" / "state.pt").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"can run code when they are opened: best/state\.pt\."):
        stage(policy_run, tmp_path / "out")
    (policy_run / "best" / "state.pt").unlink()
    (policy_run / "passwords.json").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="symbolic link"):
        stage(policy_run, tmp_path / "out")


def test_the_checkpoint_of_a_run_stays_behind_and_is_code_elsewhere(policy_run, tmp_path):
    (policy_run / "checkpoint").mkdir()
    (policy_run / "checkpoint" / "policy.zip").write_bytes(b"x")
    (policy_run / "checkpoint" / "manifest.json").write_text("{}")
    (tmp_path / "out").mkdir()
    staged = stage(policy_run, tmp_path / "out")
    assert staged.left_out == ("curve.png", "checkpoint/manifest.json", "checkpoint/policy.zip")
    (policy_run / "run.json").unlink()
    with pytest.raises(ConfigError, match=r"checkpoint/policy\.zip\."):
        stage(policy_run, tmp_path / "other")


def test_a_pickle_that_is_no_scene_is_not_opened(policy_run, tmp_path):
    (policy_run / "scenes" / "cat").mkdir(parents=True)
    write_pickle({"id": 1}, policy_run / "scenes" / "cat" / "sd_a.pkl")
    with pytest.raises(ScenarioError, match="sd_a"):
        stage(policy_run, tmp_path / "out")


def test_a_header_that_names_this_machine_is_told(policy_run, tmp_path, weights):
    weights(policy_run / "w.safetensors", "gauntlet-smart-1", info=json.dumps({"data": f"{tmp_path}/home/WOMD"}))
    (tmp_path / "out").mkdir()
    assert stage(policy_run, tmp_path / "out").personal == ("w.safetensors",)


def test_places_become_short(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert without_places(f'["{tmp_path}/here/runs", "{tmp_path}/data", "/data"]') == '["./runs", "~/data", "/data"]'


def test_a_scene_comes_back_as_it_was(tmp_path):
    scene = scenes.crossing(scene_id="a")
    odd = {"nan": float("nan"), "words": np.array(["x", "y"]), "pair": (1, 2.5), "n": np.int64(7), 3: [None, True]}
    pack_scene(replace(scene, metadata={**scene.metadata, "odd": odd}), tmp_path / "a.safetensors")
    back = unpack_scene(tmp_path / "a.safetensors")
    for name in ("position", "heading", "velocity", "size", "valid", "kinds"):
        assert (getattr(back, name) == getattr(scene, name)).all()
    assert [feature.id for feature in back.features] == [feature.id for feature in scene.features]
    found = back.metadata["odd"]
    assert list(found["words"]) == ["x", "y"]
    assert (found["pair"], type(found["n"]), found[3]) == ((1, 2.5), np.int64, [None, True])
    assert found["nan"] != found["nan"]
    assert list(to_description(back)) == list(to_description(scene))


def test_what_no_tensor_holds_is_named(tmp_path):
    scene = scenes.straight_road()
    with pytest.raises(ScenarioError, match="a set cannot be shared"):
        pack_scene(replace(scene, metadata={**scene.metadata, "x": {1}}), tmp_path / "a.safetensors")
    with pytest.raises(ScenarioError, match="array of object"):
        pack_scene(replace(scene, metadata={**scene.metadata, "x": np.array([{}])}), tmp_path / "a.safetensors")


def test_other_safetensors_are_no_scenes(tmp_path, weights):
    (tmp_path / "no.safetensors").write_bytes(b"no")
    with pytest.raises(WeightsError):
        unpack_scene(tmp_path / "no.safetensors")
    for document in ('{"z": 1}', '{"a": "9"}', '{"d": [[1]]}', "[]"):
        weights(tmp_path / "b.safetensors", '"x"', format='"gauntlet-scene-1"', document=document)
        with pytest.raises(ScenarioError, match=r"b\.safetensors"):
            unpack_scene(tmp_path / "b.safetensors")
    weights(tmp_path / "c.safetensors", '"x"')
    with pytest.raises(ScenarioError, match="is no scene"):
        unpack_scene(tmp_path / "c.safetensors")


def test_the_card_says_what_how_and_where_it_ends(policy_run):
    files = [SharedFile(f"{n}.csv", 1000) for n in range(32)]
    text = write_card(policy_run, files, recognise(policy_run), "someone/my-ego", "cc-by-4.0", "Mine | <b>.")
    head, body = text.split("---\n")[1:]
    assert "license: cc-by-4.0\n" in head
    assert "- policy\n" in head
    assert "Mine \\| \\<b\\>." in body
    assert "gauntlet pull someone/my-ego@REVISION --out my-ego" in body
    assert "- `--sut ppo:my-ego/policy.safetensors`" in body
    assert "gauntlet train_ego best --out" in body
    assert "| gauntlet-drive | 0.1.0 |" in body
    assert "must not drive a vehicle" in body
    assert "| … and 2 more | 32,000 in all |" in body
    with pytest.raises(ConfigError, match=f"expected one of {LICENCES[0]}"):
        write_card(policy_run, files, recognise(policy_run), "someone/my-ego", "free", "")


def test_recorded_scenes_are_a_limit():
    assert data_lines({"config": {"data": "procedural"}}) == data_lines({}) == []
    assert "scenes ~/WOMD." in data_lines({"config": {"train": {"data": "~/WOMD"}}})[0]


def test_a_parcel_names_its_kind_and_refuses_a_revision(policy_run, tmp_path):
    (tmp_path / "out").mkdir()
    parcel = prepare_parcel(policy_run, tmp_path / "out", "someone/ego", "mit", "")
    assert parcel.repository == Repository("someone/ego", "model")
    assert parcel.files[0].path == "README.md"
    with pytest.raises(ConfigError, match="Leave @v1 out"):
        prepare_parcel(policy_run, tmp_path / "out", "someone/ego@v1", "mit", "")


@pytest.mark.parametrize("text", ["ego", "a/b/c", "../b", "a/b@", "a/b@../x", "a/b c", "https://hub/a/b", "-a/b"])
def test_names_that_are_no_repository(text):
    with pytest.raises(ConfigError, match="expected \\[datasets/\\]USER/NAME"):
        Repository.parse(text)


def test_only_a_commit_is_pinned():
    assert Repository.parse(f"a/b@{'0a' * 20}").pinned
    assert not Repository.parse("a/b@main").pinned


def test_check_sums_are_those_of_git_and_of_large_files(tmp_path):
    (tmp_path / "a").write_text("hello\n")  # git hash-object, sha256sum
    assert content_digest(tmp_path / "a", "blob:") == "blob:ce013625030ba8dba906f756967f9e9ca394464a"
    assert content_digest(tmp_path / "a", "sha256:").endswith("be03")
    assert content_digest(tmp_path / "a", "") == ""


def test_a_missing_client_gives_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"pip install 'gauntlet-drive\[hub\]'"):
        Hub()


def test_a_dry_run_needs_no_client_and_prints_the_card(policy_run, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    push.main([str(policy_run), "someone/ego", "--licence", "mit", "--dry-run"])
    printed = capsys.readouterr().out
    assert "license: mit" in printed
    assert "left out: curve.png" in printed
    assert "  policy.safetensors: " in printed
