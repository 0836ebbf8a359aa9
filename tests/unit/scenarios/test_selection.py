"""Opponents, filters, splits and sources."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from harness.errors import ConfigError, ScenarioError
from scenarios import Concat, Subset, open_source, splits
from scenarios.description import to_description
from scenarios.filters import opponent_violates_map, reject_reason
from scenarios.opponents import conflict, select_opponent
from scenarios.same_map import map_groups
from scenarios.scenario import Kind
from scenarios.splits import Ratios, assign, by_hash, cat_splits, some_held_out, split_indices, write_split_file
from scenarios.store import ScenarioStore
from tests.scenes import Agent, crossing, straight_road


class Memory:
    """Scenes in memory as a source."""

    def __init__(self, scenes):
        self.scenes = list(scenes)
        self.ids = tuple(scene.id for scene in self.scenes)

    def __len__(self):
        return len(self.scenes)

    def __getitem__(self, index):
        return self.scenes[index]


def test_objects_of_interest_decide():
    near = Agent("near", 8.0, 0.0, 0.0, 10.0)
    scene = straight_road(extra=[near], interest=("opponent", "ego"))
    assert select_opponent(scene) == scene.index_of("opponent")
    assert select_opponent(replace(scene, objects_of_interest=("ego", "near"))) == scene.index_of("near")
    # The ego is not among them, they are not two, one is unknown, or it is no vehicle: the conflict decides.
    for names in (("opponent", "near"), ("ego",), ("ego", "ghost"), ("ego", "ego"), ()):
        assert select_opponent(replace(scene, objects_of_interest=names)) == scene.index_of("near")
    walker = replace(scene, kinds=np.array([0, Kind.PEDESTRIAN, 0], np.int8))
    assert select_opponent(walker) == scene.index_of("near")


def test_conflict_is_the_time_gap_where_paths_cross():
    scene = crossing(meet_time=5.0, opponent_delay=2.0)
    # Within 2.5 m of one another: the ego past the crossing by a, the other short of it by b, a² + b² <= 2.5²; the
    # gap shrinks by (a + b) / 10 s at most: about 0.35 s below the 2 s between the centres.
    assert conflict(scene, np.array([1]))[0] == pytest.approx(1.65, abs=0.06)
    assert conflict(crossing(opponent_delay=0.0), np.array([1]))[0] == 0.0


def test_the_strongest_conflict_is_chosen_among_several():
    crossing_car = Agent("crossing", 50.0, -50.0, np.pi / 2, 10.0)  # Meets the ego at (50, 0) after 5 s.
    parked = Agent("parked", 30.0, 3.0, 0.0, 0.0)
    brief = Agent("brief", 10.0, 0.0, 0.0, 10.0, last=25)
    walker = Agent("walker", 50.0, -5.0, np.pi / 2, 1.0, Kind.PEDESTRIAN)
    scene = straight_road(extra=[parked, crossing_car, brief, walker], opponent_gap=60.0)
    assert scene.agent_ids[select_opponent(scene)] == "crossing"


def test_no_opponent_where_nobody_qualifies():
    far = Agent("far", 0.0, 900.0)
    assert select_opponent(straight_road(with_opponent=False, extra=[far])) is None
    assert select_opponent(straight_road(opponent_speed=0.0)) is None
    assert select_opponent(straight_road(opponent_from=12)) is None
    assert select_opponent(straight_road(opponent_from=4)) == 1


def jittering(scene):
    """The ego's position with 20 cm of noise: a path of many metres that leads nowhere."""
    position = scene.position.copy()
    position[0, ::2, 0] += 0.2
    return replace(scene, position=position)


def cut(scene, steps):
    names = ("position", "heading", "velocity", "size", "valid")
    return replace(scene, **{name: getattr(scene, name)[:, :steps] for name in names})


def without_edges(scene):
    return replace(scene, features=tuple(item for item in scene.features if not item.is_road_edge))


@pytest.mark.parametrize(
    ("scene", "reason"),
    [
        (straight_road(), None),
        (crossing(opponent_from=9), None),
        (straight_road(with_opponent=False), "no opponent"),
        (straight_road(opponent_from=11), "not there at step 10"),
        (straight_road(opponent_to=35), "too short: 25 steps"),
        (straight_road(opponent_offset=5.0), "crosses a road boundary"),
        (straight_road(opponent_offset=5.0, median=True), None),
        (straight_road(ego_speed=0.3), "ego hardly moves: 2.7 m"),
        (jittering(straight_road(ego_speed=0.0)), "ego hardly moves: 0.2 m"),
        (cut(straight_road(), 25), None),
        (cut(straight_road(opponent_to=20), 25), "too short: 10 steps"),
        (without_edges(straight_road(opponent_offset=5.0)), None),
    ],
)
def test_filters(scene, reason):
    found = reject_reason(scene)
    assert found is None if reason is None else reason in found


def test_the_published_filter_mirrors_boxes():
    scene = straight_road(rotation=0.6)
    assert not opponent_violates_map(scene)
    # Mirrored, the box stands at -0.6 instead of 0.6 rad: 1.2 rad across the lane, and 2 m from the edge is too near.
    assert opponent_violates_map(scene, as_published=True)


def test_by_hash_is_disjoint_deterministic_and_keeps_groups_together():
    names = [f"scene{number}" for number in range(200)]
    groups = [number // 2 for number in range(200)]
    chosen = by_hash(names, groups, Ratios())
    counts = {split: chosen.count(split) for split in splits.SPLITS}
    assert counts == {"train": 140, "val": 20, "test": 40}
    assert all(chosen[index] == chosen[index + 1] for index in range(0, 200, 2))
    order = np.random.default_rng(0).permutation(200)
    again = by_hash([names[i] for i in order], [groups[i] for i in order], Ratios())
    assert [chosen[i] for i in order] == list(again)
    few = by_hash(names[:3], [0, 1, 2], Ratios())
    assert sorted(few) == ["test", "train", "val"]
    assert set(by_hash(names, groups, Ratios(1, 0, 1))) == {"train", "test"}
    with pytest.raises(ConfigError):
        Ratios(-1, 1, 1)


def test_windows_of_one_drive_share_a_group():
    here = straight_road(scene_id="a")
    later = straight_road(scene_id="b", ego_speed=3.0)
    there = straight_road(scene_id="c", origin=(1000.0, 0.0))
    nearly = straight_road(scene_id="d", origin=(0.7, 0.33))
    groups = map_groups(Memory([here, there, later, nearly]))
    assert groups[0] == groups[2]
    assert len(set(groups)) == 3


def scenes(count, **options):
    return [straight_road(scene_id=f"s{n}", origin=(500.0 * n, 0.0), **options) for n in range(count)]


def test_split_indices_of_any_source():
    source = Memory(scenes(20))
    parts = [split_indices(source, name) for name in splits.SPLITS]
    assert sorted(index for part in parts for index in part) == list(range(20))
    assert split_indices(source, "all") == list(range(20))
    with pytest.raises(ConfigError, match="unknown split 'training'"):
        split_indices(source, "training")
    with pytest.raises(ConfigError, match="empty"):
        split_indices(Memory(scenes(1)), "val")


def test_procedural_ids_say_their_split():
    source = Memory(straight_road(scene_id=f"sd_x_pg-{name}-000001-0") for name in ("test", "train", "val"))
    assert assign(source) == ("test", "train", "val")


def test_split_files(tmp_path):
    source = Memory(scenes(4))
    path = tmp_path / "splits.json"
    path.write_text(json.dumps({"train": ["s2", "s0.pkl"], "test": ["s3"]}))
    assert split_indices(source, "train", split_file=path) == [0, 2]
    assert assign(source, split_file=path) == ("train", None, "train", "test")
    frozen = tmp_path / "frozen.json"
    write_split_file(source, frozen)
    assert assign(source, split_file=frozen) == assign(source)
    for text, match in (
        ('{"train": ["s0"], "test": ["s0"]}', "'s0' is in 'train' and in 'test'"),
        ('{"train": ["s0", "s1", "s0"]}', "'s0' is twice in 'train'"),
        ('{"train": ["s0"], "train": ["s1"]}', "two values for the key 'train'"),
        ('{"train": [["s0"]]}', "list is no scene"),
        ('{"train": [1e999]}', "inf is no scene"),
        ('{"train": [true]}', "True is no scene"),
        ('{"trian": []}', "unknown split"),
        ('{"train": ["zz"]}', "'zz'"),
        ("[1]", "expected"),
        ("{", "cannot be read"),
    ):
        path.write_text(text)
        with pytest.raises(ScenarioError, match=match):
            assign(source, split_file=path)
    with pytest.raises(ScenarioError, match="cannot be read"):
        assign(source, split_file=tmp_path / "none.json")


def test_split_files_may_name_the_ids_inside_the_files(tmp_path):
    source = Memory(replace(scene, metadata={"scenario_id": f"w{n}"}) for n, scene in enumerate(scenes(3)))
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"train": ["w2"], "test": ["s0"]}))
    assert assign(source, split_file=path) == ("test", None, "train")


def test_cat_splits_are_the_published_numbers():
    table = cat_splits()
    by_split = {split: [n for n, own in table.items() if own == split] for split in splits.SPLITS}
    assert by_split["train"] == list(range(280))
    assert by_split["val"] == list(range(280, 300))
    assert len(by_split["test"]) == 69
    assert not {311, 339, 343, 345, 367, 302, 398} & set(by_split["test"])


def test_cat_folder_is_recognised_by_its_first_scene():
    numbered = [straight_road(scene_id=str(n), origin=(500.0 * n, 0.0)) for n in (0, 279, 290, 300, 302)]
    assert not splits.is_cat_folder(Memory(numbered))
    numbered[0] = replace(numbered[0], metadata={"scenario_id": splits.CAT_SCENE_0})
    assert assign(Memory(numbered)) == ("train", "train", "val", "test", None)


def test_subset_and_concat():
    source = Memory(scenes(5))
    subset = Subset(source, [3, 1])
    assert subset.ids == ("s3", "s1")
    assert [scene.id for scene in subset] == ["s3", "s1"]
    with pytest.raises(ConfigError, match="out of range"):
        Subset(source, [5])
    joined = Concat([subset, Subset(source, []), Subset(source, [0, 4])])
    assert joined.ids == ("s3", "s1", "s0", "s4")
    assert [joined[n].id for n in range(4)] == list(joined.ids)
    assert joined[-1].id == "s4"
    with pytest.raises(IndexError):
        joined[4]
    with pytest.raises(ConfigError, match="'s3'"):
        Concat([subset, Subset(source, [3])])


def write(folder, count):
    folder.mkdir(parents=True, exist_ok=True)
    for scene in scenes(count):
        (folder / f"{scene.id}.pkl").write_bytes(pickle.dumps(to_description(scene), 4))


def test_open_source_opens_folders_and_subfolders(tmp_path, monkeypatch):
    monkeypatch.setenv("GAUNTLET_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "flat", 10)
    assert len(open_source(tmp_path / "flat")) == 10
    parts = [open_source(tmp_path / "flat", name).ids for name in splits.SPLITS]
    assert len({name for part in parts for name in part}) == 10
    # The second time, the groups come from the cache: unreadable maps would not matter.
    monkeypatch.setattr(ScenarioStore, "__getitem__", lambda *_: pytest.fail("read again"))
    assert open_source(tmp_path / "flat", "train").ids == parts[0]
    monkeypatch.undo()
    write(tmp_path / "deep" / "train", 3)
    (tmp_path / "deep" / "test").mkdir()
    (tmp_path / "deep" / "test" / "t.pkl").write_bytes(pickle.dumps(to_description(straight_road()), 4))
    assert open_source(tmp_path / "deep", "train").ids == ("s0", "s1", "s2")
    assert len(open_source(tmp_path / "deep")) == 4
    with pytest.raises(ConfigError, match="no sub-folder 'val'"):
        open_source(tmp_path / "deep", "val")
    with pytest.raises(ConfigError, match="unknown split"):
        open_source(tmp_path / "flat", "trian")
    with pytest.raises(ScenarioError, match="no such file or folder"):
        open_source(tmp_path / "nowhere")


def test_open_source_procedural_takes_the_first_scenes(tmp_path, monkeypatch):
    from scenarios import procedural

    asked = []
    for split, count in (("train", 4), ("test", 3)):
        for number in range(count):
            scene = straight_road(scene_id=f"pg-{split}-{number:06d}-0")
            (tmp_path / f"sd_x_{scene.id}.pkl").write_bytes(pickle.dumps(to_description(scene), 4))

    def ensure(train, test, val, workers):
        asked.append((train, test, val))
        return tmp_path

    monkeypatch.setattr(procedural, "ensure", ensure)
    assert len(open_source("procedural", "train", train=2)) == 2
    assert len(open_source("procedural", "test")) == 3
    assert len(open_source("procedural", train=2, test=1)) == 3
    assert asked == [(2, 0, 0), (0, 50, 0), (2, 1, 0)]


@pytest.mark.womd
def test_real_splits_and_drives(womd):
    store = ScenarioStore(womd)
    sizes = [len(split_indices(store, name)) for name in splits.SPLITS]
    assert sizes == [280, 20, 69]
    pairs = [(6, 140), (113, 185), (62, 343), (89, 367)]
    chosen = [number for pair in pairs for number in pair]
    groups = map_groups(Subset(store, chosen))
    assert [groups[k] == groups[k + 1] for k in range(0, 8, 2)] == [True] * 4
    assert len(set(groups)) == 4


def test_so_many_scenes_are_held_out_and_maps_stay_whole():
    names, groups = [f"s{number}" for number in range(20)], [number // 3 for number in range(20)]
    splits = some_held_out(names, groups, 6)
    held_out = {name for name, split in splits.items() if split == "test"}
    assert len(held_out) == 6
    by_group = {group: {splits[n] for n, g in zip(names, groups, strict=True) if g == group} for group in set(groups)}
    assert all(len(own) == 1 for own in by_group.values())
    assert some_held_out(names, groups, 6) == splits
    for count in (1, 20):
        with pytest.raises(ConfigError, match="cannot be held out"):
            some_held_out(names, groups, count)
