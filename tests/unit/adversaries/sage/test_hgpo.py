"""HGPO: the loss by hand, the same trajectories for policy and reference, learning, and resumption."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from adversaries.sage.alignment import Alignment, evaluate, summary
from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.bank import Entry, build_bank
from adversaries.sage.config import RECIPES, HgpoConfig, Recipe, recipe_of
from adversaries.sage.groups import Draw, draw_goals
from adversaries.sage.hgpo import group_loss, hgpo_loss
from adversaries.sage.objectives import Values
from harness.errors import AdversaryError, ConfigError, RunError, UnknownNameError
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.sage.toys import ToyBackbone, small_prior

ADV, REAL = RECIPES["adv"], RECIPES["real"]


def scenes():
    return [
        straight_road(scene_id="a"),
        straight_road(opponent_speed=6.0, scene_id="b"),
        crossing(opponent_delay=1.0, scene_id="c"),
        crossing(opponent_delay=3.0, scene_id="d"),
    ]


def test_loss_by_hand() -> None:
    one = torch.tensor([0.0])
    assert float(hgpo_loss(one, one, one, one)) == pytest.approx(math.log(2))
    # Log-ratios 4 and -2: margin 6, β 0.5 → -log σ(3).
    loss = hgpo_loss(torch.tensor([1.0]), torch.tensor([-3.0]), torch.tensor([-3.0]), torch.tensor([-1.0]), 0.5)
    assert float(loss) == pytest.approx(math.log1p(math.exp(-3)))


def test_loss_pulls_winners_up_and_losers_down() -> None:
    winner, loser = (torch.zeros(2, requires_grad=True) for _ in range(2))
    hgpo_loss(winner, loser, torch.zeros(2), torch.zeros(2), 0.05).backward()
    # d/dw of -log σ(β w) at 0 is -β/2, averaged over two pairs.
    np.testing.assert_allclose(winner.grad, [-0.0125] * 2)
    np.testing.assert_allclose(loser.grad, [0.0125] * 2)


def test_recipes_rank_as_they_say() -> None:
    flags = np.array([False, True])
    values = Values(
        np.array([1.0, 9.0]), np.array([2.0, 2.0]), np.zeros(2), flags, np.zeros(2, bool), flags, flags | True
    )
    rng = np.random.default_rng(0)
    # The second is threatening but off the road.
    assert ADV.choose(values, rng, 8, 0.2).tolist() == [[0, 1]]
    assert RECIPES["no_map"].choose(values, rng, 8, 0.2).tolist() == [[1, 0]]
    # Weighted: 0.9 * 8 more threat against 0.1 * 50 of penalty.
    np.testing.assert_allclose(np.diff(RECIPES["weighted_map"].reward(values)), [0.9 * 8 - 5])
    assert len(RECIPES["dpo"].choose(values, rng, 8, 0.2)) == 0  # one feasible candidate makes no pair
    np.testing.assert_allclose(RECIPES["no_realism"].reward(values), [0.9, 8.1])
    np.testing.assert_allclose(REAL.reward(values), [0.1 - 1.8, 0.9 - 1.8])
    with pytest.raises(UnknownNameError, match="adv"):
        recipe_of("ad")


def test_policy_and_reference_are_asked_about_the_same_trajectories() -> None:
    """Departure 2 of the public code: each took its own top 32 and was compared by rank."""
    asked = {"policy": [], "reference": []}

    class Watched(ToyBackbone):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def distribution(self, cases):
            made, log = super().distribution(cases), asked[self.name]
            plain = made.log_prob
            made.log_prob = lambda tokens: log.extend(rows.copy() for rows in tokens) or plain(tokens)
            return made

    reference, policy = Watched("reference"), Watched("policy")
    entry = Entry(straight_road(), reference)
    result = group_loss(policy, [entry], ADV, HgpoConfig(), np.random.default_rng(0))
    assert result.pairs > 0
    # At equal weights the log-ratios vanish on the same trajectories, and only there: the loss is log 2.
    assert result.loss.item() == pytest.approx(math.log(2), abs=1e-6)
    known = {row.tobytes() for rows in asked["reference"] for row in rows}
    assert {row.tobytes() for rows in asked["policy"] for row in rows} <= known


def test_futures_are_judged_once() -> None:
    reference = ToyBackbone()
    entry = Entry(straight_road(), reference)
    tokens = np.array([[0, 1, 2, 3], [1, 1, 1, 1]])
    first = entry.values(tokens)
    again = entry.values(tokens[::-1])
    assert reference.asked == 2
    np.testing.assert_array_equal(first.adversarial, again.adversarial[::-1])
    assert float(entry.reference(tokens)[0]) == pytest.approx(-4 * math.log(12))


@pytest.mark.parametrize(
    "backbone", [ToyBackbone, lambda: GoalBackbone(small_prior(), Draw(at_random=True))], ids=["tokens", "goals"]
)
def test_alignment_improves_what_the_expert_prefers(backbone) -> None:
    reference = backbone()
    bank = build_bank(scenes()[1:2], reference)
    # The tiny prior has some 70 goals: a group must leave most of them out, or there is nothing to prefer.
    tokens = isinstance(reference, ToyBackbone)
    # Of the tokens' first group two are feasible: preferences come once feasibility no longer takes all pairs.
    config = HgpoConfig(
        epochs=240 if tokens else 120, learning_rate=0.05 if tokens else 1e-3, group=32 if tokens else 16
    )
    before = reference.clone()
    for name in ("adv", "real"):
        alignment = Alignment(reference, bank, bank, RECIPES[name], config)
        history = alignment.fit()
        first, last = (evaluate(policy, bank, RECIPES[name], config.group) for policy in (before, alignment.policy))
        assert last["reward"] > first["reward"]
        assert last["feasible"] > first["feasible"] + 0.1
        wanted = last["adversarial"] - first["adversarial"] if name == "adv" else first["realism"] - last["realism"]
        assert wanted > 0
        assert history[0]["epoch"] == 0
        assert history[-1]["held_out"]
    # The reference itself has not moved.
    for a, b in zip(reference.module.parameters(), before.module.parameters(), strict=True):
        assert torch.equal(a, b)


def test_completion_stays_the_pretrained_one() -> None:
    prior = small_prior()
    reference = GoalBackbone(prior, Draw(spacing=0))
    policy = reference.clone()
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.add_(0.1)
    scene = crossing()
    case = policy.prepare(scene, 1, 10)
    tokens = np.array([[3], [7]])
    ours, theirs = (b.futures(scene, 1, 10, case, tokens)[0] for b in (policy, reference))
    np.testing.assert_array_equal(ours, theirs)
    drawn = reference.distribution([case]).sample(8, np.random.default_rng(0))[0][:, 0]
    candidates = prior.candidates(scene, 1, 10, 8, "topk")
    np.testing.assert_array_equal(drawn, candidates.index)
    # The trajectories that `cat` gets from the same prior.
    ours = reference.futures(scene, 1, 10, case, drawn[:, None])[0]
    np.testing.assert_allclose(ours, candidates.states, atol=1e-9)


def test_random_groups_are_drawn_without_replacement() -> None:
    backbone = GoalBackbone(small_prior(), Draw(spacing=0, at_random=True))
    case = backbone.prepare(crossing(), 1, 10)
    made = backbone.distribution([case])
    first, second = (made.sample(16, np.random.default_rng(seed))[0][:, 0] for seed in (0, 1))
    assert len(set(first)) == 16
    assert set(first) != set(second)
    assert case.goal_mask[first].all()


def test_resumption_reaches_the_same_weights(tmp_path) -> None:
    reference = ToyBackbone()
    bank = build_bank(scenes(), reference)

    def train(epochs, file):
        alignment = Alignment(reference, bank, None, ADV, HgpoConfig(epochs=epochs, learning_rate=0.05))
        history = alignment.fit(checkpoint=file)
        return alignment.policy.module["logits"].detach(), history

    straight, history = train(10, None)
    train(5, tmp_path / "c.safetensors")
    resumed, pieces = train(10, tmp_path / "c.safetensors")
    assert torch.equal(straight, resumed)
    assert [row["loss"] for row in pieces] == [row["loss"] for row in history]
    with pytest.raises(RunError, match="w_adv was"):
        Alignment(reference, bank, None, REAL, HgpoConfig(learning_rate=0.05)).fit(
            checkpoint=tmp_path / "c.safetensors"
        )
    whole = Alignment(reference, bank, None, ADV, HgpoConfig(learning_rate=0.05)).identity()
    older = json.loads(whole.text())
    whole.check(older, tmp_path)
    older["recipe"]["pairs"] = "group"
    with pytest.raises(RunError, match="pairs was 'group' and is 'hierarchical'"):
        whole.check(older, tmp_path)
    stranger = reference.clone()
    with torch.no_grad():
        stranger.module["logits"].add_(1.0)
    with pytest.raises(RunError, match="reference was"):
        Alignment(stranger, bank, None, ADV, HgpoConfig(learning_rate=0.05)).fit(checkpoint=tmp_path / "c.safetensors")
    fewer = build_bank(scenes()[:1], reference)
    with pytest.raises(RunError, match="scenes was"):
        Alignment(reference, fewer, None, ADV, HgpoConfig(learning_rate=0.05)).fit(
            checkpoint=tmp_path / "c.safetensors"
        )


def test_scenes_that_cannot_be_used_are_listed() -> None:
    poor = straight_road(with_opponent=False, scene_id="nobody")
    bank = build_bank([poor, straight_road()], ToyBackbone())
    assert [name for name, _ in bank.rejected] == ["nobody"]
    assert len(bank) == 1
    with pytest.raises(ConfigError, match="none of 1 scenes"):
        build_bank([poor], ToyBackbone())
    with pytest.raises(AdversaryError, match="no opponent"):
        Entry(poor, ToyBackbone())


def test_summary_chooses_the_best_feasible() -> None:
    values = Values(
        np.array([1.0, 9.0, 3.0]),
        np.full(3, 2.0),
        np.zeros(3),
        np.array([False, True, False]),
        np.zeros(3, bool),
        np.array([False, True, True]),
        np.ones(3, bool),
    )
    row = summary([values], Recipe(1.0, 0.0))
    assert (row["chosen_adversarial"], row["success"]) == (3, 1)
    assert (row["feasible"], row["adversarial"]) == pytest.approx((2 / 3, 13 / 3))
    # A scene without road edges counts in every mean but those of feasibility.
    elsewhere = replace(values, off_road=np.zeros(3, bool), edges=np.zeros(3, bool))
    both = summary([values, elsewhere], Recipe(1.0, 0.0))
    assert (both["feasible"], both["chosen_adversarial"]) == pytest.approx((2 / 3, 6.0))
    assert np.isnan(summary([elsewhere], Recipe(1.0, 0.0))["chosen_feasible"])


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"learning_rate": 0.0}, {"margin": -1.0}, {"pairs": 0}])
def test_impossible_options_are_refused(wrong) -> None:
    with pytest.raises(ConfigError, match="alignment"):
        HgpoConfig(**wrong)


def test_groups_keep_their_distance() -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0], [4.5, 0.0], [9.0, 0.0]])
    log_probs, mask = np.array([-1.0, -2.0, -3.0, -4.0, -0.5]), np.array([True, True, True, True, False])
    assert draw_goals(log_probs, points, mask, 2, Draw(spacing=0)).tolist() == [0, 1]
    assert draw_goals(log_probs, points, mask, 2, Draw(spacing=3)).tolist() == [0, 2]
    # Only two are 3 m apart: the likeliest of the rest fill the group.
    assert draw_goals(log_probs, points, mask, 3, Draw(spacing=3)).tolist() == [0, 2, 1]
    assert draw_goals(log_probs, points, mask, 9, Draw(spacing=3)).tolist() == [0, 2, 1, 3]
    with pytest.raises(ConfigError, match="spacing"):
        Draw(spacing=-1)
