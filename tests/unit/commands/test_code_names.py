"""A stranger's run folder names no code that is run: neither by its words nor by its files."""

import json
import sys
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path

import pytest

from harness.attacks.config import AttackConfig
from harness.benchmarking.config import BenchmarkConfig
from harness.commands.code_names import KINDS, check_resumed, names_of_code, options_of_code
from harness.commands.options import RunOptions
from harness.commands.runs import RunDirectory
from harness.commands.scaffold import Command, command
from harness.errors import ConfigError
from harness.traffic.config import SimulateConfig
from harness.training.config import TrainConfig
from harness.training.matrix import MatrixConfig, cells


@dataclass(frozen=True)
class Inner:
    """How."""

    adversary: str = "cat"
    """Who attacks."""


@dataclass(frozen=True)
class Config(RunOptions):
    """A run."""

    sut: tuple[str, ...] = ("replay",)
    """Who drives."""
    traffic: str = "log"
    """Who else."""
    json: Path | None = None
    """Where to write."""
    inner: Inner = field(default_factory=Inner)
    """How."""


CODE = [
    "mine:Policy",
    "a=mine:Policy",
    "package.mine:Policy",
    "cat:Policy",
    "torchscript:f.pt?trust=true",
    "external:rm -r x",
    "a=external:tcp://host:80",
    "idm?observe=mine:look",
    "model.zip?latency=1&observe=mine:look",
    "x:",
    "@1:a@x",
]
PLAIN = ["replay", "td3:model.zip", "mine=td3:a/b:c.zip", "model.pt", "torchscript:f.pt", "idm", "idm?latency=1"]


def stranger(folder: Path, **config) -> Path:
    """A run folder as somebody else sends it."""
    folder.mkdir()
    info = {"verb": "test_code_names", "config": config, "resumed": []}
    (folder / "run.json").write_text(json.dumps(info))
    (folder / "mine.py").write_text(
        f"open({str(folder / 'imported.txt')!r}, 'w').write('ran')\nclass Policy:\n    pass\n"
    )
    return folder


def resumed(arguments: list[str]) -> Config:
    @command(Config, "A command.")
    def main(config, session):
        raise AssertionError("only parsed")

    assert isinstance(main, Command)
    return main.parse(arguments)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working folder is on the search path, as `python -m` has it."""
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", CODE)
def test_code_that_only_the_run_folder_names_is_refused(here, text):
    run = stranger(here / "run", sut=["replay", text])
    with pytest.raises(ConfigError, match=r"names code to be run: --sut .*give the option again"):
        resumed(["--resume", str(run)])


@pytest.mark.parametrize("text", PLAIN)
def test_registered_names_and_files_go_on(here, text):
    run = stranger(here / "run", sut=[text])
    assert resumed(["--resume", str(run)]).sut == (text,)


@pytest.mark.parametrize("option", [{"traffic": "mine:Traffic"}, {"inner": {"adversary": "mine:Attack"}}])
def test_every_option_that_names_a_component(here, option):
    with pytest.raises(ConfigError, match="names code to be run"):
        resumed(["--resume", str(stranger(here / "run", **option))])


def test_the_name_of_the_run_folder_repeats_nothing(here):
    run = stranger(here / "mine:Policy", sut=["mine:Policy"])
    for given in (["--resume", run.name], [f"--resume={run.name}"]):
        with pytest.raises(ConfigError, match="names code to be run"):
            resumed(given)


def test_a_place_to_write_to_counts_when_it_is_typed_again(here):
    run = stranger(here / "run", json=str(here / "victim.json"))
    for given in ([], ["--json", str(here / "victim.json")], ["--json=./mine.json"], ["--json", "None"]):
        if given:
            resumed(["--resume", str(run), *given])
        else:
            with pytest.raises(ConfigError, match=r"names a place to write to: --json .*victim\.json"):
                resumed(["--resume", str(run)])
    resumed(["--resume", str(stranger(here / "own", json=str(here / "own" / "table.json")))])


@pytest.mark.parametrize("equals", [True, False])
def test_what_is_typed_again_counts(here, equals):
    run = stranger(here / "run", sut=["mine:Policy"])
    given = ["--sut=mine:Policy"] if equals else ["--sut", "mine:Policy"]
    assert resumed(["--resume", str(run), *given]).sut == ("mine:Policy",)


def test_a_module_in_the_run_folder_is_never_imported(here, monkeypatch):
    run = stranger(here / "run", sut=["mine:Policy", "run.mine:Policy"])
    typed = ["--sut", "mine:Policy", "run.mine:Policy"]
    with pytest.raises(ConfigError, match=r"run\.mine.* lies in the run folder"):
        resumed(["--resume", str(run), *typed])
    look = "idm?observe=looks.mine:look"
    with pytest.raises(ConfigError, match=r"looks\.mine.* lies in the run folder"):
        resumed(["--resume", str(stranger(here / "looks", sut=[look])), "--sut", look])
    monkeypatch.chdir(run)
    with pytest.raises(ConfigError, match=r"mine.py\). Code of a run folder is never imported"):
        resumed(["--resume", ".", "--sut", "mine:Policy"])
    with pytest.raises(ModuleNotFoundError):
        __import__("mine")
    assert not (run / "imported.txt").exists()


def test_a_link_into_the_run_folder_is_no_way_around(here):
    run = stranger(here / "run", sut=["linked:Policy"])
    (here / "linked.py").symlink_to(run / "mine.py")
    with pytest.raises(ConfigError, match="lies in the run folder"):
        check_resumed(Config(sut=("linked:Policy",)), ["linked:Policy"], run)


def test_a_matrix_repeats_its_own_names_to_its_runs(tmp_path):
    config = MatrixConfig(adversary=("mine:Attack", "cat"), ablate=(), train=TrainConfig(traffic="mine:Traffic"))
    first, second = (cell.config for cell in cells(config, tmp_path))
    assert options_of_code(first) == ["--adversary", "mine:Attack", "--traffic", "mine:Traffic"]
    assert options_of_code(second) == ["--traffic", "mine:Traffic"]
    assert options_of_code(Config(sut=("idm", "mine:A"))) == ["--sut", "idm", "mine:A"]
    with pytest.raises(ConfigError, match=r"--train\.traffic"):
        check_resumed(config, ["mine:Attack"], tmp_path)


def leaves(kind):
    for item in fields(kind):
        default = item.default_factory() if callable(item.default_factory) else item.default
        if is_dataclass(default):
            yield from leaves(type(default))
        yield item.name


@pytest.mark.parametrize("kind", [BenchmarkConfig, TrainConfig, MatrixConfig, SimulateConfig, AttackConfig])
def test_every_field_that_takes_a_module_is_known(kind):
    import inspect
    import re

    for base in kind.__mro__[:-1]:
        source = inspect.getsource(base)
        for name, text in re.findall(r'^    (\w+): [^\n]*\n    """(.*?)"""', source, re.S | re.M):
            assert "module:Class" not in text or name in KINDS, name
    assert {"sut", "adversary", "traffic", "curriculum"} & set(leaves(kind)) <= set(KINDS)


def test_names_are_read_by_the_kind_of_their_option():
    assert names_of_code(Config(sut=("cat:x",), traffic="smart:x", inner=Inner("cat:x"))) == [("sut", "cat:x")]


def test_a_run_of_ones_own_is_written_and_resumed(here):
    RunDirectory.create(here / "own", "test_code_names", {"sut": ["replay"]}).close()
    assert resumed(["--resume", str(here / "own")]).sut == ("replay",)


@pytest.mark.parametrize(
    "config",
    [
        None,
        [],
        "text",
        3,
        {"sut": "replay"},
        {"sut": [3]},
        {"sut": [["a"]]},
        {"traffic": 5},
        {"traffic": ["log"]},
        {"inner": []},
    ],
)
def test_a_damaged_run_json_is_one_clear_error(here, config):
    run = stranger(here / "run")
    (run / "run.json").write_text(json.dumps({"verb": "test_code_names", "config": config, "resumed": []}))
    with pytest.raises(ConfigError, match="the run's configuration"):
        resumed(["--resume", str(run)])
