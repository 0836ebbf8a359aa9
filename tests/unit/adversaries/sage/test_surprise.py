"""Surprise by hand, and what an expert of novelty prefers."""

import numpy as np
import pytest

from adversaries.common.candidates import Drawn
from adversaries.common.plans import distinct_futures
from adversaries.sage.alignment import Alignment
from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.bank import build_bank
from adversaries.sage.config import RECIPES, HgpoConfig
from adversaries.sage.hgpo import draw_pairs
from adversaries.sage.novelty import kinds_met
from adversaries.sage.objectives import Values
from adversaries.sage.surprise import surprise, surprise_of
from harness.errors import ConfigError
from harness.metrics.encounter_kinds import KINDS, NO_ENCOUNTER
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.fakes import context
from tests.unit.adversaries.sage.toys import ToyBackbone, small_prior


def scenes():
    return [straight_road(scene_id="a"), crossing(scene_id="b"), crossing(opponent_delay=0.5, scene_id="c")]


def test_surprise_by_hand() -> None:
    found = surprise([NO_ENCOUNTER] * 3 + [4])
    # Seventeen kinds, each counted once more.
    assert found.shape == (17,)
    assert found[[NO_ENCOUNTER, 4, 0]] == pytest.approx(-np.log(np.array([4, 2, 1]) / 21))


def test_kinds_are_those_of_the_futures() -> None:
    scene, backbone = crossing(), GoalBackbone(small_prior())
    case = context(scene)
    egos = distinct_futures(case)

    def wanted(own, entry, tokens) -> list[int]:
        states, valid = own.futures(scene, scene.opponent, 10, entry.case, tokens)
        size = scene.box(scene.opponent)
        drawn = Drawn(states=states, valid=valid, log_prob=np.zeros(len(states)), size=size)
        return kinds_met(case, drawn, egos).tolist()

    (entry,) = build_bank([scene], backbone).entries
    tokens = backbone.vocabulary(entry.case)
    kinds = wanted(backbone, entry, tokens)
    assert entry.all_kinds().tolist() == kinds
    assert entry.kinds(tokens[[5, 2]]).tolist() == [kinds[5], kinds[2]]
    assert max(kinds) > NO_ENCOUNTER == min(kinds)
    # Where futures cannot be listed, kinds are found when they are asked for.
    toy = ToyBackbone()
    (other,) = build_bank([scene], toy).entries
    rows = np.random.default_rng(0).integers(0, 12, (24, 4))
    assert other.kinds(rows).tolist() == wanted(toy, other, rows)
    with pytest.raises(ConfigError, match="cannot list"):
        other.all_kinds()


def test_novelty_turns_preferences() -> None:
    recipe, no = RECIPES["novel"], np.zeros(2, dtype=bool)
    values = Values(np.array([8.0, 6.0]), np.array([2.0, 2.0]), np.zeros(2), no, no, ~no, ~no)
    rng = np.random.default_rng(0)
    assert recipe.reward(values, np.array([0.5, 2.5])) == pytest.approx([0.05 * 6 + 0.45, 0.05 * 4 + 2.25])
    assert recipe.choose(values, rng, 8, 0.2, np.array([0.5, 2.5])).tolist() == [[1, 0]]
    assert recipe.choose(values, rng, 8, 0.02).tolist() == [[0, 1]]
    # The others know nothing of it.
    assert RECIPES["adv"].reward(values, np.array([0.5, 2.5])) == pytest.approx(RECIPES["adv"].reward(values))


def test_pairs_follow_the_surprise() -> None:
    reference = GoalBackbone(small_prior())
    entries = build_bank(scenes(), reference).entries
    distribution, config = reference.distribution([entry.case for entry in entries]), HgpoConfig(pairs=64)
    # Here no encounter is the greatest surprise, so that it wins against what hits.
    rare = np.zeros(len(KINDS) + 1)
    rare[NO_ENCOUNTER] = 10.0
    pairs = draw_pairs(distribution, entries, RECIPES["novel"], config, np.random.default_rng(0), rare)
    count = 0
    for entry, rows, values, chosen in zip(entries, *pairs, strict=True):
        kinds, soft = entry.kinds(rows), values.feasible[chosen].all(-1)
        winner, loser = kinds[chosen[soft]].T
        assert not ((winner != NO_ENCOUNTER) & (loser == NO_ENCOUNTER)).any()
        count += int(((winner == NO_ENCOUNTER) & (loser != NO_ENCOUNTER)).sum())
    assert count > 0


def test_an_expert_of_novelty_prefers_what_the_rewards_seldom_choose() -> None:
    reference = GoalBackbone(small_prior())
    bank = build_bank(scenes(), reference)
    config = HgpoConfig(epochs=40, learning_rate=1e-2)
    alignment = Alignment(reference, bank, None, RECIPES["novel"], config)
    assert np.array_equal(alignment.surprise, surprise_of(reference, bank, config))
    # Three scenes, chosen in twice.
    assert np.exp(-alignment.surprise).sum() == pytest.approx(1.0)
    assert np.rint(23 * np.exp(-alignment.surprise)).sum() == 23
    assert Alignment(reference, bank, None, RECIPES["adv"], config).surprise is None

    def novelty(policy) -> float:
        log_probs = policy.distribution([entry.case for entry in bank.entries]).log_probs.detach().exp().numpy()
        own = [alignment.surprise[entry.all_kinds()] for entry in bank.entries]
        return float(np.mean([row @ new for row, new in zip(log_probs, own, strict=True)]))

    alignment.fit()
    assert novelty(alignment.policy) > novelty(reference) + 0.05
