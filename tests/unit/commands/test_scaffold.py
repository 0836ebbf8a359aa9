"""The scaffold of commands: options, old spellings, resumption, signals, exit codes, clean output."""

import os
import signal
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.commands.configs import at_least, differences, rebuild
from harness.commands.options import OutOption, RunOptions, part, split_or_scenes
from harness.commands.printing import clean, make_console
from harness.commands.runs import RunDirectory
from harness.commands.scaffold import Command, Group, command, refused
from harness.errors import ConfigError, RunError


@dataclass(frozen=True)
class Inner:
    """How."""

    rate: float = 0.1
    """Learning rate."""
    sizes: tuple[int, ...] = (1, 2)
    """Of layers."""


@dataclass(frozen=True)
class Config(RunOptions):
    """A run."""

    scenes: str | None = None
    """Which."""
    epochs: int = 3
    """How many."""
    inner: Inner = field(default_factory=Inner)
    """How."""


def recorder(seen: list, **options) -> Command:
    @command(Config, "A command.", **options)
    def main(config, session):
        with session.open_run(config):
            seen.append(config)
        return options.get("code")

    return main


def test_options_reach_the_function(tmp_path):
    seen = []
    recorder(seen)(["--out", str(tmp_path / "run"), "--inner.sizes", "3", "4"])
    assert seen == [Config(out=tmp_path / "run", inner=Inner(sizes=(3, 4)))]


def test_a_resumed_run_has_its_own_configuration(tmp_path):
    seen = []
    main = recorder(seen, may_differ=("epochs",))
    folder = tmp_path / "run"
    main(["--out", str(folder), "--inner.rate", "0.5", "--scenes", "#3"])
    main(["--resume", str(folder), "--epochs", "9"])
    assert seen[1] == Config(resume=folder, inner=Inner(rate=0.5), scenes="#3", epochs=9)


@pytest.mark.parametrize("option", [["--epochs", "4"], ["--inner.rate=0.2"], ["--scenes", "5"]])
def test_a_resumed_run_with_another_configuration_is_refused_by_name(tmp_path, capsys, option):
    seen = []
    main = recorder(seen)
    main(["--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stop:
        main(["--resume", str(tmp_path / "run"), *option])
    assert stop.value.code == 2
    assert len(seen) == 1
    assert option[0].partition("=")[0] in capsys.readouterr().err


def test_a_run_of_another_command_is_refused(tmp_path, capsys):
    RunDirectory.create(tmp_path / "run", "elsewhere", {}).close()
    with pytest.raises(SystemExit):
        recorder([])(["--resume", str(tmp_path / "run")])
    assert "made by 'elsewhere'" in capsys.readouterr().err


@dataclass(frozen=True)
class Checked:
    """How."""

    epochs: int = 3
    """How many."""

    def __post_init__(self):
        at_least(1, epochs=self.epochs)


@dataclass(frozen=True)
class Outer:
    """A run."""

    inner: Checked = field(default_factory=Checked)
    """How."""


@pytest.mark.parametrize(("kind", "option"), [(Checked, "--epochs"), (Outer, "--inner.epochs")])
def test_what_a_configuration_refuses_is_one_line(kind, option, capsys):
    @command(kind, "A command.")
    def main(config, session):
        raise AssertionError("not reached")

    with pytest.raises(SystemExit) as stop:
        main([option, "0"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: --epochs 0: expected at least 1.\n"


def test_what_cannot_be_parsed_is_told(capsys):
    with pytest.raises(SystemExit) as stop:
        recorder([])(["--epochs", "th\x1bree"])
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert "--epochs" in printed
    assert "\x1b" not in printed


def test_old_spellings_warn_and_work(tmp_path, capsys):
    seen = []
    main = recorder(seen, renamed={"--run": "--out", "--count": refused("--scenes 3")})
    main([f"--run={tmp_path / 'run'}"])
    assert seen[0].out == tmp_path / "run"
    assert "write --out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--count", "3"])
    assert "--scenes 3" in capsys.readouterr().err


def test_old_parts_are_respelled():
    assert part("train")("val") == ["--train-split", "val"]
    assert part("train")("0:100,120") == ["--train-split", "all", "--train-scenes", "0:100,#120"]
    assert part()("0:100") == ["--split", "all", "--scenes", "0:100"]
    assert part("test")("") == ["--test-split", "none"]
    assert [split_or_scenes(text) for text in ("val", "0:9")] == [["--split", "val"], ["--scenes", "0:9"]]


def test_presets_are_named_first(tmp_path):
    seen = []
    main = recorder(seen, presets={"quick": ("Fast.", Config(epochs=1)), "paper": ("Slow.", Config(epochs=99))})
    main(["quick", "--out", str(tmp_path / "run")])
    assert seen[0].epochs == 1
    main(["--resume", str(tmp_path / "run")])
    assert seen[1].epochs == 1


@pytest.mark.parametrize(
    ("raised", "code"), [(ConfigError("bad"), 2), (KeyboardInterrupt(), 130), (RunError("full"), 2)]
)
def test_exit_codes(raised, code, capsys):
    @command(Config, "")
    def main(config, session):
        raise raised

    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == code


def test_the_function_chooses_the_exit_code():
    @command(Config, "")
    def main(config, session):
        return 1

    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 1


def test_sigterm_ends_with_143_and_the_handler_is_restored(capsys):
    before = signal.getsignal(signal.SIGTERM)

    @command(Config, "")
    def main(config, session):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.sigtimedwait([signal.SIGUSR1], 5)

    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_control_characters_and_markup_are_shown_not_obeyed(capsys):
    @command(Config, "")
    def main(config, session):
        session.say("scene [red]\x1b[2J")
        raise ConfigError("scene \x1b]0;title\x07 [bold]")

    with pytest.raises(SystemExit):
        main([])
    printed = capsys.readouterr()
    assert "scene [red]\\x1b[2J" in printed.out
    assert "scene \\x1b]0;title\\x07 [bold]" in printed.err
    assert "\x1b" not in printed.out + printed.err
    assert clean("a\tb\n") == "a\tb\n"
    assert make_console().width == 160


def test_names_that_go_are_shown_as_warnings(capsys):
    @command(Config, "")
    def main(config, session):
        warnings.warn("idm is now idm-path", FutureWarning, stacklevel=1)

    main([])
    assert "idm is now idm-path" in capsys.readouterr().err


def test_a_group_names_its_members(capsys):
    group = Group("things", "Things.", {"one": recorder([])})
    with pytest.raises(SystemExit) as stop:
        group(["--help"])
    assert stop.value.code == 0
    assert "one" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        group(["one", "--help"])
    assert "usage: gauntlet things one" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        group(["other"])
    assert stop.value.code == 2


def test_a_group_may_have_a_command_of_its_own(tmp_path, capsys):
    seen = []
    group = Group("things", "Things.", {"one": recorder([])}, default=recorder(seen))
    group(["--out", str(tmp_path / "run"), "--epochs", "7"])
    assert seen[0].epochs == 7
    with pytest.raises(SystemExit):
        group(["--help"])
    assert "--epochs" in capsys.readouterr().out


def test_what_is_told_while_it_happens(capsys):
    @command(Config, "")
    def main(config, session):
        session.say(str(list(session.track(iter("ab"), "reading"))))
        with session.counter("generating") as count:
            count(1, 2)
        session.say("[bold]late", "red")

    main([])
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["['a', 'b']", "[bold]late"]
    assert not printed.err


def test_numbers_that_are_too_small_are_refused_as_they_are_typed():
    at_least(1, batch_size=1, rate=1.5)
    with pytest.raises(ConfigError, match="--batch-size 0: expected at least 1"):
        at_least(1, batch_size=0)
    with pytest.raises(ConfigError, match="--rate nan"):
        at_least(0, rate=float("nan"))


def test_configurations_survive_json():
    config = Config(out=Path("a"), scenes="3", inner=Inner(sizes=(7,)))
    stored = {"out": "a", "scenes": "3", "inner": {"sizes": [7]}}
    assert rebuild(Config, stored) == config
    assert differences(config, Config(), ("out",)) == [
        "--scenes: 3 (the run has None)",
        "--inner.sizes: (7,) (the run has (1, 2))",
    ]
    assert differences(config, Config(), ("out", "scenes", "inner")) == []
    with pytest.raises(ConfigError, match="unknown option --inner"):
        rebuild(Config, {"inner": {"colour": "red"}})


def test_a_command_that_cannot_be_resumed_says_so(tmp_path, capsys):
    @dataclass(frozen=True)
    class Once(OutOption):
        """Runs in one go."""

    @command(Once, "Once.")
    def main(config, session):
        raise AssertionError("it must not run")

    RunDirectory.create(tmp_path / "run", main.verb, {"out": None}).close()
    with pytest.raises(SystemExit) as stop:
        main(["--resume", str(tmp_path / "run")])
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert "--resume" in printed.out + printed.err
