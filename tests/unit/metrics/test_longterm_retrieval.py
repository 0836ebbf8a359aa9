"""Retrieval of similar windows: by latents given as arrays, and by raw trajectories."""

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.metrics.longterm.retrieval import (
    WindowLatents,
    average_latents,
    gaussian_w2,
    latent_distances,
    median_scales,
    nearest_windows,
    retrieval_hits,
)
from harness.metrics.longterm.trajectories import (
    CUTOFF,
    set_distance,
    set_distances,
    traffic_paths,
)


def latents(seed: int, count: int) -> WindowLatents:
    rng = np.random.default_rng(seed)
    return WindowLatents(
        rng.normal(size=(count, 8)), rng.random((count, 8)), rng.normal(size=(count, 24)), rng.random((count, 24))
    )


def test_the_distance_of_gaussians_by_hand():
    mean, std = np.array([[0.0, 0.0]]), np.array([[1.0, 2.0]])
    assert gaussian_w2(mean, std, np.array([[3.0, 0.0]]), np.array([[1.0, 6.0]]))[0, 0] == pytest.approx(5.0)
    assert gaussian_w2(mean, std, mean, std)[0, 0] == 0.0


def test_objects_and_map_are_added_with_a_weight():
    query, base = latents(0, 3), latents(1, 5)
    objects = gaussian_w2(query.object_mean, query.object_std, base.object_mean, base.object_std)
    maps = gaussian_w2(query.map_mean, query.map_std, base.map_mean, base.map_std)
    assert latent_distances(query, base, 0.0) == pytest.approx(objects)
    assert latent_distances(query, base, 2.0) == pytest.approx(objects + 2 * maps)
    assert latent_distances(query, base, 2.0, (4.0, 8.0)) == pytest.approx(objects / 4 + maps / 4)


def test_medians_of_the_data_base_weigh_both_equally():
    base = latents(2, 60)
    scales = median_scales(base)
    every = np.triu_indices(60, 1)
    assert scales[0] == pytest.approx(np.median(gaussian_w2(*base[:2], *base[:2])[every]))
    one_map = base._replace(map_mean=np.zeros((60, 24)), map_std=np.ones((60, 24)))
    assert median_scales(one_map)[1] == 1.0
    with pytest.raises(ConfigError, match="no windows"):
        median_scales(WindowLatents(*(part[:0] for part in base)))


def test_latents_are_averaged_over_the_steps_of_a_window():
    means = np.arange(10.0)[:, None] * [1.0, 2.0]
    found, deviations = average_latents(means, np.ones((10, 2)), np.array([0, 5]), 4)
    assert found == pytest.approx(np.array([[1.5, 3.0], [6.5, 13.0]]))
    assert deviations == pytest.approx(np.ones((2, 2)))


def test_the_nearest_come_first_and_some_may_not_be_chosen():
    distances = np.array([[3.0, 1.0, np.nan, 2.0, 1.0]])
    assert nearest_windows(distances, 3).tolist() == [[1, 4, 3]]
    assert nearest_windows(distances, 2, allowed=np.array([[True, False, True, True, True]])).tolist() == [[4, 3]]
    # Half of the four that can be compared are passed over; of 2.4 two are.
    assert nearest_windows(distances, 2, skip=0.5).tolist() == [[3, 0]]
    assert nearest_windows(distances, 2, skip=0.6).tolist() == [[3, 0]]
    with pytest.raises(ConfigError, match="only 4 windows"):
        nearest_windows(distances, 5)
    with pytest.raises(ConfigError, match="a share below 1"):
        nearest_windows(distances, 1, skip=1.0)


def test_one_window_of_the_own_scene_is_a_hit():
    chosen, scenes = np.array([[0, 1], [1, 2], [2, 3]]), np.array([0, 0, 1, 2])
    assert retrieval_hits(chosen, scenes, np.array([0, 0, 0])).tolist() == [True, True, False]


def test_a_noisy_copy_finds_its_own_scene_and_a_degraded_retrieval_does_not():
    base = latents(3, 40)
    rng = np.random.default_rng(4)
    query = WindowLatents(*(part + rng.normal(scale=0.1, size=part.shape) for part in base))
    distances = latent_distances(query, base, scales=median_scales(base))
    scene = np.arange(40)
    assert retrieval_hits(nearest_windows(distances, 1), scene, scene).mean() == 1.0
    assert retrieval_hits(nearest_windows(distances, 5, skip=0.8), scene, scene).mean() == 0.0


def test_sets_of_ways_by_hand():
    def way(x: float, there: slice = slice(None)) -> np.ndarray:
        result = np.full((1, 4, 2), np.nan)
        result[0, there] = [x, 0.0]
        return result

    def distance(one: list[np.ndarray], two: list[np.ndarray]) -> float:
        return set_distance(np.concatenate([np.zeros((0, 4, 2)), *one]), np.concatenate([np.zeros((0, 4, 2)), *two]))

    assert distance([], []) == 0.0
    assert distance([], [way(0)]) == CUTOFF
    assert distance([way(0), way(50)], [way(52), way(1)]) == pytest.approx(np.sqrt((4 + 1) / 2))
    assert distance([way(0)], [way(1000)]) == CUTOFF
    assert distance([way(0)], [way(0), way(10)]) == pytest.approx(np.sqrt(CUTOFF**2 / 2))
    # There for half of the time only: the other half counts with the cutoff.
    assert distance([way(0)], [way(0, slice(0, 2))]) == pytest.approx(np.sqrt(CUTOFF**2 / 2))
    assert distance([way(0, slice(0, 2))], [way(0, slice(0, 2))]) == 0.0


def test_traffic_around_somebody_who_watches():
    poses = np.zeros((3, 41, 2))
    poses[0, :, 0], poses[1, :, 0], poses[2, :, 0] = 10.0, np.arange(41.0), 99.0
    counted = np.ones((3, 41), bool)
    counted[2] = False
    observer = np.tile([0.0, 0.0, np.pi / 2], (41, 1))
    ways = traffic_paths(poses, counted, observer, np.array([0, 20]), 20, every=10)
    assert [part.shape for part in ways] == [(2, 2, 2), (2, 2, 2)]
    # At steps 30 and 40: a window is the steps after its start.
    assert ways[1][1] == pytest.approx(np.array([[0.0, -30.0], [0.0, -40.0]]), abs=1e-9)
    found = set_distances(ways, ways)
    assert np.diag(found) == pytest.approx([0.0, 0.0])
    # Each window is seen from where the observer is when it starts.
    observer[20:] = [5.0, 0.0, 0.0]
    moved = traffic_paths(poses, counted, observer, np.array([0, 20]), 20, every=10)
    assert moved[0] == pytest.approx(ways[0])
    assert moved[1][1] == pytest.approx(np.array([[25.0, 0.0], [35.0, 0.0]]), abs=1e-9)
    # Each is assigned to itself: (0 + 400) / 2 is less than (650 + 50) / 2.
    assert found[0, 1] == pytest.approx(np.sqrt(200))


def test_what_was_there_before_a_window_is_no_part_of_it():
    poses = np.zeros((2, 21, 2))
    counted = np.ones((2, 21), bool)
    counted[0, 1:] = False
    (way,) = traffic_paths(poses, counted, np.zeros((21, 3)), np.array([0]), 20, every=10)
    assert len(way) == 1
