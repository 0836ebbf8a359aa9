"""The least recently used value goes first, and never more than `size` are held."""

import os

import pytest

from harness.caching import Lru, use_cached


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
