"""Every command that takes scenes takes `--fit-only`, and says what it left out."""

import importlib
import json
from dataclasses import fields, replace

import pytest

from harness.attack import main as attack
from harness.cli import VERBS
from harness.commands.left_out import note_left_out
from harness.commands.scaffold import Command, Group
from harness.scenarios import main as scenarios
from scenarios.export import write_folder
from scenarios.selection import FitScenes, LeftOut
from scenarios.splits import SplitPart, Subset
from scenarios.store import ScenarioStore
from tests.scenes import straight_road
from tests.sources import ListSource


def commands():
    for verb in VERBS:
        found = importlib.import_module(f"harness.{verb}").main
        members = found.members.items() if isinstance(found, Group) else ()
        for name, item in [(verb, found), *((f"{verb} {word}", member) for word, member in members)]:
            if isinstance(item, Command):
                yield pytest.param(item, id=name)


# One calls other commands as the documentation does, with the scenes that these tables have. The other has the scenes
# of the runs that it compares.
FIXED = ("reproduce", "compare")


@pytest.mark.parametrize("item", [item for item in commands() if item.id not in FIXED])
def test_where_scenes_are_chosen_unfit_ones_can_be_left_out(item):
    names = {field.name for field in fields(item.kind)}
    assert ("data" in names) <= ({"fit_only", "where"} <= names)


@pytest.fixture
def folder(tmp_path):
    scenes = [straight_road(), straight_road(ego_speed=0.0), straight_road(with_opponent=False)]
    write_folder([replace(scene, id=f"s{number}") for number, scene in enumerate(scenes)], tmp_path / "data")
    return tmp_path / "data"


def test_a_run_lists_what_it_left_out(folder, tmp_path, capsys):
    attack(
        ["--data", str(folder), "--split", "all", "--adversary", "rule", "--fit-only", "--out", str(tmp_path / "run")]
    )
    said = capsys.readouterr().out
    assert "left out 2 of 3 scenes as unfit (--fit-only): ego hardly moves 1, no opponent 1." in said
    assert len(json.loads((tmp_path / "run" / "left_out.json").read_text())) == 2
    assert (tmp_path / "run" / "attacks.csv").read_text().count("\n") == 2
    attack(["--data", str(folder), "--split", "all", "--adversary", "rule", "--out", str(tmp_path / "all")])
    assert "--fit-only" not in capsys.readouterr().out
    assert not (tmp_path / "all" / "left_out.json").exists()


def test_a_run_goes_on_without_what_cannot_be_read(folder, tmp_path, capsys):
    bad = next(folder.glob("sd_*s0.pkl"))
    bad.write_bytes(b"no pickle")
    attack(["--data", str(folder), "--split", "all", "--adversary", "rule", "--out", str(tmp_path / "run")])
    assert "left out 1 of 3 scenes: cannot be read 1." in capsys.readouterr().out
    assert str(bad) in next(iter(json.loads((tmp_path / "run" / "left_out.json").read_text()).values()))


def test_scenes_of_one_name_from_two_sources_are_both_listed(tmp_path):
    def source(reason):
        return FitScenes(ListSource([straight_road()]), [0], [LeftOut("0", reason)])

    note_left_out(lambda line: None, [source("a"), source("b"), source("a"), source("c")], tmp_path)
    assert json.loads((tmp_path / "left_out.json").read_text()) == {"0": "a", "0 (2)": "b", "0 (3)": "c"}


def test_the_list_of_scenes_leaves_them_out_too(folder, capsys):
    scenarios(["list", str(folder), "--fit-only"])
    said = capsys.readouterr().out
    assert "1 of 3 are fit for attacks." in said
    assert "  sd_gauntlet_s2: no opponent" in said or "s2: no opponent" in said


def test_without_a_folder_equal_reasons_are_one_line_and_ten_are_listed():
    unfit = [LeftOut(f"s{number}", "no opponent") for number in range(12)]
    unfit += [LeftOut(f"t{number}", f"ego hardly moves: 0.{number:02d} m") for number in range(11)]
    lines = []
    note_left_out(lines.append, [FitScenes(ListSource([straight_road()]), [0], unfit), None], None)
    assert lines[0].startswith("left out 23 of 24 scenes")
    assert lines[1:3] == ["  12 scenes: no opponent (s0, s1, s2 and 9 more)", "  t0: ego hardly moves: 0.00 m"]
    assert (len(lines), lines[-1]) == (12, "  … and 2 other reasons")


def test_a_split_says_how_many_scenes_it_has():
    whole = ListSource([straight_road()] * 14)
    train, test = SplitPart(whole, range(11), "train"), SplitPart(whole, range(11, 14), "test")
    lines: list[str] = []
    note_left_out(lines.append, [FitScenes(Subset(test, [0, 1]), [0], ())], None)
    note_left_out(lines.append, [train, test], None)
    note_left_out(lines.append, [SplitPart(whole, range(14), "test"), whole], None)
    assert lines == [
        "split test: 3 of 14 scenes (--split all takes all).",
        "split train: 11 of 14 scenes, split test: 3 of 14 scenes.",
    ]


def test_what_is_resampled_is_said_once(tmp_path, monkeypatch):
    monkeypatch.setenv("GAUNTLET_CACHE", str(tmp_path / "cache"))
    scenes = [replace(straight_road(), id=str(number)) for number in range(3)]
    slow = replace(scenes[2], dt=0.2, velocity=scenes[2].velocity / 2)
    write_folder([*scenes[:2], slow], tmp_path / "data")
    lines: list[str] = []
    note_left_out(lines.append, [ScenarioStore(tmp_path / "data"), ListSource(scenes)], None)
    assert lines == ["1 of 3 scenes were recorded at 5 Hz and are resampled to 10 Hz."]
