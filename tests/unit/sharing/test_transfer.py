"""Push and pull through the hub's own client, against a server on this machine."""

import json

import pytest

from harness import pull, push
from harness.sharing.hub import Hub, Repository
from harness.sharing.staging import CARD, ORIGIN
from scenarios.export import write_folder
from scenarios.sources import open_source
from tests import scenes

pytest.importorskip("huggingface_hub")
REPOSITORY = "someone/ego"


def ends(command, arguments, capsys):
    """What a command says as it refuses its input."""
    with pytest.raises(SystemExit) as ended:
        command.main([str(word) for word in arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err.replace("\n", " ")


def pushed(source, capsys, *more, repository=REPOSITORY):
    """The repository at the commit that push printed."""
    push.main([str(source), repository, "--licence", "mit", *more])
    return capsys.readouterr().out.strip().rpartition(" ")[2]


def test_a_policy_travels_whole_and_says_how_it_is_used(hub, policy_run, tmp_path, capsys):
    pinned = pushed(policy_run, capsys)
    assert pinned.startswith(f"{REPOSITORY}@")
    assert hub.private == {f"models/{REPOSITORY}": True}
    out = tmp_path / "here"
    pull.main([pinned, "--out", str(out)])
    printed = capsys.readouterr()
    assert f"policy: --sut ppo:{out}/policy.safetensors" in printed.out
    assert "warning" not in printed.err
    assert {path.name for path in out.iterdir()} == {CARD, ORIGIN, "policy.safetensors", "run.json", "curve.csv"}
    assert (out / "policy.safetensors").read_bytes() == (policy_run / "policy.safetensors").read_bytes()
    origin = json.loads((out / ORIGIN).read_text())
    assert f"{origin['repository']}@{origin['commit']}" == pinned
    assert not list(tmp_path.glob(".*.part"))


def test_the_home_folder_stays_at_home(hub, policy_run, tmp_path, capsys):
    pull.main([pushed(policy_run, capsys), "--out", str(tmp_path / "here")])
    words = json.loads((tmp_path / "here" / "run.json").read_text())["provenance"]["command"]
    assert words[-1] == "~/runs/ego"
    assert str(tmp_path) not in (tmp_path / "here" / CARD).read_text()


def test_a_branch_is_pulled_with_a_warning_and_an_old_commit_stays(hub, policy_run, tmp_path, capsys):
    first = pushed(policy_run, capsys)
    (policy_run / "curve.csv").write_text("step,return\n1,3\n")
    second = pushed(policy_run, capsys)
    pull.main([REPOSITORY, "--out", str(tmp_path / "new")])
    assert f"Pin it: {second}" in capsys.readouterr().err.replace("\n", " ")
    pull.main([first, "--out", str(tmp_path / "old")])
    assert [(tmp_path / name / "curve.csv").read_text()[-2] for name in ("old", "new")] == ["2", "3"]


def test_attacked_scenes_travel_without_pickles(hub, policy_run, tmp_path, capsys):
    (policy_run / "policy.safetensors").unlink()
    write_folder([scenes.crossing(scene_id="a"), scenes.straight_road(scene_id="b")], policy_run / "scenes" / "cat")
    pinned = pushed(policy_run, capsys, repository="someone/attacks")
    assert pinned.startswith("datasets/someone/attacks@")
    files = hub.at("datasets/someone/attacks", "main")[1]
    assert sorted(files)[-2:] == ["scenes/cat/sd_a.safetensors", "scenes/cat/sd_b.safetensors"]
    out = tmp_path / "here"
    pull.main([pinned, "--out", str(out)])
    assert f"attacks: --data {out}/scenes/cat --split all" in capsys.readouterr().out
    read = open_source(str(out / "scenes" / "cat"), "all")
    assert (read[0].position == scenes.crossing(scene_id="a").position).all()
    assert list(read.ids) == ["sd_a", "sd_b"]


def test_other_files_of_a_repository_are_deleted_only_on_request(hub, policy_run, tmp_path, capsys):
    pushed(policy_run, capsys)
    (policy_run / "curve.csv").unlink()
    assert "curve.csv" in ends(push, [policy_run, REPOSITORY, "--licence", "mit"], capsys)
    pushed(policy_run, capsys, "--replace", "--public")
    assert "curve.csv" not in hub.at(f"models/{REPOSITORY}", "main")[1]


def test_a_repository_with_code_is_refused_before_anything_is_fetched(hub, tmp_path, capsys):
    commit = hub.add(f"models/{REPOSITORY}", {"policy.pkl": b"x", "weights.tar.xz": b"", "run.json": b"{}"})
    text = ends(pull, [f"{REPOSITORY}@{commit}", "--out", tmp_path / "here"], capsys)
    assert "can run code when they are opened: policy.pkl, weights.tar.xz." in text
    assert not [call for call in hub.calls if "resolve" in call]
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("path", ["../up.json", "a/../../up.json", ".hidden.json", "con.json", "a\\b.json", "x/ .json"])
def test_a_repository_with_crooked_names_is_refused(hub, tmp_path, capsys, path):
    commit = hub.add(f"models/{REPOSITORY}", {path: b"{}"})
    assert "plain paths" in ends(pull, [f"{REPOSITORY}@{commit}", "--out", tmp_path / "here"], capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["curve.csv", "policy.safetensors"])
def test_what_arrives_otherwise_than_listed_leaves_nothing(hub, policy_run, tmp_path, capsys, name):
    pinned = pushed(policy_run, capsys)
    data = (policy_run / name).read_bytes()
    hub.tamper[name] = data[:-1] + b"!"
    assert "did not arrive" in ends(pull, [pinned, "--out", tmp_path / "here"], capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]


def test_what_is_no_thing_of_gauntlet_s_is_refused(hub, tmp_path, capsys):
    commit = hub.add(f"models/{REPOSITORY}", {"notes.md": b"hello"})
    assert "nothing that Gauntlet knows" in ends(pull, [f"{REPOSITORY}@{commit}", "--out", tmp_path / "here"], capsys)
    commit = hub.add(f"models/{REPOSITORY}", {"policy.safetensors": b"\x80\x04no"})
    assert "not a readable safetensors" in ends(pull, [f"{REPOSITORY}@{commit}", "--out", tmp_path / "here"], capsys)


def test_a_folder_that_is_taken_is_left_alone(hub, policy_run, tmp_path, capsys):
    pinned = pushed(policy_run, capsys)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.txt").write_text("mine")
    assert "is taken" in ends(pull, [pinned, "--out", tmp_path / "here"], capsys)
    assert (tmp_path / "here" / "mine.txt").read_text() == "mine"


def test_who_may_not_write_is_told_to_log_in(hub, policy_run, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "hf auth login" in ends(push, [policy_run, REPOSITORY, "--licence", "mit"], capsys)


def test_missing_repositories_and_revisions_are_told_apart(hub, policy_run, tmp_path, capsys):
    assert "does not exist" in ends(pull, ["someone/nothing", "--out", tmp_path / "x"], capsys)
    pushed(policy_run, capsys)
    assert "no revision 'v9'" in ends(pull, [f"{REPOSITORY}@v9", "--out", tmp_path / "x"], capsys)


def test_a_hub_that_is_away_is_one_error(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in ends(pull, ["someone/ego", "--out", tmp_path / "x"], capsys)


def test_the_client_names_the_hub_that_it_was_told(hub):
    assert Hub().endpoint == hub.url
    assert Repository.parse("datasets/a/b@v1") == Repository("a/b", "dataset", "v1")
