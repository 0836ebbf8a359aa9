"""The least recently used value goes first, and never more than `size` are held."""

import os

import numpy as np
import pytest

from harness.caching import ArrayFolder, Lru, remove_unused, use_cached


def test_the_least_recently_used_goes_first():
    built, dropped = [], []
    cache = Lru(2, dropped.append)

    def get(key):
        return cache.get(key, lambda: built.append(key) or key.upper())

    assert [get(key) for key in "abacab"] == list("ABACAB")
    # `a` was used after `b`, so `c` pushes `b` out; `b` then pushes `c` out.
    assert (built, dropped, len(cache)) == (list("abcb"), ["B", "C"], 2)
    cache.clear()
    assert (len(cache), dropped) == (0, ["B", "C", "A", "B"])


def test_a_value_that_no_longer_fits_is_built_anew():
    dropped = []
    cache = Lru(4, dropped.append)
    cache.get("map", lambda: "old")
    assert cache.get("map", lambda: "new", lambda value: value == "old") == "old"
    assert cache.get("map", lambda: "new", lambda value: value == "new") == "new"
    assert (dropped, len(cache)) == (["old"], 1)


def test_size_zero_keeps_nothing_and_a_failed_build_neither():
    nothing = Lru(0)
    assert [nothing.get("a", lambda: 1), nothing.get("a", lambda: 2), len(nothing)] == [1, 2, 0]
    cache = Lru(2)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: 1 / 0)
    assert cache.get("a", lambda: None) is None
    assert len(cache) == 1


def test_cached_files_that_nobody_has_used_for_long_go_when_a_new_one_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("GAUNTLET_CACHE", str(tmp_path))
    names = ["index/old.sqlite", "index/old.sqlite-wal", "index/used.sqlite", "index/note.txt", "same_map/a.json"]
    for name in names:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
        os.utime(file, (0, 0))
    use_cached(tmp_path / "index" / "used.sqlite", "same_map/*.json")
    assert all((tmp_path / name).exists() for name in names)
    use_cached(tmp_path / "index" / "new.sqlite", "same_map/*.json")
    assert [name for name in names if (tmp_path / name).exists()] == ["index/used.sqlite", "index/note.txt"]


def test_a_folder_of_arrays_keeps_within_its_bytes_and_the_longest_unused_go(tmp_path):
    def numbers(value):
        return {"numbers": np.full(1000, float(value))}

    folder, made = ArrayFolder(tmp_path / "kept", limit=50_000), []

    def get(key, fits=lambda arrays: arrays.keys() == {"numbers"}):
        return folder.get(str(key), lambda: made.append(key) or numbers(key), fits)["numbers"][0]

    for key in range(5):
        assert get(key) == key
        os.utime(tmp_path / "kept" / f"{key}.npz", (key, key))
    assert get(0) == 0  # used again, so that 1 is the longest unused
    assert [get(key) for key in (5, 6)] == [5, 6]
    assert sorted(file.stem for file in (tmp_path / "kept").iterdir()) == list("03456")
    assert (made, get(1), made[-1]) == ([*range(7), 1], 1, 1)
    assert get(0, fits=lambda arrays: False) == 0
    assert made[-1] == 0
    with pytest.raises(ZeroDivisionError):
        folder.get("broken", lambda: {"numbers": np.array([1 / 0])}, lambda arrays: True)
    assert not (tmp_path / "kept" / "broken.npz").exists()


def test_a_folder_that_cannot_be_written_is_told_of_once(tmp_path, caplog):
    (tmp_path / "kept").write_text("no folder")
    folder = ArrayFolder(tmp_path / "kept")
    for key in ("a", "b"):
        assert folder.get(key, lambda: {"x": np.ones(2)}, lambda arrays: True)["x"].sum() == 2
    assert [record.message[:22] for record in caplog.records] == ["nothing more is kept i"]


def test_folders_that_nobody_uses_go(tmp_path):
    old, used = tmp_path / "old", tmp_path / "used"
    old.mkdir()
    (old / "file").write_text("x")
    os.utime(old, (0, 0))
    remove_unused(tmp_path / "none", tmp_path / "none" / "used")
    remove_unused(tmp_path, used)
    assert not old.exists()
    used.mkdir()
    os.utime(used, (0, 0))
    remove_unused(tmp_path, used)
    assert used.stat().st_mtime > 1e9
