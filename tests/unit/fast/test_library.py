"""Packed scenes: the same from processes, from the cache and from here; what is damaged or different is made anew."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from harness.engine.scene import Body
from harness.errors import ConfigError, ScenarioError
from harness.fast import library, made_for, scenes
from harness.fast.library import pack_task, packed_scenes
from harness.fast.packing import pack, settled_scenes
from harness.fast.scenes import AT_BODY, OPPONENT, Scenes, is_sound, joined
from harness.fast.vector import FastVectorEnv
from harness.traffic.lane_paths import LaneIDMConfig
from scenarios.export import write_folder
from scenarios.fresh_processes import Outcome
from scenarios.sources import open_source
from tests.scenes import Agent, crossing, straight_road
from tests.sources import ListSource


def two():
    return [straight_road(scene_id="road", extra=[Agent("late", 40.0, 0.0, 0.0, 5.0, first=30)]), crossing()]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "cache_folder", lambda part: tmp_path / "cache" / part)
    return tmp_path / "cache" / "packed"


@pytest.fixture
def here(monkeypatch):
    """Packs in this process, and notes which scenes."""
    packed = []

    def outcomes(function, tasks, workers, limit_s, ahead):
        assert function == "harness.fast.library:pack_task"
        for task in tasks:
            packed.append(task.scenario.id)
            yield Outcome(task, pack_task(pickle.loads(pickle.dumps(task))))

    monkeypatch.setattr(library, "outcomes", outcomes)
    monkeypatch.setattr(library, "_FEW", 0)
    return packed


def same(one, other):
    pairs = zip(one.scenes, other.scenes, strict=True)
    return (
        one.ids == other.ids
        and np.array_equal(one.origins, other.origins)
        and all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)
    )


@pytest.mark.slow
def test_processes_pack_what_is_packed_here():
    source = ListSource(two())
    assert same(packed_scenes(source, workers=2), pack(settled_scenes(source)))


def test_the_cache_gives_back_what_was_packed(monkeypatch):
    source, seen = ListSource(two()), []
    wanted = pack(settled_scenes(source))
    assert same(packed_scenes(source), wanted)
    monkeypatch.setattr(library, "pack_task", lambda task: pytest.fail("packed again"))

    def watch(indices):
        for index in indices:
            seen.append(index)
            yield index

    assert same(packed_scenes(source, watch=watch), wanted)
    assert seen == [0, 1]


def test_what_is_different_is_packed_anew_and_nothing_else(here, own_cache, monkeypatch):
    packed_scenes(ListSource(two()))
    packed_scenes(ListSource([replace(two()[0], id="other"), two()[1]]))
    packed_scenes(ListSource(two()[:1]), static_vehicles=True)
    assert here == ["road", "crossing", "other", "road"]
    parked = packed_scenes(ListSource(two()[:1]), static_vehicles=True)
    with pytest.raises(ConfigError, match="static_vehicles=True"):
        FastVectorEnv(parked, 1)
    with pytest.raises(ConfigError, match="do not go together"):
        joined([parked, packed_scenes(ListSource(two()[:1]))])
    driven = packed_scenes(ListSource(two()[:1]), traffic="idm-lane")
    assert here.pop() == "road"
    again = packed_scenes(ListSource(two()[:1]), traffic="idm-lane")
    assert all(map(np.array_equal, driven.lanes, again.lanes))
    assert again.drivers == LaneIDMConfig()
    with pytest.raises(ConfigError, match="different traffic do not go together"):
        joined([driven, packed_scenes(ListSource(two()[:1]))])
    packed_scenes(ListSource(two()[:1]), traffic="idm-lane?speed=10")
    assert here.pop() == "road"
    with monkeypatch.context() as patch:
        patch.setattr(library, "_code_digest", lambda: "another")
        packed_scenes(ListSource(two()[1:]))
    assert here.pop() == "crossing"
    for file in own_cache.glob("*.npz"):
        file.write_bytes(file.read_bytes()[:-100])
    packed_scenes(ListSource(two()))
    assert here[4:] == ["road", "crossing"]


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(here, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(library, "cache_folder", lambda part: tmp_path / "file" / part)
    assert packed_scenes(ListSource(two())).ids == ("road", "crossing")


def test_a_file_that_has_not_changed_is_not_read_again(here, own_cache, tmp_path, monkeypatch):
    write_folder(two(), tmp_path / "data")
    first = packed_scenes(open_source(tmp_path / "data"))
    again = open_source(tmp_path / "data")
    monkeypatch.setattr(again, "_load", lambda index: pytest.fail("read"))
    assert same(packed_scenes(again), first)
    write_folder([replace(two()[0], ego=1)], tmp_path / "data")
    assert not same(packed_scenes(open_source(tmp_path / "data")), first)
    assert len(here) == 3
    for file in own_cache.glob("*.note"):
        file.write_text("../../nothing")
    packed_scenes(open_source(tmp_path / "data"))
    assert len(here) == 3


def test_what_cannot_be_simulated_raises_or_is_left_out(here):
    source = ListSource([replace(two()[0], dt=0.2), two()[1]])
    with pytest.raises(ScenarioError, match=r"steps of 0\.2 s"):
        packed_scenes(source)
    left_out = []
    assert packed_scenes(source, left_out=left_out).ids == ("crossing",)
    assert [(name, "0.2 s" in reason) for name, reason in left_out] == [("road", True)]
    with pytest.raises(ScenarioError, match="none of 1"):
        packed_scenes(ListSource(source.scenes[:1]), left_out=[])
    with pytest.raises(ConfigError, match="no scenes"):
        packed_scenes(ListSource([]))


def test_kernels_are_given_no_index_out_of_bounds():
    found = pack(settled_scenes(ListSource(two()[:1]))).scenes
    assert is_sound(found)
    assert len(Body) == scenes._BODIES
    for name in Scenes._fields:
        array = getattr(found, name)
        assert not is_sound(found._replace(**{name: array.astype(np.float32)})), name
        assert not is_sound(found._replace(**{name: array[:-1]})), name
    for name, place, value in (
        ("tracks", (3, AT_BODY), np.nan),
        ("facts", (0, OPPONENT), 2),
        ("grid", (0, slice(2, 4)), -found.grid[0, 2:4]),
        ("listed", 0, -1),
        ("cells", 1, len(found.lines) + 1),
    ):
        array = getattr(found, name).copy()
        array[place] = value
        assert not is_sound(found._replace(**{name: array})), name


def test_another_metadrive_is_refused(monkeypatch):
    made_for.check_metadrive()
    monkeypatch.setattr(made_for, "installed", lambda: ("0.5.0", "1.10.13"))
    with pytest.raises(ConfigError, match=r"MetaDrive 0\.4\.3, but 0\.5\.0 is installed.*harness\.perf"):
        made_for.check_metadrive()
    with made_for.measuring():
        made_for.check_metadrive()
    with pytest.raises(ConfigError, match=r"0\.5\.0"):
        packed_scenes(ListSource(two()))
    monkeypatch.undo()
    monkeypatch.setattr(made_for, "PACKAGES", ("no-such-package",))
    with pytest.raises(ConfigError, match="but none is installed"):
        made_for.check_metadrive()
