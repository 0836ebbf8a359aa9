"""Old module names: they are the very modules of the new names, and say so."""

import importlib
import importlib.util
import sys

import pytest

from harness.moved import MOVED, install


def test_an_old_name_is_the_module_of_the_new_one():
    install()
    sys.modules.pop("harness.actions", None)
    with pytest.warns(FutureWarning, match=r"harness\.actions is now harness\.episodes\.actions"):
        old = importlib.import_module("harness.actions")
    assert old is importlib.import_module("harness.episodes.actions")


@pytest.mark.parametrize("new", sorted(set(MOVED.values())))
def test_every_new_name_exists(new):
    assert importlib.util.find_spec(new) is not None


def test_no_old_name_hides_a_module_and_none_leads_to_another_old_one():
    install()
    assert not set(MOVED) & set(MOVED.values())
    for old in MOVED:
        folder = importlib.util.find_spec(old.rpartition(".")[0]).submodule_search_locations[0]
        from pathlib import Path

        assert not (Path(folder) / f"{old.rpartition('.')[2]}.py").exists()
