"""Every verb answers `--help`: through the console script, through `python -m`, and from an installed wheel."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import cli

ROOT = Path(__file__).resolve().parents[3]
CONSOLE_SCRIPT = "import sys; from harness.cli import main; sys.argv = ['gauntlet', VERB, '--help']; main()"
# `alter_sys` makes the verb the `__main__` in which option types are looked up, as `python -m` does.
MODULE = "import runpy, sys; sys.argv = [VERB, '--help']; runpy.run_module('harness.' + VERB, None, '__main__', True)"
# One interpreter asks every verb: each alone would import the same libraries again. Help is quick only without these.
ASK_ALL = """
import contextlib, io, json, sys, traceback
way, *verbs = sys.argv[1:]
printed = {}
for verb in verbs:
    text, code = io.StringIO(), None
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            exec(way, {"VERB": verb})
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
    if code not in (0, None) or "usage:" not in text.getvalue():
        printed[verb] = text.getvalue()
    for heavy in ("torch", "metadrive", "matplotlib", "stable_baselines3"):
        if heavy in sys.modules:
            printed[verb] = f"imports {heavy}"
print(json.dumps(printed))
"""


def failures(way: str, **options) -> dict[str, str]:
    """What the verbs that do not show a help text printed instead, by name; `way` runs the one named `VERB`."""
    command = [sys.executable, "-W", "ignore", "-c", ASK_ALL, way, *cli.VERBS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_every_verb_shows_its_help_through_the_console_script():
    """And imports no heavy library for it."""
    assert not failures(CONSOLE_SCRIPT, cwd=ROOT)


def test_every_verb_shows_its_help_as_a_module():
    assert not failures(MODULE, cwd=ROOT)


def test_a_verb_that_fails_is_noticed():
    # As `python -m` would run a verb whose option types are looked up in another module.
    broken = "if VERB == 'perf': raise NameError('perf')\nprint('usage:'); raise SystemExit(0)"
    assert "NameError" in failures(broken, cwd=ROOT).pop("perf")
    slow = "import torch\nprint('usage:'); raise SystemExit(0)"
    assert failures(slow, cwd=ROOT)["perf"] == "imports torch"


def test_the_console_script_lists_the_verbs_and_refuses_others(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert stop.value.code == 2
    printed = capsys.readouterr().out
    assert "  scenarios         List, count, import, generate, validate and draw scenes.\n" in printed
    assert all(f"  {verb} " in printed for verb in cli.VERBS)
    with pytest.raises(SystemExit) as stop:
        cli.main(["simulat"])
    assert stop.value.code == 2
    assert "error: unknown verb 'simulat'" in capsys.readouterr().err


def test_the_script_finds_modules_of_the_working_folder_after_all_others(tmp_path, monkeypatch):
    installed = [path for path in sys.path if path and Path(path) != ROOT]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gauntlet", "--help"])
    for before, after in ((installed, [*installed, str(tmp_path)]), (["", *installed], ["", *installed])):
        monkeypatch.setattr(sys, "path", list(before))
        with pytest.raises(SystemExit):
            cli.main()
        assert sys.path == after
    monkeypatch.setattr(sys, "path", list(installed))
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert sys.path == installed, "a call from Python changes nothing"


def test_every_verb_is_listed():
    verbs = {path.stem for path in (ROOT / "harness").glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    assert verbs - {"cli"} == set(cli.VERBS)


@pytest.mark.slow
def test_every_verb_shows_its_help_from_an_installed_wheel(tmp_path):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # Built from a copy: setuptools leaves a build folder beside the sources.
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", str(source)], check=True)
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(source)], check=True)
    wheel = next(tmp_path.glob("*.whl"))
    subprocess.run([*pip, "install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel)], check=True)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    assert not failures(CONSOLE_SCRIPT, cwd=tmp_path, env=environment)
