"""Every headline table is a command that exists, with options that it takes."""

import importlib
from pathlib import Path
from typing import get_args

import pytest

from harness import reproduce
from harness.commands.headline import TABLES, Scale, TableName

ROOT = Path(__file__).resolve().parents[3]


def test_every_name_has_its_table():
    assert set(TABLES) == set(get_args(TableName))


@pytest.mark.parametrize("scale", get_args(Scale))
@pytest.mark.parametrize("name", TABLES)
def test_commands_take_their_options(name, scale):
    verb, *arguments = TABLES[name].command("DATA", Path("OUT"), scale)
    config = importlib.import_module(f"harness.{verb}").main.parse(arguments)
    assert getattr(config, "train", config).data == "DATA"
    assert (config.json == Path("OUT/traffic.json")) if name == "traffic" else (config.out == Path("OUT"))


def test_the_small_scale_replaces_what_the_full_one_says():
    verb, *arguments = TABLES["egos"].command("DATA", Path("OUT"), "small")
    config = importlib.import_module(f"harness.{verb}").main.parse(arguments)
    assert (config.seed, config.train.steps, config.evaluate_against) == ((0,), 100_000, ("sage",))
    verb, *arguments = TABLES["egos"].command("DATA", Path("OUT"), "full")
    config = importlib.import_module(f"harness.{verb}").main.parse(arguments)
    assert (config.seed, config.train.steps) == ((0, 1, 2, 3, 4), 6_000_000)


def test_the_command_is_printed_and_run(tmp_path, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr("harness.evaluate_traffic.main", ran.append)
    out = tmp_path / "deep" / "out"
    reproduce.main(["traffic", "--data", "two words", "--scale", "small", "--out", str(out)])
    assert ran == [TABLES["traffic"].command("two words", out, "small")[1:]]
    assert out.is_dir()
    assert "gauntlet evaluate_traffic --split test" in capsys.readouterr().out


def test_a_dry_run_runs_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("harness.benchmark.main", None)
    out = tmp_path / "deep" / "out"
    reproduce.main(["attacks", "--dry-run", "--data", "two words", "--out", str(out)])
    assert not out.parent.exists()
    assert "--data 'two words'" in capsys.readouterr().out


def test_documents_name_the_command_of_each_table():
    text = (ROOT / "docs" / "results.md").read_text()
    assert all(f"gauntlet reproduce {name} " in text for name in TABLES)
