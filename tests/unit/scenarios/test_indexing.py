"""The index of a folder: what it knows, what it reads again, damage, other processes, files with several scenes."""

import logging
import os
import pickle
import sqlite3
import threading
from collections import Counter

import numpy as np
import pytest

from harness.errors import ConfigError, ScenarioError
from scenarios import same_map
from scenarios.description import to_description
from scenarios.fresh_processes import Outcome
from scenarios.importers import tfrecord
from scenarios.importers.layouts import SceneFound
from scenarios.indexing import update
from scenarios.indexing.facts import IndexTask, SceneFacts, examine_scene, facts_of, scene_facts, unfit_reasons
from scenarios.indexing.table import IndexTable, Stored
from scenarios.map_sketch import map_sketch
from scenarios.sources import open_source
from scenarios.splits import Concat, Subset
from scenarios.store import ScenarioStore
from scenarios.validate import Needs
from tests.scenes import straight_road
from tests.unit.scenarios.test_importers import proto


@pytest.fixture(autouse=True)
def examined(monkeypatch, tmp_path):
    """An index of its own, and the names of the files that are examined."""
    names = []

    def examine(task):
        names.append(os.path.basename(task.path))
        return examine_scene(task)

    monkeypatch.setattr(update, "cache_folder", lambda part: tmp_path / "cache" / part)
    monkeypatch.setattr(update, "examine_scene", examine)
    monkeypatch.setattr(update, "_PATIENCE_S", 600.0)
    return names


def dump(path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(to_description(straight_road(**options)), 4))


@pytest.fixture
def folder(tmp_path):
    """Four scenes, one of them without an opponent, and a file that is none."""
    for number in range(4):
        dump(tmp_path / "data" / f"{number}.pkl", scene_id=f"id{number}", with_opponent=number != 2)
    (tmp_path / "data" / "4.pkl").write_bytes(b"no pickle")
    return tmp_path / "data"


def base(store):
    return sqlite3.connect(store._index.table.path)


def test_rows_say_what_reading_says_and_nothing_is_read_twice(folder, examined):
    store = ScenarioStore(folder, cache_scenes=0)
    assert not examined
    found = list(scene_facts(store))
    assert found[:4] == [facts_of(store[index]) for index in range(4)]
    assert (found[0].scene_id, found[0].rate, found[0].steps, found[0].kinds) == ("id0", "10 Hz", 91, {"vehicle": 2})
    assert found[4].error.startswith(f"{folder}/4.pkl: ")
    assert [reason and reason.split(":")[0] for reason in unfit_reasons(store)] == [
        None,
        None,
        "no opponent",
        None,
        "cannot be read",
    ]
    sketches = list(store.sketches([3, 4]))
    assert np.array_equal(sketches[0], map_sketch(store[3]))
    assert len(sketches[1]) == 0
    assert sorted(examined) == [f"{number}.pkl" for number in range(5)]
    assert list(scene_facts(ScenarioStore(folder))) == found
    assert len(examined) == 5


def test_only_what_changed_is_examined_and_what_is_gone_is_forgotten(folder, examined):
    list(scene_facts(ScenarioStore(folder)))
    examined.clear()
    dump(folder / "4.pkl", scene_id="mended")
    dump(folder / "10.pkl", scene_id="new")
    os.utime(folder / "1.pkl", ns=(1, 1))
    (folder / "0.pkl").unlink()
    store = ScenarioStore(folder)
    assert [facts.scene_id for facts in scene_facts(store)] == ["id1", "id2", "id3", "mended", "new"]
    assert Counter(examined) == Counter(["1.pkl", "4.pkl", "10.pkl"])
    with base(store) as rows:
        assert {file for (file,) in rows.execute("SELECT file FROM scenes")} == {
            os.fsencode(path.name) for path in folder.iterdir()
        }


def test_a_few_scenes_cost_their_own_examination_alone(folder, examined):
    store = ScenarioStore(folder)
    (facts,) = scene_facts(store, [3])
    assert facts.scene_id == "id3"
    assert examined == ["3.pkl"]


def test_what_the_disk_refuses_is_looked_at_again(folder, examined, monkeypatch):
    def refuse(task):
        examined.append(task.record)
        error = ScenarioError("cannot be read")
        error.__cause__ = OSError(5, "Input/output error")
        return update.error_row(task, error)

    monkeypatch.setattr(update, "examine_scene", refuse)
    store = ScenarioStore(folder)
    assert [facts.error for facts in scene_facts(store)] == ["cannot be read"] * 5
    list(scene_facts(store))
    assert len(examined) == 5  # Not again by the same process ...
    monkeypatch.setattr(update, "examine_scene", examine_scene)
    assert not next(scene_facts(ScenarioStore(folder))).error  # ... but by the next one.


def damage_file(path):
    path.write_bytes(b"SQLite format 3\0" + b"x" * 5000)


def damage_rows(path):
    with sqlite3.connect(path) as rows:
        rows.execute("UPDATE scenes SET steps = 'many', kinds = '[1'")


def no_tags(path):
    with sqlite3.connect(path) as rows:
        rows.execute("UPDATE scenes SET tags = '{}'")


def other_tables(path):
    with sqlite3.connect(path) as rows:
        rows.execute("DROP TABLE sketches")


def other_rules(path):
    with sqlite3.connect(path) as rows:
        rows.execute("UPDATE about SET value = 'of long ago'")
        rows.execute("UPDATE scenes SET scene_id = 'of long ago'")


def deep_rows(path):
    with sqlite3.connect(path) as rows:
        rows.execute("UPDATE scenes SET kinds = ?", ("[" * 100_000,))


def endless_rows(path):
    with sqlite3.connect(path) as rows:
        rows.execute("UPDATE scenes SET steps = 9e999")


def endless_view(path):
    numbers = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT 'rules' AS name, max(x) AS value"
    with sqlite3.connect(path) as rows:
        rows.execute("DROP TABLE about")
        rows.execute(f"CREATE VIEW about AS {numbers} FROM c")


def cut(path):
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    "damage",
    [damage_file, damage_rows, deep_rows, endless_rows, endless_view, other_tables, no_tags, other_rules, cut],
)
def test_a_damaged_index_is_made_anew(folder, examined, damage):
    store = ScenarioStore(folder)
    before = list(scene_facts(store))
    damage(store._index.table.path)
    again = ScenarioStore(folder)
    assert list(scene_facts(again)) == before
    assert [sketch.tolist() for sketch in again.sketches(range(5))] == [s.tolist() for s in store.sketches(range(5))]
    examined.clear()
    list(scene_facts(ScenarioStore(folder)))
    assert len(set(examined)) in (0, 5)  # Whole again; rows that were read as damaged are examined once more.
    examined.clear()
    assert list(scene_facts(ScenarioStore(folder))) == before
    assert not examined


def test_a_cache_that_cannot_be_written_costs_time_and_one_line(folder, tmp_path, caplog, examined):
    (tmp_path / "cache").write_text("in the way")
    store = ScenarioStore(folder)
    with caplog.at_level(logging.WARNING):
        assert sum(not facts.error for facts in scene_facts(store)) == 4
        assert sum(not facts.error for facts in scene_facts(store)) == 4
    assert len(examined) == 5
    (record,) = [record for record in caplog.records if "index" in record.message]
    assert "GAUNTLET_CACHE" in record.message
    assert sum(not facts.error for facts in scene_facts(pickle.loads(pickle.dumps(store)))) == 4


def test_many_are_examined_by_other_processes_and_announced(folder, monkeypatch, examined, capsys):
    monkeypatch.setattr(update, "_FEW", 0)
    monkeypatch.setattr(update, "_HANDED_S", -1.0)
    monkeypatch.setattr(update, "examine_scene", examine_scene)
    odd = folder.rename(folder.with_name("{0} data"))
    assert [facts.scene_id for facts in scene_facts(ScenarioStore(odd))] == ["id0", "id1", "id2", "id3", ""]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"index: examining 5 scenes of {odd}, once, until files change"
    assert lines[-1].startswith("index: done: 5 scenes")
    assert not examined
    (odd / "5.pkl").write_bytes((odd / "0.pkl").read_bytes())
    assert len(list(scene_facts(ScenarioStore(odd)))) == 6
    assert capsys.readouterr().err.startswith(f"index: examining 1 of 6 scenes of {odd}, once")


def test_many_that_are_refused_at_once_are_not_handed_over(folder, monkeypatch):
    monkeypatch.setattr(update, "_FEW", 0)
    monkeypatch.setattr(update, "_HANDED_S", 60.0)
    monkeypatch.setattr(update, "outcomes", None)
    assert sum(not facts.error for facts in scene_facts(ScenarioStore(folder))) == 4


def test_a_process_that_dies_costs_one_file(folder, monkeypatch):
    def outcomes(function, tasks, workers, limit_s):
        for task in tasks:
            dies = task.path.endswith("1.pkl")
            yield Outcome(task, None, "died (exit code 9)") if dies else Outcome(task, examine_scene(task))

    monkeypatch.setattr(update, "_FEW", 0)
    monkeypatch.setattr(update, "_HANDED_S", -1.0)
    monkeypatch.setattr(update, "outcomes", outcomes)
    errors = [facts.error for facts in scene_facts(ScenarioStore(folder))]
    assert [bool(error) for error in errors] == [False, True, False, False, True]
    assert "exit code 9" in errors[1]


def test_where_no_process_can_be_started_this_one_does_it(folder, monkeypatch, examined):
    def outcomes(*_):
        raise OSError("no more processes")
        yield

    monkeypatch.setattr(update, "_FEW", 0)
    monkeypatch.setattr(update, "_HANDED_S", -1.0)
    monkeypatch.setattr(update, "outcomes", outcomes)
    assert next(scene_facts(ScenarioStore(folder))).scene_id == "id0"
    assert len(examined) == 5


def test_two_at_once_examine_each_scene_once(folder, examined, monkeypatch, caplog):
    inside = threading.Event()

    def slow(task):
        inside.set()
        examined.append(task.path)
        threading.Event().wait(0.1)
        return examine_scene(task)

    monkeypatch.setattr(update, "examine_scene", slow)
    first = threading.Thread(target=lambda: list(scene_facts(ScenarioStore(folder))))
    first.start()
    inside.wait(10)
    second = list(scene_facts(ScenarioStore(folder)))
    first.join()
    assert len(second) == len(examined) == 5
    assert "waiting" in caplog.text


def test_a_missing_package_is_said_at_once(folder, monkeypatch):
    def examine(task):
        from scenarios.indexing.facts import IndexRow

        return IndexRow(task, SceneFacts(), lasting=False, missing="pip install it")

    monkeypatch.setattr(update, "examine_scene", examine)
    with pytest.raises(ConfigError, match="pip install it"):
        next(scene_facts(ScenarioStore(folder)))


def test_records_are_found_without_passing_over_the_others(tmp_path, examined, monkeypatch):
    path = tmp_path / "data" / "a.tfrecord"
    path.parent.mkdir()
    spoiled = bytearray(proto("bb11bb22cc33dd44"))
    tfrecord.write(path, [proto("aa11bb22cc33dd44"), bytes(spoiled[:500]), proto("cc11bb22cc33dd44", 5000.0)])
    store = ScenarioStore(path.parent)
    assert store.ids == ("aa11bb22cc33dd44", "a-1", "cc11bb22cc33dd44")
    assert len(examined) == 3
    monkeypatch.setattr(tfrecord, "scan", lambda path: pytest.fail("searched from its beginning"))
    again = ScenarioStore(path.parent)
    assert again[2].position[0, 0, 0] == 13000.0
    with pytest.raises(ScenarioError, match="record 1"):
        again[1]
    assert len(examined) == 3
    assert [bool(facts.error) for facts in scene_facts(again)] == [False, True, False]


def test_a_bad_shard_costs_itself(tmp_path):
    tfrecord.write(tmp_path / "good.tfrecord", [proto("aa11bb22cc33dd44")])
    (tmp_path / "bad.tfrecord").write_bytes(b"nothing")
    (tmp_path / "empty.tfrecord").write_bytes(b"")
    store = ScenarioStore(tmp_path)
    assert store.ids == ("bad-0", "empty-0", "aa11bb22cc33dd44")
    with pytest.raises(ScenarioError, match="cut off"):
        store[0]
    assert ScenarioStore(tmp_path, on_error="skip").ids == ("aa11bb22cc33dd44",)


def test_other_splits_are_not_looked_into(tmp_path, examined):
    for part, name in (("training", "aa"), ("validation", "bb"), ("testing", "cc")):
        (tmp_path / part).mkdir()
        tfrecord.write(tmp_path / part / f"{name}.tfrecord", [proto(f"{name}11bb22cc33dd44")])
    assert open_source(tmp_path, "val").ids == ("bb11bb22cc33dd44",)
    assert examined == ["bb.tfrecord"]
    assert len(open_source(tmp_path)) == 3
    assert sorted(examined) == ["aa.tfrecord", "bb.tfrecord", "cc.tfrecord"]


def test_parts_of_sources_ask_the_index(folder, examined):
    store = ScenarioStore(folder)
    joined = Concat([Subset(store, [3, 0]), Subset(store, [2])])
    assert [facts.scene_id for facts in scene_facts(joined)] == ["id3", "id0", "id2"]
    assert [facts.scene_id for facts in scene_facts(joined, [2, 0])] == ["id2", "id3"]
    assert len(list(joined.sketches([1, 2]))) == 2
    assert sorted(examined) == ["0.pkl", "2.pkl", "3.pkl"]


def test_groups_of_maps_are_kept_until_a_map_changes(folder, monkeypatch):
    dump(folder / "3.pkl", origin=(900.0, 0.0))
    before = same_map.map_groups(ScenarioStore(folder))
    assert [before[0] == other for other in before] == [True, True, True, False, False]
    group, made = same_map.group, []
    monkeypatch.setattr(same_map, "group", lambda sketches: made.append(1) or group(sketches))
    assert same_map.map_groups(ScenarioStore(folder)) == before
    assert not made
    dump(folder / "2.pkl", origin=(900.0, 0.0))
    after = same_map.map_groups(ScenarioStore(folder))
    assert (after[2] == after[3], after[2] == after[0], made) == (True, False, [1])
    with base(ScenarioStore(folder)) as rows:
        rows.execute("UPDATE about SET value = substr(value, 1, 65) || '[1, \"x\"' WHERE name = 'map groups'")
    assert same_map.map_groups(ScenarioStore(folder)) == after


def test_a_map_beside_its_scene_counts_as_part_of_it(tmp_path):
    path, other = tmp_path / "scenario_7.parquet", tmp_path / "log_map_archive_7.json"
    path.write_bytes(b"1")
    found = SceneFound(str(path), "argoverse2", None)
    states = [update.file_state(found)]
    for text in ("{}", "{ }"):
        other.write_text(text)
        states.append(update.file_state(found))
    assert len(set(states)) == 3


def test_rows_take_any_text(tmp_path):
    table = IndexTable(tmp_path / "x.sqlite")
    facts = SceneFacts(
        scene_id="\ud800 \x00 ' ;--", opponent="\N{SNOWMAN}", kinds={"vehicle": 2}, ego_path=float("inf")
    )
    row = update.IndexRow(IndexTask("/x", "womd", 3, tfrecord.RecordPlace(7, 9)), facts, b"\1" * 16)
    table.write([Stored(row, b"\xff/x", "1 2", 4)])
    (found,) = table.facts([(b"\xff/x", 3)])
    assert found.scene_id == "\\ud800 \x00 ' ;--"
    assert (found.opponent, found.kinds, found.ego_path) == ("\N{SNOWMAN}", {"vehicle": 2}, float("inf"))
    assert [place.place for place in table.places(b"\xff/x")] == [(7, 9)]
    assert table.states([b"\xff/x"]) == {}  # Three scenes of the file have no row yet.
    assert table.records(b"\xff/x", "1 2") == {3}
    assert table.records(b"\xff/x", "other") == set()


def test_no_two_files_have_one_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = ["a", "b/x.pkl", "a/b/x.pkl", "ab/x.pkl", "x.pkl"]
    assert len({update.SceneIndex("a").key(path) for path in paths}) == len(paths)
    assert update.SceneIndex("a/").key("a/b/x.pkl") == update.SceneIndex("a").key("a/b/x.pkl") == (b"b/x.pkl", 0)


def test_needs_are_answered_by_the_index():
    facts = SceneFacts(ego_steps=50, opponent_fault="opponent: there is none")
    assert facts.lacks(Needs()) == ""
    assert "50 steps" in facts.lacks(Needs(steps=91))
    assert "road edges" in facts.lacks(Needs(road_edges=True))
    assert facts.lacks(Needs(opponent=True)) == "opponent: there is none"
    assert SceneFacts(error="bad").lacks(Needs()) == "bad"
