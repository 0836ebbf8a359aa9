"""Records survive writing and reading exactly, and a kill leaves nothing torn."""

import json
import math
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from harness.episodes.records import CellKey, EpisodeStore
from harness.errors import RunError
from harness.files import write_arrays
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
    # Longer than a file system takes, and equal but for their ends; halves of surrogate pairs; nothing at all.
    keys |= {CellKey("山" * 32 + end, "a" * 400, "none") for end in ("", "a", "b")}
    keys |= {
        CellKey("[/bold]\x1b[31m", "\ud800", "\ud801"),
        CellKey("\x00\n\u202e", "=1+1|a", "!"),
        CellKey("", "%", "~"),
    }
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


def packed(store: EpisodeStore, **changes: object) -> None:
    """A record of KEY with some of its JSON or arrays replaced."""
    store.write(KEY, an_episode(), {})
    with np.load(store.path(KEY)) as archive:
        arrays = dict(archive)
    meta = json.loads(arrays["meta"].tobytes())
    for name, value in changes.items():
        if isinstance(value, np.ndarray):
            arrays[name] = value
        elif name in meta:
            meta[name] = value
        else:
            meta["episode"][name] = value
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    write_arrays(store.path(KEY), arrays)


@pytest.mark.parametrize(
    "changes",
    [
        {"ego_states": np.zeros(3)},
        {"ego_valid": np.array(True)},
        {"plan_states": np.zeros((4, 5))},
        {"agents": np.zeros((10**4, 5))},
        {"agents_valid": np.array(["yes"])},
        {"steps": "many"},
        {"reward": "much"},
        {"error": None},
        {"crash_contact": [1]},
        {"scores": [1, 2]},
        {"scores": {"a": {}}},
        {"episode": None},
        {"key": ["other", "idm", "cat"]},
        {"key": [[], {}, None]},
        {"key": 5},
        {"plan": {}},
        {"plan": {"chosen": "x", "takeover_step": None, "info": {}}},
        {"scores": {"a": 1e300}},
        {"scores": {"a": 10**400}},
        {"array_speed": np.zeros((2, 2))},
        {"array_speed": np.array(["x"])},
        {"ego_states": np.full((91, 5), np.nan)},
        {"agents": np.full((1, 5), np.inf)},
    ],
    ids=range(23),
)
def test_a_record_that_is_none_is_one_line_that_says_how_to_go_on(tmp_path: Path, changes: dict[str, object]) -> None:
    store = EpisodeStore(tmp_path)
    packed(store, **changes)
    with pytest.raises(RunError, match=r"scene\.npz.*Delete that file and go on with --resume") as caught:
        store.read(KEY)
    assert "\n" not in str(caught.value)


def test_no_record_unpacks_to_more_than_a_record_has(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    packed(store, array_speed=np.zeros(40_000_000))
    assert store.path(KEY).stat().st_size < 1_000_000
    for read in (store.read, store.read_scores):
        with pytest.raises(RunError, match="320,"):
            read(KEY)


def test_records_that_are_cut_are_found_without_reading_them(tmp_path: Path) -> None:
    store = EpisodeStore(tmp_path)
    keys = [CellKey(f"scene-{k}", "idm", "cat") for k in range(5)]
    for key in keys:
        store.write(key, an_episode(), {})
    assert store.cut() == []
    for key, keep in zip(keys[1:], (0, 10, -1, -30), strict=True):
        data = store.path(key).read_bytes()
        store.path(key).write_bytes(data[:keep])
    assert sorted(store.cut()) == [store.path(key) for key in keys[1:]]


def test_missing_record_and_unwritable_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="read"):
        EpisodeStore(tmp_path).read(KEY)
    (tmp_path / "episodes").write_text("a file is in the way")
    with pytest.raises(RunError):
        EpisodeStore(tmp_path).write(KEY, an_episode(), {})
