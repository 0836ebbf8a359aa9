"""Sketches of maps, their similarity, and groups of maps, against plain sets."""

import numpy as np
import pytest

from scenarios.map_sketch import SAME_MAP, SKETCH_SIZE, SketchTable, map_sketch, similarities, similarity
from scenarios.same_map import group
from tests.scenes import straight_road


def sketch(values):
    return np.unique(np.asarray(sorted(values), dtype=np.uint64))[:SKETCH_SIZE]


def plain(one, two):
    """The share of the smallest values of the union that both have."""
    union = sorted(set(one.tolist()) | set(two.tolist()))[:SKETCH_SIZE]
    both = set(one.tolist()) & set(two.tolist())
    return sum(value in both for value in union) / len(union) if union else 0.0


def test_a_sketch_is_of_the_lanes_alone_and_sorted():
    scene = straight_road()
    found = map_sketch(scene)
    assert 0 < len(found) <= SKETCH_SIZE
    assert (np.diff(found.astype(object)) > 0).all()
    assert np.array_equal(found, map_sketch(straight_road(ego_speed=3.0)))
    assert similarity(found, map_sketch(straight_road(origin=(1000.0, 0.0)))) == 0.0


def test_similarity_is_that_of_the_smallest_values():
    rng = np.random.default_rng(0)
    made = [sketch(rng.integers(0, 400, size)) for size in (0, 1, 30, 300, 600, 2000)]
    first, second = (axis.ravel() for axis in np.meshgrid(range(6), range(6)))
    expected = [plain(made[one], made[two]) for one, two in zip(first, second, strict=True)]
    assert similarities(made, first, second).tolist() == pytest.approx(expected)


def components(sketches):
    """Groups by comparing every pair."""
    number = list(range(len(sketches)))
    for one in range(len(sketches)):
        for two in range(one):
            if plain(sketches[one], sketches[two]) >= SAME_MAP:
                old, new = number[one], number[two]
                number = [new if value == old else value for value in number]
    return number


def partition(groups):
    members = {}
    for index, value in enumerate(groups):
        members.setdefault(value, []).append(index)
    return sorted(members.values())


@pytest.mark.parametrize("seed", range(6))
def test_groups_are_those_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    drives = [rng.choice(5000, 400, replace=False) for _ in range(8)]
    everywhere = np.arange(5000, 5000 + 40)  # Points that every map has must join none of them.
    made = []
    for _ in range(60):
        drive = drives[rng.integers(8)]
        window = rng.choice(drive, rng.integers(20, 300), replace=False)
        made.append(sketch([*window, *everywhere, *rng.integers(10_000, 20_000, rng.integers(0, 200))]))
    made += [made[0], sketch([]), sketch([])]
    found = group(made)
    assert partition(found) == partition(components(made))
    assert found[-1] != found[-2]  # Maps without lanes have nothing in common.


def test_without_any_lane_every_scene_is_its_own_group():
    assert len(set(group([sketch([])] * 3))) == 3
    assert group([]) == []


def test_thousands_of_scenes_on_one_map_take_no_time():
    rng = np.random.default_rng(0)
    one = sketch(rng.integers(0, 2**62, 300))
    assert len(set(group([one] * 20_000))) == 1
    # The same points begin every map, as those of generated roads do.
    start = rng.integers(0, 2**62, 30)
    assert len(set(group(sketch([*start, *rng.integers(0, 2**62, 226)]) for _ in range(2000)))) == 2000


def test_the_nearest_of_many():
    rng = np.random.default_rng(1)
    made = [sketch(rng.choice(4000, 300, replace=False)) for _ in range(20)] + [sketch([])]
    table = SketchTable(made)
    for _ in range(20):
        wanted = sketch([*made[rng.integers(20)][: rng.integers(20, 256)], *rng.integers(5000, 9000, 100)])
        expected = [plain(wanted, other) for other in made]
        best = int(np.argmax(expected))
        found = table.nearest(wanted)
        assert found == ((best, pytest.approx(expected[best])) if expected[best] >= SAME_MAP else None)
    assert table.nearest(sketch([])) is None
    assert SketchTable([]).nearest(made[0]) is None
