"""Novelty by hand, and what an expert of novelty prefers."""

import numpy as np
import pytest

from adversaries.sage.alignment import Alignment
from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.bank import build_bank
from adversaries.sage.config import RECIPES, HgpoConfig
from adversaries.sage.novelty import spread, surprise, surprise_of
from adversaries.sage.objectives import Values
from harness.errors import ConfigError
from harness.metrics.encounter import APART, contact_kinds
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.sage.toys import ToyBackbone, small_prior


def scenes():
    return [straight_road(scene_id="a"), crossing(scene_id="b"), crossing(opponent_delay=0.5, scene_id="c")]


def test_surprise_by_hand() -> None:
    found = surprise([APART, APART, APART, 4])
    # Seventeen kinds, each counted once more.
    assert found.shape == (17,)
    assert found[[APART, 4, 0]] == pytest.approx(-np.log(np.array([4, 2, 1]) / 21))


def test_spread_is_the_entropy_of_what_hits() -> None:
    assert spread([APART, 3, 3, 5, 5, APART]) == pytest.approx(np.log(2))
    assert spread([3, 3, 3, 5]) == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert spread([APART, APART]) == spread([7, APART]) == 0.0


def test_kinds_are_those_of_the_futures() -> None:
    scene, backbone = crossing(), GoalBackbone(small_prior())
    (entry,) = build_bank([scene], backbone).entries
    tokens = backbone.vocabulary(entry.case)
    states, valid = backbone.futures(scene, scene.opponent, 10, entry.case, tokens)
    ego = scene.states(scene.ego), scene.valid[scene.ego], scene.box(scene.ego)
    wanted = contact_kinds(states, valid, scene.box(scene.opponent), *ego, 11)
    assert np.array_equal(entry.all_kinds(), wanted)
    assert entry.kinds(tokens[[5, 2]]).tolist() == wanted[[5, 2]].tolist()
    assert (wanted != APART).any()
    # Where futures cannot be listed, kinds are found when they are asked for.
    toy = ToyBackbone()
    (other,) = build_bank([scene], toy).entries
    rows = np.array([[2, 2, 2, 2], [6, 6, 6, 6], [6, 6, 6, 6]])
    toy_states, toy_valid = toy.futures(scene, scene.opponent, 10, other.case, rows)
    again = contact_kinds(toy_states, toy_valid, scene.box(scene.opponent), *ego, 11)
    assert other.kinds(rows).tolist() == again.tolist()
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
