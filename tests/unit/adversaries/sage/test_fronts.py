"""Fronts of the ways of mixing: their measures by hand, and attacks that the policies alone decide."""

import numpy as np
import pytest

from adversaries.prior.prior import MotionPrior
from adversaries.sage.adversary import SageAdversary
from adversaries.sage.experts import Experts
from adversaries.sage.fronts import (
    Choices,
    area,
    attack,
    by_candidates,
    dominated,
    efficient,
    hypervolume,
    monotone,
    same_share,
    spread,
)
from adversaries.sage.objectives import Values
from harness.metrics.distribution import KinematicSamples
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.sage.toys import four_ways, small_network, small_prior


def row(intensity, adversarial, realism, success=0.0):
    numbers = {"adversarial": adversarial, "realism": realism, "success": success}
    distances = dict.fromkeys(("acceleration", "speed", "yaw_rate"), -intensity)
    return {"intensity": intensity, **{key: [value] * 3 for key, value in (numbers | distances).items()}}


def test_monotone_response() -> None:
    rows = [row(x, x**2, 2 + x, success=0.5) for x in (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)]
    found = monotone(rows)
    assert found["adversarial"] == pytest.approx(1.0)
    assert found["realism"] == pytest.approx(1.0)
    assert found["speed"] == pytest.approx(-1.0)
    assert np.isnan(found["success"])  # a quantity that never moves shows no response
    # One inversion of neighbours among five: ρ = 1 - 6 * 2 / (5 * 24).
    rows = [row(x, y, 2.0) for x, y in zip((0.0, 0.25, 0.5, 0.75, 1.0), (1, 3, 2, 4, 5), strict=True)]
    assert monotone(rows)["adversarial"] == pytest.approx(0.9)


def test_domination_needs_both_to_be_better() -> None:
    weights = [row(0.0, 1.0, 2.0), row(1.0, 4.0, 3.0)]
    assert dominated({"weights": weights, "logits": [row(0.5, 5.0, 3.5), row(0.5, 0.5, 1.5)]}) == []
    found = dominated({"weights": weights, "logits": [row(0.5, 4.5, 2.5)]})
    assert found == [{"intensity": 1.0, "by": "logits", "points": 1}]


def test_hypervolume_by_hand() -> None:
    # Worst corner: R_adv 0, P_real 4. Weights: steps of 1 x 3 and 2 more wide at height 1.
    fronts = {"weights": [row(0.0, 1.0, 1.0), row(1.0, 3.0, 3.0)], "logits": [row(0.0, 0.0, 1.0), row(1.0, 2.0, 4.0)]}
    areas = hypervolume(fronts)
    assert areas["weights"] == pytest.approx(3 * 1 + 1 * 2)
    assert areas["logits"] == pytest.approx(0.0)


def test_the_best_points_and_their_area() -> None:
    gains = np.array([[1.0, 3.0], [3.0, 1.0], [1.0, 2.0], [3.0, 1.0], [2.0, 0.5]])
    # Equal points beat neither; (1, 2) and (2, ½) are beaten.
    assert efficient(gains).tolist() == [True, True, False, True, False]
    assert area(gains) == pytest.approx(3 * 1 + 1 * 2)


def test_equal_choices_are_counted() -> None:
    one = np.zeros((3, 5))
    assert same_share([one, one, one, one], [one, one + 0.005, one + 0.02, one + 1]) == 0.5


def test_distances_are_those_of_the_motion() -> None:
    still = Values(*[np.array([x]) for x in (1.0, 2.0, 0.5)], *[np.array([False])] * 3, np.array([True]))
    log = KinematicSamples(np.zeros(4), np.full(4, 5.0), np.zeros(4))
    fast = KinematicSamples(np.ones(4), np.full(4, 7.0), np.full(4, -0.25))
    found = Choices([still], [np.zeros((3, 5))], [fast], [log]).row()
    assert [found[key][0] for key in ("acceleration", "speed", "yaw_rate", "realism")] == [1.0, 2.0, 0.25, 2.5]


def experts() -> Experts:
    return Experts(small_prior(0), small_network(1), small_network(2), {})


def test_the_attacker_is_compared_with_the_same_vehicle_after_the_current_step() -> None:
    scene = straight_road(opponent_speed=6.0)
    choices = Choices()
    (found,) = attack({"one": (SageAdversary(experts()), 0.5)}, [scene], lambda *_: None)
    from tests.unit.adversaries.fakes import context

    choices.add(SageAdversary(experts()), context(scene))
    assert len(choices.log[0].speed) == 81
    np.testing.assert_allclose(choices.log[0].speed, 6.0, atol=1e-6)
    assert len(choices.attack[0].speed) == 81
    assert found["speed"][0] >= 0


def test_novelty_spreads_hits_and_loses_none(monkeypatch) -> None:
    monkeypatch.setattr(SageAdversary, "_draw", four_ways)
    scenes = [straight_road(scene_id=f"scene {number}", edges=False) for number in range(6)]
    plain, wide = spread(experts(), scenes, (0.0, 20.0), lambda *_: None)
    assert (plain["novelty"], wide["novelty"]) == (0.0, 20.0)
    assert plain["success"] == wide["success"]
    # All scenes are alike but for their names: nothing spreads without novelty.
    assert (plain["coverage"][0], plain["kinds"]) == (0.0, 1)
    assert wide["coverage"][0] > 0
    assert wide["kinds"] > 1


def test_with_one_candidate_the_policy_alone_decides() -> None:
    ours, scenes = experts(), [straight_road(scene_id="a"), crossing(scene_id="b")]
    one, many = by_candidates(ours, scenes, (1, 8), lambda *_: None, (0.0, 0.5, 1.0))
    assert (one["candidates"], many["candidates"]) == (1, 8)
    # At the ends both are the experts themselves.
    assert (one["same"][0], one["same"][-1]) == (1.0, 1.0)
    assert [row["intensity"] for row in one["fronts"]["logits"]] == [0.0, 0.5, 1.0]
    # K = 1 takes the likeliest goal of the realism expert, whatever R_μ says of it.
    adversary = SageAdversary(ours, candidates=1)
    likeliest = MotionPrior(ours.real).candidates(scenes[1], 1, 10, 1, "topk")
    from dataclasses import replace

    from tests.unit.adversaries.fakes import context

    found = adversary.propose(replace(context(scenes[1]), intensity=0.0))
    assert found.log_prob.tolist() == pytest.approx(likeliest.log_prob.tolist(), abs=1e-5)
    assert many["fronts"]["weights"][-1]["adversarial"][0] >= one["fronts"]["weights"][-1]["adversarial"][0]
