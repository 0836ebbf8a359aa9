"""Traffic flow by hand, its ceiling, and what a model that lets nobody enter scores."""

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.metrics.longterm.distributions import counts_per_step, js_score, likelihood, masses
from harness.metrics.longterm.flow import (
    FLOW_FEATURES,
    FlowEvents,
    flow_events,
    flow_reference,
    flow_scores,
    pooled_flow,
)
from harness.metrics.longterm.windows import in_windows, over_windows, window_starts, windows_with_map
from harness.metrics.wosac.config import Histogram

STEPS = 311


def poisson(rate: float, seed: int, steps: int = STEPS) -> FlowEvents:
    """As many agents enter as leave, `rate` per half second, for 5 s each, 70 m away."""
    rng = np.random.default_rng(seed)
    first = np.repeat(np.arange(5, steps, 5), rng.poisson(rate, (steps - 1) // 5))
    valid = (first[:, None] <= np.arange(steps)) & (np.arange(steps) < first[:, None] + 50)
    return flow_events(np.full(valid.shape, 70.0), valid)


def nobody(steps: int = STEPS) -> FlowEvents:
    return flow_events(np.zeros((1, steps)), np.ones((1, steps), bool))


def test_crossing_the_radius_and_appearing_both_count():
    valid = np.ones((4, 21), bool)
    distance = np.full((4, 21), 50.0)
    distance[0] = np.linspace(90, 60, 21)  # Is within 75 m from step 11 on, so from the decision at step 15.
    valid[1, :7] = False  # Appears at step 7: there at the decision at step 10.
    valid[2, 13:] = False  # Goes after step 12: there last at the decision at step 10.
    distance[3] = 80.0  # Never there.
    found = flow_events(distance, valid)
    assert found.enter.tolist() == [0, 1, 1, 0]
    assert found.exit.tolist() == [0, 0, 1, 0]
    assert found.present.tolist() == [1, 2, 2, 2]
    assert found.enter_distance.sum(0).tolist() == [0] * 6 + [1, 0, 0, 1]  # 50 and 67.5 m, bins of 7.5 m.
    assert found.exit_distance.sum(0).tolist() == [0] * 6 + [1, 0, 0, 0]


def test_an_observed_area_has_no_radius():
    valid = np.array([[False] * 6 + [True] * 5, [True] * 11])
    found = flow_events(np.full((2, 11), 200.0), valid, radius=np.inf)
    assert found.enter.tolist() == [0, 1]
    assert found.present.tolist() == [1, 2]
    assert found.enter_distance.sum(0).tolist() == [0] * 9 + [1]


def test_invalid_rows_may_hold_anything():
    valid = np.array([[False] * 6 + [True] * 5])
    distance = np.where(valid, 10.0, np.nan)
    assert flow_events(distance, valid).enter.tolist() == [0, 1]


def test_shapes_are_checked():
    with pytest.raises(ConfigError, match="expected"):
        flow_events(np.zeros((2, 11)), np.ones((3, 11), bool))
    with pytest.raises(ConfigError, match="more than 5 steps"):
        flow_events(np.zeros((2, 5)), np.ones((2, 5), bool))
    with pytest.raises(ConfigError, match="no log"):
        flow_reference([])
    with pytest.raises(ConfigError, match="begin and end at decisions"):
        flow_scores(nobody(), flow_reference([nobody()]), np.array([3]))
    with pytest.raises(ConfigError, match="no window"):
        window_starts(90, 11)


def test_a_score_by_hand():
    starts = np.array([0])
    log, quiet = flow_reference([poisson(1.0, 0, 81)]), nobody(81)
    found = flow_scores(quiet, log, starts)
    expected = js_score(masses(np.array([16, 0, 0, 0, 0])), log["enter"])
    assert found["enter"][0] == pytest.approx(expected)
    assert found["enter_by_ones"][0] < found["enter"][0]
    assert np.isnan(found["enter_distance"][0])


def test_the_log_against_itself_is_the_ceiling():
    logs = [poisson(1.0, seed) for seed in range(3)]
    reference = flow_reference(logs)
    pooled = pooled_flow(logs, reference)
    assert list(pooled) == list(FLOW_FEATURES)
    assert all(score == 1.0 for score in pooled.values())
    others = [[nobody()] * 3, [poisson(2.0, seed) for seed in range(3)], [poisson(1.0, seed) for seed in range(3, 6)]]
    for other in others:
        score = pooled_flow(other, reference)
        assert score["enter"] < 1.0
        assert score["enter_by_ones"] < 1.0
    quiet, crowded, alike = (pooled_flow(other, reference)["enter_by_ones"] for other in others)
    assert alike > 0.98
    assert np.isnan(pooled_flow(others[0], reference)["enter_distance"])
    assert quiet < 0.6
    assert crowded < 0.9


@pytest.mark.parametrize("rate", [0.32, 0.8, 1.0, 2.1])
def test_a_model_that_lets_nobody_enter_is_hidden_by_bins_of_two_and_shown_by_bins_of_one(rate: float):
    logs = [poisson(rate, seed) for seed in range(20)]
    reference, starts = flow_reference(logs), window_starts(STEPS, 0)
    log = flow_scores(logs[0], reference, starts) | {
        "enter_by_ones": np.mean([flow_scores(one, reference, starts)["enter_by_ones"] for one in logs])
    }
    quiet = {name: float(score.mean()) for name, score in flow_scores(nobody(), reference, starts).items()}
    alone, pooled = pooled_flow([nobody()], reference), pooled_flow(logs, reference)
    if rate <= 1.0:
        # What the paper's metric gives to a model that does nothing: nearly as much as to the log.
        assert 0.75 < quiet["enter"] < 0.98
    assert quiet["enter_by_ones"] < log["enter_by_ones"] - 0.04
    assert alone["enter_by_ones"] < pooled["enter_by_ones"] - 0.1


def test_windows_are_summed_as_they_lie():
    per_step = np.arange(20)[:, None]
    starts = window_starts(20, 2, length=10, stride=5)
    assert starts.tolist() == [2, 7]
    assert over_windows(per_step, starts, 10)[:, 0].tolist() == [sum(range(2, 12)), sum(range(7, 17))]
    flags = np.zeros((2, 20), bool)
    flags[1, 2] = True
    assert in_windows(flags, starts, 10).tolist() == [[False, True], [False, False]]
    assert window_starts(STEPS, 11).tolist() == list(range(11, 232, 5))


def test_windows_without_a_map_are_found():
    observer = np.zeros((40, 3))
    observer[:, 0] = np.arange(40) * 10.0
    points = np.array([[0.0, 20.0], [390.0, 33.0]])
    # The first point is within 32 m along and aside up to step 3; the second is 33 m aside.
    found = windows_with_map(observer, points, np.array([0, 3, 4, 20]), 10)
    assert found.tolist() == [True, True, False, False]
    turned = observer.copy()
    turned[:, 2] = np.pi / 4
    # 33 m aside of a square that is turned by 45° is within it, at 23 m along and across.
    assert windows_with_map(turned, points, np.array([30]), 10).tolist() == [True]


def test_counts_are_clamped_and_undefined_values_left_out():
    bins = Histogram(0.0, 10.0, 5)
    values = np.array([[-1.0, 0.0, 1.9, 2.0, 10.0, 99.0, np.nan]])
    counts = counts_per_step(values, np.ones((1, 7), bool), bins)
    assert counts.argmax(1).tolist()[:6] == [0, 0, 0, 1, 4, 4]
    assert counts[6].sum() == 0
    assert likelihood(np.array([1, 1]), np.array([0.25, 1.0])) == pytest.approx(0.5)
    assert np.isnan(likelihood(np.array([0, 0]), np.array([0.5, 0.5])))
    assert likelihood(np.array([1, 1]), np.array([0.0, 1.0])) == 0.0
    assert likelihood(np.array([0, 1]), np.array([0.0, 1.0])) == 1.0
