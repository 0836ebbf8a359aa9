"""Every verb answers `--help`: through the console script, through `python -m`, and from an installed wheel."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import cli

ROOT = Path(__file__).resolve().parents[3]
CONSOLE_SCRIPT = "import sys; from harness.cli import main; sys.argv = ['gauntlet', sys.argv[1], '--help']; main()"


def failures(commands: dict[str, list[str]], **options) -> dict[str, str]:
    """What the commands that do not show a help text printed instead, by name."""

    def run(command: list[str]) -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        return "" if done.returncode == 0 and "usage:" in done.stdout else done.stdout + done.stderr

    with ThreadPoolExecutor(2) as pool:
        printed = dict(zip(commands, pool.map(run, commands.values()), strict=True))
    return {name: text for name, text in printed.items() if text}


def test_every_verb_shows_its_help_through_the_console_script():
    assert not failures({verb: [sys.executable, "-c", CONSOLE_SCRIPT, verb] for verb in cli.VERBS}, cwd=ROOT)


def test_every_verb_shows_its_help_as_a_module():
    assert not failures({verb: [sys.executable, "-m", f"harness.{verb}", "--help"] for verb in cli.VERBS}, cwd=ROOT)


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
    commands = {verb: [sys.executable, "-c", CONSOLE_SCRIPT, verb] for verb in cli.VERBS}
    assert not failures(commands, cwd=tmp_path, env=environment)
