"""Preference pairs: the two rules, their order and the limit, on groups small enough to list every outcome."""

import numpy as np

from adversaries.sage.pairs import best_worst, group_pairs

RNG = np.random.default_rng


def every(feasible, reward, **options):
    """Every set of pairs that 200 draws show, sorted."""
    found = set()
    for seed in range(200):
        pairs = group_pairs(np.array(feasible), np.array(reward, dtype=float), RNG(seed), **options)
        found.add(tuple(sorted(map(tuple, pairs.tolist()))))
    return found


def test_feasible_beats_infeasible_whatever_the_reward() -> None:
    assert every([True, False], [-5, 9]) == {((0, 1),)}


def test_every_infeasible_candidate_loses_once_to_a_feasible_one() -> None:
    # 0 and 1 are feasible and alike; 2 and 3 lose to one of them each, and both may lose to the same.
    assert every([True, True, False, False], [1, 1, 5, 0]) == {
        ((0, 2), (0, 3)),
        ((0, 2), (1, 3)),
        ((0, 3), (1, 2)),
        ((1, 2), (1, 3)),
    }


def test_what_is_left_of_the_limit_goes_to_preferences() -> None:
    # One infeasible candidate, and three preferences: 2 over 1, 2 over 0, 1 over 0.
    feasible, reward = [True, True, True, False], [0, 1, 2, 9]
    losers = {(0, 3), (1, 3), (2, 3)}
    preferences = {(2, 1), (2, 0), (1, 0)}
    assert every(feasible, reward) == {tuple(sorted({pair, *preferences})) for pair in losers}
    assert every(feasible, reward, limit=2) == {
        tuple(sorted((pair, better))) for pair in losers for better in preferences
    }
    assert every(feasible, reward, limit=1) == {(pair,) for pair in losers}


def test_among_feasible_the_margin_decides() -> None:
    feasible = np.ones(3, bool)
    pairs = group_pairs(feasible, np.array([0.0, 0.15, 0.3]), RNG(0))
    assert pairs.tolist() == [[2, 0]]
    assert len(group_pairs(feasible, np.array([0.0, 0.1, 0.2]), RNG(0))) == 0  # exactly the margin is not above it


def test_infeasible_candidates_are_not_ranked_among_themselves() -> None:
    assert len(group_pairs(np.zeros(4, bool), np.arange(4.0), RNG(0))) == 0


def test_infeasible_candidates_come_first_where_the_limit_is_short() -> None:
    # Three of 0 … 31 are infeasible: three of eight pairs are theirs. With ten of them nothing is left.
    feasible = np.arange(32) >= 3
    for seed in range(20):
        pairs = group_pairs(feasible, np.arange(32.0), RNG(seed))
        assert len({tuple(pair) for pair in pairs.tolist()}) == 8
        assert sorted(pairs[:3, 1]) == [0, 1, 2]
        assert feasible[pairs[:3, 0]].all()
        assert feasible[pairs[3:]].all()
        assert (pairs[3:, 0] > pairs[3:, 1]).all()
    crowded = group_pairs(np.arange(32) >= 10, np.arange(32.0), RNG(0))
    assert len(crowded) == 8
    assert len(set(crowded[:, 1])) == 8
    assert (crowded[:, 1] < 10).all()
    assert (crowded[:, 0] >= 10).all()


def test_whoever_is_infeasible_is_paired_equally_often_where_the_limit_is_short() -> None:
    lost = np.zeros(4)
    for seed in range(400):
        pairs = group_pairs(np.arange(4) < 1, np.zeros(4), RNG(seed), limit=1)
        lost[pairs[0, 1]] += 1
    assert lost[0] == 0
    assert (lost[1:] > 100).all()


def test_feasible_groups_have_preferences_only() -> None:
    pairs = group_pairs(np.ones(32, bool), np.arange(32.0), RNG(0))
    assert len(pairs) == 8
    assert (pairs[:, 0] > pairs[:, 1]).all()
    assert len(group_pairs(np.ones(32, bool), np.arange(32.0), RNG(0), limit=3)) == 3


def test_pairs_are_drawn_at_random_and_reproducibly() -> None:
    feasible, reward = np.arange(32) < 28, np.arange(32.0)
    first, again, other = (group_pairs(feasible, reward, RNG(seed)).tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_dpo_takes_the_best_and_the_worst_feasible() -> None:
    feasible = np.array([True, True, True, False])
    assert best_worst(feasible, np.array([1.0, 3.0, 2.0, 9.0])).tolist() == [[1, 0]]
    assert len(best_worst(feasible, np.array([1.0, 1.1, 1.0, 9.0]))) == 0
    assert len(best_worst(np.array([True, False]), np.array([1.0, 2.0]))) == 0
