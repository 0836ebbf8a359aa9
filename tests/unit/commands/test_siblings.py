"""Somebody else's package of the same name is refused where it would be found first."""

import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from harness.commands.siblings import PACKAGES, check_siblings

ROOT = Path(__file__).resolve().parents[3]


def test_our_own_packages_pass():
    check_siblings(ROOT)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("harness.commands.siblings.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="'adversaries' is missing"):
        check_siblings(ROOT)


@pytest.mark.parametrize("name", [name for name in PACKAGES if name != "harness"])
def test_a_foreign_package_in_the_working_directory_is_named(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    command = [sys.executable, "-W", "ignore", "-c", "import harness.cli"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert f"ImportError: expected Gauntlet's package '{name}'" in done.stderr
    assert str(tmp_path) in done.stderr


def test_a_foreign_harness_is_named_by_the_facade(tmp_path):
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "__init__.py").write_text("")
    command = [sys.executable, "-W", "ignore", "-c", "import gauntlet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "Gauntlet's package 'harness'" in done.stderr


def test_a_folder_without_code_is_named_where_it_comes_first(monkeypatch, tmp_path):
    """As it does before an editable installation, whose finder is asked last."""
    folder = ModuleSpec("scenarios", None, is_package=True)
    folder.submodule_search_locations = [str(tmp_path / "scenarios")]
    monkeypatch.setattr("harness.commands.siblings.find_spec", lambda name: folder)
    with pytest.raises(ImportError, match=r"found another one: .*scenarios"):
        check_siblings(ROOT)


def test_a_folder_of_scenes_called_so_does_no_harm_beside_a_wheel(tmp_path):
    """Without `__init__.py` it is no package, and ours on the path is found."""
    (tmp_path / "scenarios").mkdir()
    command = [sys.executable, "-W", "ignore", "-c", "import harness.cli"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment)
