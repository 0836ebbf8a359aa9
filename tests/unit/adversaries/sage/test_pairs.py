"""Preference pairs: the two rules, their budget and its balance."""

import numpy as np

from adversaries.sage.pairs import best_worst, group_pairs

RNG = np.random.default_rng


def kinds(pairs, feasible):
    return [(bool(feasible[w]), bool(feasible[loser])) for w, loser in pairs]


def test_feasible_beats_infeasible_whatever_the_reward() -> None:
    feasible = np.array([True, False])
    pairs = group_pairs(feasible, np.array([-5.0, 9.0]), RNG(0))
    assert pairs.tolist() == [[0, 1]]


def test_among_feasible_the_margin_decides() -> None:
    feasible = np.ones(3, bool)
    pairs = group_pairs(feasible, np.array([0.0, 0.15, 0.3]), RNG(0))
    assert pairs.tolist() == [[2, 0]]
    assert len(group_pairs(feasible, np.array([0.0, 0.1, 0.2]), RNG(0))) == 0  # exactly the margin is not above it


def test_infeasible_candidates_are_not_ranked_among_themselves() -> None:
    assert len(group_pairs(np.zeros(4, bool), np.arange(4.0), RNG(0))) == 0


def test_the_budget_is_balanced() -> None:
    feasible = np.arange(32) < 16
    reward = np.arange(32.0)
    for seed in range(20):
        pairs = group_pairs(feasible, reward, RNG(seed))
        assert len(pairs) == 8
        assert len({tuple(p) for p in pairs}) == 8
        assert sum(kind == (True, False) for kind in kinds(pairs, feasible)) == 4
        for winner, loser in pairs[4:]:
            assert feasible[[winner, loser]].all()
            assert reward[winner] > reward[loser] + 0.2


def test_many_infeasible_candidates_do_not_crowd_out_preferences() -> None:
    feasible = np.arange(32) < 2
    pairs = group_pairs(feasible, np.arange(32.0), RNG(0))
    # One preference pair exists; feasibility takes the rest of the budget.
    assert kinds(pairs, feasible).count((True, True)) == 1
    assert len(pairs) == 8


def test_what_one_rule_cannot_use_goes_to_the_other() -> None:
    everything = group_pairs(np.ones(32, bool), np.arange(32.0), RNG(0))
    assert len(everything) == 8
    nothing_soft = group_pairs(np.arange(32) < 16, np.zeros(32), RNG(0))
    assert len(nothing_soft) == 8
    assert len(group_pairs(np.ones(32, bool), np.arange(32.0), RNG(0), limit=3)) == 3


def test_pairs_are_drawn_at_random_and_reproducibly() -> None:
    feasible, reward = np.arange(32) < 16, np.arange(32.0)
    first, again, other = (group_pairs(feasible, reward, RNG(seed)).tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_dpo_takes_the_best_and_the_worst_feasible() -> None:
    feasible = np.array([True, True, True, False])
    assert best_worst(feasible, np.array([1.0, 3.0, 2.0, 9.0])).tolist() == [[1, 0]]
    assert len(best_worst(feasible, np.array([1.0, 1.1, 1.0, 9.0]))) == 0
    assert len(best_worst(np.array([True, False]), np.array([1.0, 2.0]))) == 0
