"""Driving quality, intervals and compliance."""

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.metrics import intervals
from harness.metrics.compliance import off_road_steps, traffic_contact_steps
from harness.metrics.driving import mean_jerk, mean_speed, route_completion
from harness.metrics.intervals import bootstrap_mean, percentile_interval, resampled, wilson
from tests.scenes import Agent, straight_road


def straight(speed: np.ndarray) -> np.ndarray:
    x = np.cumsum(speed) * 0.1
    zero = np.zeros_like(x)
    return np.column_stack([x, zero, zero, speed, zero])


def test_jerk_of_a_constant_jerk_is_that_jerk() -> None:
    time = np.arange(30) * 0.1
    states = straight(20 - 0.5 * 3.0 * time**2)
    assert mean_jerk(states, np.ones(30, bool)) == pytest.approx(3.0)


def test_jerk_ignores_rows_after_the_end() -> None:
    states = straight(np.full(30, 12.0))
    states[20:] = 0.0
    valid = np.arange(30) < 20
    assert mean_jerk(states, valid) == pytest.approx(0.0, abs=1e-9)
    assert mean_speed(states, valid) == pytest.approx(12.0)
    assert np.isnan(mean_speed(states, np.zeros(30, bool)))
    assert np.isnan(mean_jerk(states, np.arange(30) < 2))


def test_route_completion_counts_the_furthest_point() -> None:
    route = np.array([[0.0, 0.0], [100.0, 0.0]])
    x = np.concatenate([np.linspace(20, 60, 10), np.linspace(60, 30, 10)])
    states = np.column_stack([x, np.ones((20, 4))])
    assert route_completion(states, np.ones(20, bool), route) == pytest.approx(0.5)  # 40 of the 80 m left at x = 20
    assert route_completion(states, np.arange(20) < 1, route) == pytest.approx(0.0)
    assert route_completion(np.array([[100.0, 0, 0, 0, 0]]), np.ones(1, bool), route) == 1.0
    assert np.isnan(route_completion(states, np.zeros(20, bool), route))


def test_bootstrap_is_seeded_and_covers_the_mean() -> None:
    values = np.random.default_rng(0).normal(5, 2, 100)
    first, again, other = bootstrap_mean(values, 1), bootstrap_mean(values, 1), bootstrap_mean(values, 2)
    assert first == again
    assert first != other
    # Normal theory: 1.96 · s / 10
    half = 1.96 * values.std() / 10
    assert first.high - first.mean == pytest.approx(half, rel=0.15)
    assert first.mean - first.low == pytest.approx(half, rel=0.15)


def test_bootstrap_keeps_repeats_of_a_scene_together() -> None:
    scenes = np.repeat(np.array([[0.0], [1.0]] * 10), 50, axis=1)
    assert bootstrap_mean(scenes) == bootstrap_mean(scenes[:, 0])


def test_undefined_numbers_are_left_out() -> None:
    assert bootstrap_mean([1.0, np.nan, 3.0]).mean == 2.0
    assert np.isnan(bootstrap_mean([]).low)
    assert np.isnan(wilson(0, 0).mean)


@pytest.mark.parametrize("arguments", [(3, 2), (-1, 2)])
def test_impossible_counts_are_refused(arguments: tuple[int, int]) -> None:
    with pytest.raises(ConfigError):
        wilson(*arguments)
    with pytest.raises(ConfigError):
        wilson(1, 2, confidence=95)


class WallAtTwo:
    """A road edge along y = 2."""

    def boxes_cross_edges(self, poses: np.ndarray, size: tuple[float, float]) -> np.ndarray:
        return np.abs(poses[..., 1] - 2.0) <= size[1] / 2


def test_crossing_an_edge_is_found_at_its_step() -> None:
    states = straight(np.full(20, 5.0))
    states[:, 1] = np.arange(20) * 0.1  # the left side of a 2 m wide car reaches y = 2 at step 10
    valid = np.ones(20, bool)
    found = off_road_steps(WallAtTwo(), states, valid, (4.0, 2.0))
    assert found.argmax() == 10
    valid[10:15] = False
    assert off_road_steps(WallAtTwo(), states, valid, (4.0, 2.0)).argmax() == 15
    assert not off_road_steps(WallAtTwo(), states[None], np.ones((1, 20), bool), (4.0, 2.0), start=20).any()


def test_contact_with_traffic_spares_those_who_are_ignored() -> None:
    scene = straight_road(extra=[Agent("parked", 55.0, 0.0, 0.0, 0.0)])
    ego, size = scene.states(scene.ego), scene.box(scene.ego)
    # The ego at 10 m/s meets the parked car's tail (55 - 4.5 m between centres) at 5.05 s.
    found = traffic_contact_steps(scene, ego, scene.valid[scene.ego], size, ignore=(scene.ego,))
    assert found.argmax() == 51
    parked = scene.index_of("parked")
    assert not traffic_contact_steps(scene, ego, scene.valid[scene.ego], size, ignore=(scene.ego, parked)).any()
    alone = straight_road(with_opponent=False)
    assert not traffic_contact_steps(alone, ego, alone.valid[0], size, ignore=(0,)).any()


def test_both_bootstraps_by_hand() -> None:
    # One scene of two has 1: means of two draws are 0, 1/2, 1 with chances 1/4, 1/2, 1/4, so the ends are 0 and 1.
    assert bootstrap_mean([0.0, 1.0]) == (0.5, 0.0, 1.0)
    # Seeds and scenes are drawn independently: with one seed that is the bootstrap over scenes.
    values = np.random.default_rng(4).normal(0, 1, 30)
    crossed = bootstrap_mean(values[:, None], 2, crossed=True)
    assert crossed == pytest.approx(bootstrap_mean(values, 2))
    # Where only seeds differ, only they count, and the interval does not shrink with more scenes.
    table = np.array([[0.0] * 50, [1.0] * 50])
    assert bootstrap_mean(table.T, crossed=True) == (0.5, 0.0, 1.0)
    assert np.isnan(bootstrap_mean(np.full((2, 3), np.nan), crossed=True).mean)


def test_resamples_are_drawn_per_unit_and_percentiles_leave_out_nan(monkeypatch) -> None:
    assert (resampled(lambda picks: picks[:, 0], [1], resamples=3) == 0).all()
    shapes = resampled(lambda a, b: np.array([a.shape, b.shape]), [2, 5], resamples=7)
    assert shapes.tolist() == [[7, 2], [7, 5]]
    # Drawn piece by piece, so that memory stays small, they are the same.
    whole = resampled(lambda picks: picks, [5], seed=3, resamples=20)
    monkeypatch.setattr(intervals, "_PIECE", 15)
    rows: list[int] = []
    pieces = resampled(lambda picks: rows.append(len(picks)) or picks, [5], seed=3, resamples=20)
    assert rows == [3] * 6 + [2]
    assert (pieces == whole).all()
    # 2.5 and 97.5 % of 0 … 40 lie at 1 and 39.
    drawn = np.append(np.arange(41.0), np.nan)
    assert percentile_interval(20.0, drawn) == pytest.approx((20.0, 1.0, 39.0))
    assert np.isnan(percentile_interval(1.0, np.array([np.nan])).low)
