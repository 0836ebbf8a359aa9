"""Files exist whole or not at all, and a name is one part of a path."""

import os

import numpy as np
import pytest

from harness.errors import RunError
from harness.files import file_name, write_arrays, write_bytes, write_text


@pytest.mark.parametrize(
    ("write", "value"),
    [(write_text, "new"), (write_bytes, b"new"), (write_arrays, {"a": np.arange(3)})],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, write, value):
    path = tmp_path / "file.dat"
    path.write_text("old")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match=r"No space left.*intact"):
        write(path, value)
    assert [file.name for file in tmp_path.iterdir()] == ["file.dat"]
    assert path.read_text() == "old"


def test_arrays_keep_the_name_they_were_given(tmp_path):
    write_arrays(tmp_path / "no-suffix", {"a": np.arange(3)})
    with np.load(tmp_path / "no-suffix") as archive:
        np.testing.assert_array_equal(archive["a"], np.arange(3))


def test_file_names_are_one_part_of_a_path():
    assert file_name("../a b/c.x-1") == "___a_b_c_x-1"
    assert file_name("a b/c.x", "-_.") == "a_b_c.x"


def test_no_other_module_renames_files_into_place():
    """`samples.py` moves a whole folder; everything else goes through `write_atomically`."""
    from tests.unit.test_dependencies import PACKAGES, ROOT

    found = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if "os.replace(" in path.read_text() or '.with_name(f".{' in path.read_text()
    }
    trainers = {"adversaries/prior/training.py", "adversaries/sage/alignment.py"}
    assert found - trainers == {"harness/files.py", "adversaries/prior/samples.py"}
