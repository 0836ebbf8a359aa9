"""Records survive writing and reading exactly, and a kill leaves nothing torn."""

import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from harness.episodes.records import CellKey, EpisodeStore
from harness.errors import RunError
from harness.interfaces import Episode
from tests.unit.benchmarking.examples import an_episode

KEY = CellKey("scene", "idm", "cat")


def same(a: Episode, b: Episode) -> None:
    for item in fields(Episode):
        left, right = getattr(a, item.name), getattr(b, item.name)
        if item.name == "plan":
            continue
        if isinstance(left, float) and math.isnan(left):
            assert math.isnan(right), item.name
        elif item.name in ("ego", "opponent") and left is not None:
            np.testing.assert_array_equal(left.states, right.states)
            np.testing.assert_array_equal(left.valid, right.valid)
        elif isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right)
            assert left.dtype == right.dtype
        else:
            assert left == right, item.name
            assert type(left) is type(right), item.name


def test_round_trip_is_exact(tmp_path: Path) -> None:
    store, episode = EpisodeStore(tmp_path), an_episode()
    scores = {"success": True, "reward": 0.1, "ttc": math.nan, "fault": "ego", "nothing": None}
    store.write(KEY, episode, scores, {"speed": np.arange(3.0)})
    record = store.read(KEY)
    same(record.episode, episode)
    assert record.key == KEY
    assert record.scores == {**scores, "ttc": None}
    np.testing.assert_array_equal(record.arrays["speed"], np.arange(3.0))
    plan, found = episode.plan, record.episode.plan
    assert plan is not None
    assert found is not None
    np.testing.assert_array_equal(plan.states, found.states)
    np.testing.assert_array_equal(plan.valid, found.valid)
    np.testing.assert_array_equal(plan.scores["log_prob"], found.scores["log_prob"])
    assert (plan.chosen, plan.takeover_step, dict(plan.info)) == (found.chosen, found.takeover_step, dict(found.info))
    assert plan.candidates is not None
    assert found.candidates is not None
    assert np.abs(plan.candidates - found.candidates).max() < 1e-4
    np.testing.assert_array_equal(plan.candidates == 0, found.candidates == 0)


def test_stage_1_without_plan_or_opponent(tmp_path: Path) -> None:
    from dataclasses import replace

    store, key = EpisodeStore(tmp_path), CellKey("scene", "idm", "none")
    episode = replace(an_episode(adversary="none"), plan=None, opponent=None, crash_contact=None)
    store.write(key, episode, {})
    same(store.read(key).episode, episode)
    assert store.read(key).episode.plan is None


def test_keys_with_any_name(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    keys = {CellKey("..", "a/b:c.zip", "none"), CellKey("sd 1%2F", "Ω", ".hidden"), KEY}
    for key in keys:
        store.write(key, an_episode(), {})
        assert key in store
    assert set(store.keys()) == keys
    assert all(tmp_path in store.path(key).parents for key in keys)
    store.remove(KEY)
    assert set(store.keys()) == keys - {KEY}


def test_half_written_files_do_not_count_and_are_swept(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    store.write(KEY, an_episode(), {})
    torn = store.path(KEY).with_name(".scene.123.part.npz")
    torn.write_bytes(b"PK")
    assert list(store.keys()) == [KEY]
    assert store.sweep() == 1
    assert not torn.exists()
    assert list(store.keys()) == [KEY]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"nonsense"])
def test_damage_is_named(tmp_path: Path, content: bytes) -> None:
    store = EpisodeStore(tmp_path)
    store.write(KEY, an_episode(), {})
    store.path(KEY).write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        store.read(KEY)


def test_missing_record_and_unwritable_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="read"):
        EpisodeStore(tmp_path).read(KEY)
    (tmp_path / "episodes").write_text("a file is in the way")
    with pytest.raises(RunError):
        EpisodeStore(tmp_path).write(KEY, an_episode(), {})
