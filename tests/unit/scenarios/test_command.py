"""`python -m harness.scenarios`, on folders of synthetic scenes."""

import csv
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from harness import scenarios as command
from harness.commands.scenes import DrawConfig
from harness.drawing.palette import LIGHT, rgb
from scenarios import open_source, procedural
from scenarios.description import to_description
from scenarios.examination import examine_files, scene_files
from scenarios.importers import tfrecord
from scenarios.importing import import_folder
from scenarios.listing import SceneRow, rows_of, splits_of
from scenarios.store import ScenarioStore
from scenarios.validate import Needs
from tests.scenes import crossing, straight_road
from tests.unit.scenarios.commonroad import ROAD, obstacle, scenario
from tests.unit.scenarios.test_importers import json_scene, proto


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three scenes: a good one, one whose opponent leaves the road, and a truncated file."""
    monkeypatch.setenv("GAUNTLET_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "data"
    path.mkdir()
    for number, scene in enumerate((crossing(), straight_road(opponent_offset=5.0))):
        (path / f"{number}.pkl").write_bytes(pickle.dumps(to_description(scene), 4))
    return path


def run(*arguments):
    try:
        command.main([str(argument) for argument in arguments])
    except SystemExit as done:
        return done.code
    return 0


def test_list_writes_the_table(folder, tmp_path, capsys):
    assert run("list", folder, "--csv", tmp_path / "t.csv") == 0
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [row["scene"] for row in rows] == ["0", "1"]
    assert [row["left out because"] for row in rows] == ["", "logged opponent crosses a road boundary"]
    assert [row["ego path m"] for row in rows] == ["90.0", "90.0"]
    assert "1 of 2 are fit" in capsys.readouterr().out


def test_list_takes_a_selection(folder, capsys):
    assert run("list", folder, "--scenes", "#1") == 0
    assert "0 of 1 are fit" in capsys.readouterr().out
    assert run("list", folder, "--limit", "1") == 0
    printed = capsys.readouterr()
    assert "1 of 1 are fit" in printed.out
    assert "write --scenes" in printed.err
    assert run("list", folder, "--scenes", "#2") == 2


def test_a_list_names_splits_and_what_cannot_be_read(folder):
    (folder / "2.pkl").write_bytes(b"")
    source = ScenarioStore(folder)
    rows = list(rows_of(source, splits_of(source, "val"), [2, 0]))
    assert rows[0] == SceneRow("2", split="val", left_out=rows[0].left_out)
    assert rows[0].left_out.startswith("cannot be read: ")
    assert (rows[1].steps, rows[1].opponent, rows[1].split) == ("91", "opponent", "val")


def test_an_examination_finds_scenes_that_two_files_hold(folder):
    (folder / "3.pkl").write_bytes((folder / "0.pkl").read_bytes())
    reports = list(examine_files(scene_files(folder), Needs()))
    assert [report.name for report in reports] == ["0.pkl", "1.pkl", "3.pkl", "0.pkl, 3.pkl"]
    assert [report.worst for report in reports][-1] == "warning"
    assert "all hold scene" in reports[-1].findings[0].reason


def test_every_format_is_validated_and_a_bad_file_or_record_costs_itself_alone(folder, capsys):
    (folder / "a.xml").write_text(scenario(ROAD, obstacle(7), obstacle(8, x=12.0)))
    (folder / "b.xml").write_text(scenario(ROAD, obstacle(7))[:-100])
    (folder / "c.json").write_text(json.dumps(json_scene()))
    (folder / "d.json").write_text('{"objects": 7}')
    tfrecord.write(folder / "e.tfrecord", [proto("aa11bb22cc33dd44"), b"no proto", proto("ee11bb22cc33dd44", 500.0)])
    (folder / "f.tfrecord").write_bytes(b"none at all")
    (folder / "2.pkl").write_bytes(b"")
    assert run("validate", folder, "--quiet") == 1
    said = capsys.readouterr().out
    wrong = [line.partition(": error: ")[0] for line in said.splitlines() if ": error: " in line]
    assert wrong == ["b.xml", "d.json", "e.tfrecord[1]", "f.tfrecord", "2.pkl"]
    assert "9 files: 5 with errors" in said
    assert run("validate", folder / "a.xml") == 0
    names = [report.name for report in examine_files(scene_files(folder / "e.tfrecord"), Needs())]
    assert names == ["e.tfrecord[aa11bb22cc33dd44]", "e.tfrecord[1]", "e.tfrecord[ee11bb22cc33dd44]"]


def test_a_root_is_validated_through_its_folders(folder, capsys):
    root = folder / "root"
    for split in ("training", "validation"):
        (root / split / "group_0").mkdir(parents=True)
        (root / split / "group_0" / "tfrecord-00000-of-01000_0.json").write_text(json.dumps(json_scene()))
    assert run("validate", root) == 0
    said = capsys.readouterr().out
    assert "2 files: 0 with errors" in said
    assert "all hold scene ab12cd34ef56789" in said
    assert [len(open_source(root, split)) for split in ("train", "val", "all")] == [1, 1, 2]


def test_an_import_tells_what_it_left_out_and_why(folder, tmp_path):
    (folder / "2.pkl").write_bytes(b"")
    done = import_folder(folder, tmp_path / "out", fit_only=True)
    assert [path.name for path in done.written] == ["0.pkl"]
    assert [name for name, _ in done.left_out] == ["1", "2"]
    assert done.total == 3


def test_validate_tells_by_its_exit_code(folder, capsys):
    assert run("validate", folder) == 0
    for number in range(4, 8):
        (folder / f"{number}.pkl").write_bytes(b"")
    assert run("validate", folder) == 1
    assert "4 files: error: file: the file is empty" in (said := capsys.readouterr().out)
    assert "(4.pkl, 5.pkl, 6.pkl and 1 more)" in said
    for number in range(4, 8):
        (folder / f"{number}.pkl").unlink()
    assert run("validate", folder / "0.pkl", "--steps", "200") == 1
    assert "lasts 91 steps, but 200 are needed" in capsys.readouterr().out
    (folder / "2.pkl").write_bytes((folder / "0.pkl").read_bytes()[:1000])
    assert run("validate", folder) == 1
    assert "2.pkl: error: file: not a usable pickle" in capsys.readouterr().out
    assert run("validate", folder / "none") == 2


def test_import_leaves_out_what_is_bad(folder, tmp_path, capsys):
    (folder / "2.pkl").write_bytes(b"")
    assert run("import", folder, tmp_path / "out") == 0
    assert ScenarioStore(tmp_path / "out").ids == ("0", "1")
    assert run("import", folder, tmp_path / "fit", "--fit-only") == 0
    assert ScenarioStore(tmp_path / "fit").ids == ("0",)
    text = capsys.readouterr().out
    assert "2.pkl: the file is empty" in text
    assert "1 scenes in" in text
    assert run("import", folder, tmp_path / "strict", "--strict") == 2
    assert run("import", folder, folder) == 2


def test_draw_makes_a_picture_with_ego_and_opponent(folder, tmp_path):
    assert run("draw", folder, "--scenes", "#0,1", "--out", tmp_path / "p") == 0
    image = np.asarray(Image.open(tmp_path / "p" / "0.png").convert("RGB")).astype(int)
    for colour in (rgb(LIGHT.ego), rgb(LIGHT.opponent)):
        assert (np.abs(image - colour).sum(-1) < 20).sum() > 200
    assert (tmp_path / "p" / "1.png").is_file()
    assert run("draw", folder, "--scenes", "#9", "--out", tmp_path / "p") == 2
    (tmp_path / "file").write_text("")
    assert run("draw", folder, "--out", tmp_path / "file" / "p") == 2


def test_draw_takes_the_first_scene_by_default(folder):
    assert DrawConfig(data=str(folder)).open().ids == ("0",)


def test_generate_fills_a_folder(tmp_path, monkeypatch):
    seen = []

    def generate(config, folder, workers, progress):
        seen.append((config.train, config.test, config.seed, workers))
        folder.mkdir()
        (folder / "0.pkl").write_bytes(pickle.dumps(to_description(crossing()), 4))
        assert progress is None, "without a terminal the generator says by itself how far it is"

    monkeypatch.setattr(procedural, "generate", generate)
    out = tmp_path / "out"
    assert run("generate", "--out", out, "--train", "3", "--test", "1", "--seed", "5", "--workers", "1") == 0
    assert seen == [(3, 1, 5, 1)]


def slower(scene, step=0.2):
    """The scene's rows, taken every `step` seconds by their time stamps, at fitting velocities."""
    document = to_description(scene)
    document["metadata"]["ts"] = np.arange(scene.num_steps) * step
    for track in document["tracks"].values():
        track["state"]["velocity"] *= 0.1 / step
    return document


def test_scenes_of_another_rate_are_listed_validated_and_imported(folder, tmp_path, capsys):
    (folder / "2.pkl").write_bytes(pickle.dumps(slower(crossing()), 4))
    assert run("list", folder, "--csv", tmp_path / "t.csv") == 0
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [(row["recorded"], row["steps"]) for row in rows] == [("10 Hz", "91"), ("10 Hz", "91"), ("5 Hz", "181")]
    capsys.readouterr()
    assert run("validate", folder) == 0
    assert "2.pkl: warning: ts: recorded at 5 Hz, resampled to 10 Hz" in capsys.readouterr().out
    assert run("import", folder, tmp_path / "out") == 0
    assert "1 of 3 scenes were recorded at 5 Hz and are resampled to 10 Hz." in capsys.readouterr().out
    written = ScenarioStore(tmp_path / "out")
    assert written[2].num_steps == 181
    np.testing.assert_allclose(np.diff(written[2].position[0, :, 0]), 0.5)
