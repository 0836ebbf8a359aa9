"""Which weights alignment moves, what parts of the network do, and what single samples are worth."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from adversaries.prior.prior import MotionPrior
from adversaries.sage.adversary import SageAdversary
from adversaries.sage.alignment import Alignment
from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.bank import build_bank
from adversaries.sage.config import RECIPES, HgpoConfig
from adversaries.sage.experts import Experts
from adversaries.sage.landscape import Probe
from adversaries.sage.mixing import (
    PARTS,
    OwnCompletion,
    gradient_norms,
    gradient_report,
    part_mask,
    part_of,
    part_samples,
    part_weights,
    sampled,
    single_samples,
    total_variation,
    whole_network,
)
from adversaries.sage.objectives import Values
from adversaries.sage.steering import PreferenceVectors, flatten, weights_at
from harness.errors import ConfigError
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.fakes import context
from tests.unit.adversaries.sage.toys import small_network, small_prior


def experts() -> Experts:
    return Experts(small_prior(0), small_network(1), small_network(2), {})


def scenes():
    return [straight_road(scene_id="a"), crossing(scene_id="b"), crossing(opponent_delay=1.0, scene_id="c")]


@pytest.fixture(scope="module")
def probe() -> Probe:
    return Probe(experts(), build_bank(scenes(), GoalBackbone(small_prior(0))))


def test_every_weight_has_a_part() -> None:
    network = small_network()
    masks = [part_mask(network, (part,)) for part in PARTS]
    assert torch.stack(masks).sum(0).eq(1).all()
    assert part_mask(network, tuple(PARTS)).all()
    with pytest.raises(ConfigError, match=r"'wheel\.weight'"):
        part_of("wheel.weight")


def test_a_part_moves_alone() -> None:
    vectors = PreferenceVectors(torch.ones(2), torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0]))
    # The first weight at λ = 1, the second in the middle.
    assert part_weights(vectors, torch.tensor([True, False]), 1.0).tolist() == [1 + 2.0, 1 + 2.0]
    assert part_weights(vectors, torch.tensor([False, True]), 1.0).tolist() == [1 + 1.0, 1 + 0.0]
    everything = part_weights(vectors, torch.tensor([True, True]), 0.25)
    assert everything.tolist() == weights_at(vectors, 0.25).tolist()


def test_the_loss_moves_the_distribution_of_goals_and_not_the_completion(probe) -> None:
    norms = gradient_norms(GoalBackbone(small_prior(0)), probe.bank.entries, RECIPES["adv"], HgpoConfig())
    assert {name for name, norm in norms.items() if norm is None} == {
        name for name in norms if part_of(name) == "completion"
    }
    moved = {name: norm for name, norm in norms.items() if norm is not None}
    # A bias that is added to every goal's score changes no probability.
    idle = min(moved, key=moved.__getitem__)
    assert idle == "score.bias"
    assert moved.pop(idle) < 1e-6 * max(moved.values())
    assert min(moved.values()) > 0


def test_alignment_leaves_the_completion_as_it_was(probe) -> None:
    config = HgpoConfig(epochs=1, scenes_per_update=1, learning_rate=1e-2)
    alignment = Alignment(GoalBackbone(small_prior(0)), probe.bank, None, RECIPES["adv"], config)
    alignment.fit()
    before, after = flatten(small_network(0)), flatten(alignment.network)
    still = part_mask(alignment.network, ("completion",))
    # Not even the optimiser's decay of weights touches what has no gradient.
    assert torch.equal(before[still], after[still])
    for part in ("encoder", "goals"):
        assert not torch.equal(
            before[part_mask(alignment.network, (part,))], after[part_mask(alignment.network, (part,))]
        )


def test_the_report_tells_parts(probe) -> None:
    report = {row["part"]: row for row in gradient_report(probe, RECIPES["adv"])}
    network = small_network()
    assert sum(row["weights"] for row in report.values()) == sum(p.numel() for p in network.parameters())
    assert len(report["completion"]["still"]) == sum(name.startswith("drive") for name, _ in network.named_parameters())
    assert report["goals"]["still"] == []
    assert "score.bias" in report["goals"]["rounding"]
    whole = np.sqrt(sum(row["adv"] ** 2 for row in report.values()))
    assert whole == pytest.approx(float(probe.vectors.adv.norm()), rel=1e-5)


def test_without_pairs_there_is_no_gradient(probe) -> None:
    with pytest.raises(ConfigError, match="none of 3 scenes"):
        gradient_norms(probe.policy, probe.bank.entries, RECIPES["dpo"], HgpoConfig(margin=1e9))


def test_one_sample_by_hand() -> None:
    flags = np.array([True, False, False])
    values = Values(
        np.array([8.0, 2.0, 0.0]), np.array([1.0, 2.0, 4.0]), np.zeros(3), flags, ~flags, flags, flags | True
    )
    log_prob = np.log(np.array([0.25, 0.25, 0.5]))
    # The first is off the road, the others touch somebody.
    assert sampled(log_prob, values) == pytest.approx(
        {"success": 0.25, "adversarial": 2.5, "realism": 2.75, "feasible": 0.0}
    )
    assert np.isnan(sampled(log_prob, replace(values, edges=flags & False))["feasible"])


def test_total_variation_by_hand() -> None:
    first, second = np.log([0.5, 0.25, 0.25]), np.log([0.25, 0.25, 0.5])
    assert total_variation(first, second) == pytest.approx(0.25)
    assert total_variation(first, first) == 0.0


def test_weights_and_logits_agree_at_the_experts(probe) -> None:
    found = single_samples(probe, (0.0, 0.5, 1.0))
    for end in (0, 2):
        assert found["apart"][end] == pytest.approx(0.0, abs=1e-5)
        assert found["weights"][end]["adversarial"] == pytest.approx(found["logits"][end]["adversarial"], abs=1e-4)
    assert found["apart"][1] > 1e-4
    real, adv = (probe.log_probs(probe.between(place)) for place in (0.0, 1.0))
    apart = [total_variation(first, second) for first, second in zip(real, adv, strict=True)]
    assert found["experts"] == pytest.approx(np.mean(apart))


def test_parts_meet_in_the_middle(probe) -> None:
    found = part_samples(probe, (0.0, 0.5, 1.0))
    middle = {name: rows[1]["adversarial"][0] for name, rows in found.items()}
    assert len(set(np.round(list(middle.values()), 5))) == 1
    # Completion decides no probability, wherever its λ is; encoder and goals do.
    assert len({round(row["adversarial"][0], 6) for row in found["completion"]}) == 1
    for part in ("encoder", "goals", "whole"):
        assert len({round(row["adversarial"][0], 6) for row in found[part]}) == 3


def test_the_whole_network_drives_to_its_goals_itself() -> None:
    ours, scene = experts(), crossing()
    own = OwnCompletion(ours, spacing=0, candidates=32).propose(replace(context(scene), intensity=1.0))
    direct = MotionPrior(ours.adv).candidates(scene, 1, 10, 32, "topk")
    np.testing.assert_allclose(own.log_prob, direct.log_prob, atol=1e-5)
    np.testing.assert_allclose(own.states, direct.states, atol=1e-3)
    goals = SageAdversary(ours, spacing=0, candidates=32).propose(replace(context(scene), intensity=1.0))
    np.testing.assert_allclose(own.log_prob, goals.log_prob, atol=1e-6)
    # The prior drives otherwise to the same goals.
    assert np.abs(own.states - goals.states).max() > 0.05
    rows = whole_network(ours, scenes()[:1], lambda *_: None, (0.0, 1.0))
    assert [row["variant"] for row in rows] == ["whole 0", "whole 1"]
