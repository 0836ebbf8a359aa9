"""`python -m harness.doctor`: the list of packages is the distribution's own."""

import importlib.metadata

import pytest

from harness import doctor, registry
from harness.commands import installed
from harness.errors import METADRIVE, EngineError, metadrive_needed

REQUIRES = [
    "numpy>=2.0",
    "setuptools<81",
    'ray-of-light>=2; extra == "ray"',
    "no.such_thing",
    'ruff; extra == "dev"',
    'mkdocs; extra == "docs"',
    'old-engine; python_version < "3.10"',
]


@pytest.fixture(autouse=True)
def _requires(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIRES)


def test_packages_come_from_the_metadata():
    found = {line.name: line for line in installed.check_packages()}
    named = ["metadrive-simulator", "numpy", "setuptools", "ray-of-light", "no.such_thing"]
    assert list(found) == named, "tools of developers and what other interpreters need are left out"
    assert found["numpy"].ok
    assert (found["ray-of-light"].optional, found["no.such_thing"].optional) == (True, False)
    assert found["ray-of-light"].remedy.endswith("'gauntlet-drive[ray]'")
    assert [line.as_row()["state"] for line in found.values()] == ["ok", "ok", "ok", "optional", "FIX"]


def test_exit_code_says_whether_something_needed_is_missing(capsys, monkeypatch):
    with pytest.raises(SystemExit) as ended:
        doctor.main([])
    assert ended.value.code == 1
    assert "no.such_thing" in capsys.readouterr().out
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIRES[:3])
    doctor.main([])


def test_a_new_setuptools_and_a_missing_installation_are_named(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "82.0")
    assert [line.ok for line in installed.check_packages()] == [True, True, False, True, True]

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    assert [line.name for line in installed.check_packages()] == ["gauntlet-drive"]


def test_the_cache_folder_is_that_of_the_scenes(tmp_path, monkeypatch):
    monkeypatch.setenv("GAUNTLET_CACHE", str(tmp_path / "cache"))
    assert str(tmp_path / "cache") in doctor.check_cache().found


def test_a_component_that_cannot_be_imported_is_named(monkeypatch):
    monkeypatch.setitem(registry.BUILTIN["curriculum"], "broken", "no.such.module:Class")
    found = doctor.check_registry("curriculum")
    assert not found.ok
    assert "broken" in found.found


def test_a_missing_engine_names_the_command_that_installs_it(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(installed.sys, "version_info", (3, 13, 0))
    line = installed.check_packages()[0]
    assert (line.name, line.ok, line.optional, line.remedy) == ("metadrive-simulator", False, False, METADRIVE)
    with pytest.raises(EngineError, match="--ignore-requires-python metadrive-simulator"), metadrive_needed():
        raise ModuleNotFoundError("No module named 'panda3d'", name="panda3d.core")
    with pytest.raises(ModuleNotFoundError), metadrive_needed():
        raise ModuleNotFoundError("No module named 'other'", name="other")
