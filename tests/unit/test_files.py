"""Files exist whole or not at all, and a name is one part of a path."""

import io
import json
import os
import zipfile

import numpy as np
import pytest

from harness.errors import RunError, ScenarioError
from harness.files import (
    coded_name,
    decoded_name,
    file_name,
    open_regular,
    read_arrays,
    read_bounded,
    read_json,
    write_arrays,
    write_bytes,
    write_text,
)


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
    assert file_name("a-b_1") == "a-b_1"
    assert file_name("sage@0.5", "-_@.") == "sage@0.5"
    assert file_name("山") == "山"
    assert file_name("../a b/c.x-1").startswith("___a_b_c_x-1~")
    assert file_name("a b/c.x", "-_.").startswith("a_b_c.x~")


ODD = ["a b", "a/b", "a_b", "a\x00b", "a\ud800b", "", "~", "!", ".", "..", "%2E", "山" * 32, "山" * 100, "山" * 101]
ODD += ["a" * 1000, "a" * 1001, "[bold]x[/]", "\x1b[31mred", "=cmd|' /C calc'!A0", "\u202eabc", "a\nb"]


@pytest.mark.parametrize("name", [file_name, coded_name])
def test_different_texts_are_different_names_that_every_file_system_takes(tmp_path, name):
    names = [name(text) for text in ODD]
    # A text that is made to look like another's name gets another name itself.
    names += [name(made) for made in names if made not in ODD]
    assert len(set(names)) == len(names)
    for made in names:
        assert made == os.path.basename(made)
        assert len(os.fsencode(made)) <= 230
        write_bytes(tmp_path / f"{made}.npz", b"x")
    assert len(list(tmp_path.iterdir())) == len(names)


def test_coded_names_hold_short_texts_whole():
    for text in ODD:
        assert decoded_name(coded_name(text)) in (text, None)
    assert decoded_name(coded_name("a/b\ud800")) == "a/b\ud800"
    assert decoded_name(coded_name("山" * 32)) is None


def test_no_other_module_renames_files_into_place():
    """`samples.py` and `transfer.py` move whole folders; everything else goes through `write_atomically`."""
    from tests.unit.test_dependencies import PACKAGES, ROOT

    found = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if "os.replace(" in path.read_text() or '.with_name(f".{' in path.read_text()
    }
    trainers = {"adversaries/prior/training.py", "adversaries/sage/alignment.py"}
    folders = {"adversaries/prior/samples.py", "harness/sharing/transfer.py"}
    assert found - trainers == {"harness/files.py", *folders}


@pytest.mark.parametrize("read", [lambda path: read_bounded(path, 100), read_json, read_arrays, open_regular])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, what in (("pipe", "a named pipe"), ("zero", "a device"), (".", "a directory"), ("none", "No such file")):
        with pytest.raises(RunError, match=what) as caught:
            read(tmp_path / name)
        assert str(caught.value).count(str(tmp_path)) == 1


def test_a_file_has_at_most_the_bytes_that_its_kind_may_have(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(ScenarioError, match=r"5 bytes.*up to 4"):
        read_bounded(path, 4, ScenarioError)
    with pytest.raises(ScenarioError, match="5 bytes"):
        open_regular(path, 4, ScenarioError)
    os.truncate(path, 10**12)  # A hole: it takes no room on the disk.
    with pytest.raises(RunError, match="1,000,000,000,000 bytes"):
        read_json(path)


def test_a_file_that_says_nothing_of_its_size_is_not_read_on():
    with pytest.raises(RunError, match="more bytes than its size says"):
        read_bounded(os.path.realpath("/proc/self/status"), 100)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"1" * 5000, b"NaN]", b'{"a": {"b": 1, "c": 2, "b": 1}}'],
    ids=range(7),
)
def test_json_that_is_none_is_one_error(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RunError, match=r"a\.json cannot be read as JSON"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(json.dumps({"é": [1, None]}), encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"é": [1, None]}


def test_json_of_too_many_values_is_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.files.MAX_VALUES", 4)
    (tmp_path / "a.json").write_text("[[], [], 1]")
    with pytest.raises(RunError, match="5 lists, dictionaries and commas"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[[], 1, 2]")
    assert read_json(tmp_path / "a.json") == [[], 1, 2]


def test_arrays_come_back_as_numpy_reads_them(tmp_path):
    arrays = {
        "c": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "text": np.array(["a", "bc"]),
        "empty": np.zeros((0, 3), np.float32),
        "none": np.array(3),
    }
    write_arrays(tmp_path / "a.npz", arrays)
    found = read_arrays(tmp_path / "a.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        assert found[name].flags.writeable
        assert found[name].flags.f_contiguous == array.flags.f_contiguous


def packed(members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def npy(array, **header):
    file = io.BytesIO()
    if not header:
        np.lib.format.write_array(file, array, allow_pickle=True)
        return file.getvalue()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (1,)} | header)
    return file.getvalue() + array.tobytes()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "no npz"),
        (b"PK\x03\x04 cut", "no npz"),
        (packed({"a.npy": npy(np.zeros(9))})[:-30], "no npz"),
        (packed({"a.npy": npy(np.array([None]))}), "object"),
        (packed({"a.npy": npy(np.zeros(2, [("a", "f4")]))}), "instead of plain"),
        (packed({"a.npy": npy(np.zeros(1), shape=(10**12,))}), "has 8 bytes"),
        (packed({"a.npy": npy(np.zeros(1), shape=(2**63, 2**63))}), "has 8 bytes"),
        (packed({"a.npy": npy(np.zeros(1), shape=(-1,))}), "has 8 bytes"),
        (packed({"a.npy": npy(np.zeros(0), shape=(0, 2**63))}), "damaged"),
        (packed({"a.npy": npy(np.zeros(0), shape=(10**12,), descr="|S0")}), "damaged"),
        (packed({"a.npy": b"no array"}), "damaged"),
        (packed({"a.npy": bytes(3_000_000)}), "3,000,000 bytes"),
        (packed({"a.npy": npy(np.zeros(9))}, zipfile.ZIP_BZIP2), "method"),
        (b"PK\x01\x02" * 10_001, "members"),
    ],
    ids=range(14),
)
def test_damaged_and_hostile_arrays_are_one_error(tmp_path, content, match):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ScenarioError, match=rf"a\.npz is damaged.*{match}|{match}"):
        read_arrays(tmp_path / "a.npz", 2_000_000, ScenarioError)
