"""The `sage` adversary: choice, dial, rivals, protocols, weights files and speed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from adversaries.prior.prior import MotionPrior
from adversaries.sage.adversary import SageAdversary
from adversaries.sage.backbone import GoalBackbone
from adversaries.sage.experts import Experts, load_experts, save_expert
from harness.checks import check_adversary
from harness.errors import AdversaryError, ConfigError, WeightsError
from harness.interfaces import HEADING, Trajectory
from harness.specs import build
from tests.scenes import Agent, crossing, straight_road
from tests.unit.adversaries.fakes import context, line
from tests.unit.adversaries.sage.toys import small_network, small_prior


def experts() -> Experts:
    return Experts(small_prior(0), small_network(1), small_network(2), {})


@pytest.fixture
def sage() -> SageAdversary:
    return SageAdversary(experts())


def at(scene, intensity, trajectories=()):
    return replace(context(scene, trajectories), intensity=intensity)


@pytest.mark.parametrize("mixing", ["weights", "logits", "trajectories"])
def test_keeps_the_contract(mixing) -> None:
    scenes = [straight_road(), straight_road(opponent_from=6), crossing(origin=(7000.0, -12000.0), rotation=0.7)]
    check_adversary(SageAdversary(experts(), mixing=mixing), scenes)


def test_candidates_are_those_of_the_mixed_weights() -> None:
    sage, scene = SageAdversary(experts(), spacing=0, candidates=32), crossing()
    for intensity, network in ((0.0, sage.experts.real), (1.0, sage.experts.adv)):
        plan = sage.plan(at(scene, intensity))
        direct = MotionPrior(network).candidates(scene, 1, 10, 32, "topk")
        np.testing.assert_allclose(plan.scores["log_prob"], direct.log_prob, atol=1e-5)
    gaps = SageAdversary(sage.experts, spacing=5.0).plan(at(scene, 0.5)).candidates[:8, 90, :2]
    apart = np.linalg.norm(gaps[:, None] - gaps[None], axis=-1) + 100 * np.eye(8)
    assert apart.min() > 2  # goals are 5 m apart; what cannot be reached in time ends nearer


def test_the_choice_is_the_best_by_the_users_reward_among_the_feasible(sage) -> None:
    for intensity in (0.0, 0.3, 1.0, 1.7):
        plan = sage.plan(at(crossing(), intensity))
        mu = min(intensity, 1.0)
        scores = plan.scores
        reward = mu * scores["adversarial"] - (1 - mu) * (scores["kinematic"] + scores["behavioural"])
        feasible = scores["feasible"] > 0
        assert feasible.any()
        assert plan.chosen == np.flatnonzero(feasible)[reward[feasible].argmax()]
        assert plan.info["feasible"]
        np.testing.assert_array_equal(plan.states[11:], plan.candidates[plan.chosen, 11:])


@pytest.mark.parametrize("mixing", ["weights", "logits", "trajectories"])
def test_the_matched_coefficient_mixes_elsewhere_and_chooses_as_asked(mixing) -> None:
    scene = crossing()
    equal, matched = (SageAdversary(experts(), mixing=mixing, coefficient=name) for name in ("equal", "matched"))
    ours, theirs = matched.propose(at(scene, 0.3)), equal.propose(at(scene, 0.25))
    # The experts' weight is 0.9: μ = 0.3 asks for λ = 0.25.
    np.testing.assert_array_equal(ours.states, theirs.states)
    np.testing.assert_allclose(ours.score, ours.values.total(0.3, 0.7, 1.0))
    np.testing.assert_allclose(theirs.score, theirs.values.total(0.25, 0.75, 1.0))
    np.testing.assert_array_equal(matched.propose(at(scene, 1.0)).states, equal.propose(at(scene, 1.0)).states)


def test_the_matched_coefficient_knows_how_the_experts_were_aligned() -> None:
    told = replace(experts(), info={"adv": {"recipe": {"w_adv": 0.75, "w_real": 0.25}}})
    assert (told.weight, experts().weight) == (0.75, 0.9)
    adversary = SageAdversary(told, coefficient="matched")
    theirs = SageAdversary(told).propose(at(crossing(), 0.5 * (0.6 - 0.25) / 0.25))
    np.testing.assert_array_equal(adversary.propose(at(crossing(), 0.6)).states, theirs.states)
    with pytest.raises(ConfigError, match="coefficient"):
        SageAdversary(told, coefficient="best")  # type: ignore[arg-type]
    even = replace(told, info={"adv": {"recipe": {"w_adv": 0.5}}})
    assert SageAdversary(even).coefficient == "equal"
    with pytest.raises(ConfigError, match="w\\*"):
        SageAdversary(even, coefficient="matched")


def test_without_a_feasible_candidate_an_attack_is_still_planned(sage) -> None:
    # A wall of parked cars all around: everything is in contact somewhere.
    wall = [
        Agent(f"w{i}", x=x, y=y, speed=0)
        for i, (x, y) in enumerate((x, y) for x in range(-5, 90, 4) for y in (1, 3, 5))
    ]
    plan = sage.plan(at(straight_road(extra=wall), 1.0))
    assert plan.info["feasible_candidates"] == 0
    assert not plan.info["feasible"]


def test_the_attack_follows_the_ego_that_was_driven(sage) -> None:
    scene = straight_road(opponent_gap=0, opponent_offset=3.5)
    log = scene.states(0)
    away = Trajectory(log + np.array([0, 300.0, 0, 0, 0]), np.ones(91, bool))
    assert sage.plan(at(scene, 1.0)).scores["adversarial"].max() > 0.3
    assert sage.plan(at(scene, 1.0, [away])).scores["adversarial"].max() < 1e-6
    published = SageAdversary(sage.experts, protocol="as-published")
    assert (sage.num, published.num, SageAdversary(sage.experts, candidates=5).num) == (64, 32, 5)
    # The public code attacks the log whatever the policy did.
    assert published.plan(at(scene, 1.0, [away])).scores["adversarial"].max() > 0.3


def test_threat_is_the_mean_over_the_drives_or_that_of_the_latest() -> None:
    scene = straight_road()
    log = scene.states(0)
    seen, moved = np.ones(91, bool), np.array([0, 300.0, 0, 0, 0])
    here, away = Trajectory(log, seen), Trajectory(log + moved, seen)
    brief = Trajectory(log, np.arange(91) < 15)  # too short to say anything
    mean, latest = (SageAdversary(experts(), drives=drives) for drives in ("mean", "latest"))

    def threat(sage, drives):
        return sage.plan(at(scene, 1.0, drives)).scores["adversarial"]

    alone = threat(mean, [here])
    assert alone.max() > 0.3
    np.testing.assert_allclose(threat(mean, [here, away, away, here]), alone / 2, atol=1e-6)
    for drives in ([here], [away, away, here], [away, here, brief]):
        np.testing.assert_array_equal(threat(latest, drives), alone)
    assert threat(latest, [here, here, away]).max() < 1e-6
    # Whether a contact is expected, too, is judged against the latest drive: here the ego waits ahead of the opponent.
    ahead = scene.states(1)[10] + np.array([12.0, 0, 0, 0, 0])
    waiting = Trajectory(np.tile(ahead * np.array([1, 1, 1, 0, 0]), (91, 1)), seen)
    assert latest.plan(at(scene, 1.0, [away, waiting])).info["colliding_candidates"] > 0
    assert latest.plan(at(scene, 1.0, [waiting, away])).info["colliding_candidates"] == 0


@pytest.mark.parametrize("name", ["sage", "sage_smart"])
def test_drives_are_an_option_of_the_name(name) -> None:
    assert build("adversary", f"{name}?drives=latest").drives == "latest"
    assert build("adversary", name).drives == "mean"
    with pytest.raises(ConfigError, match="mean, latest"):
        build("adversary", f"{name}?drives=newest")


def test_trajectory_mixing_averages_the_experts_choices() -> None:
    mixed, weights = (SageAdversary(experts(), mixing=mixing) for mixing in ("trajectories", "weights"))
    scene = crossing()
    ends = [weights.plan(at(scene, end)).states[11:] for end in (0.0, 1.0)]
    for end in (0, 1):
        np.testing.assert_allclose(mixed.plan(at(scene, float(end))).states[11:], ends[end])
    middle = mixed.plan(at(scene, 0.25)).states[11:]
    np.testing.assert_allclose(middle[:, :2], 0.75 * ends[0][:, :2] + 0.25 * ends[1][:, :2])


def test_logit_mixing_agrees_with_the_experts_at_its_ends() -> None:
    logits, weights = (SageAdversary(experts(), mixing=mixing) for mixing in ("logits", "weights"))
    for end in (0.0, 1.0):
        np.testing.assert_allclose(
            logits.plan(at(crossing(), end)).states, weights.plan(at(crossing(), end)).states, atol=1e-6
        )


def test_extrapolation_goes_beyond_the_expert(sage) -> None:
    scene = crossing()
    inside, vector = (sage.plan(at(scene, intensity)).scores["log_prob"] for intensity in (1.0, 2.0))
    direct = SageAdversary(sage.experts, extrapolation="direct").plan(at(scene, 2.0)).scores["log_prob"]
    assert not np.allclose(inside, vector)
    assert not np.allclose(vector, direct)


def test_published_plans_take_headings_from_the_path(sage) -> None:
    published = SageAdversary(sage.experts, protocol="as-published")
    plan = published.plan(at(crossing(), 0.0))
    delta = np.diff(plan.states[40:60, :2], axis=0)
    np.testing.assert_allclose(plan.states[42:57, HEADING], np.arctan2(delta[2:17, 1], delta[2:17, 0]), atol=0.1)


def test_an_absent_opponent_is_an_adversary_error(sage) -> None:
    with pytest.raises(AdversaryError):
        sage.plan(at(straight_road(opponent_from=20), 0.5))


def test_plans_do_not_depend_on_what_was_asked_before(sage) -> None:
    first = sage.plan(at(crossing(), 0.4)).states
    sage.plan(at(straight_road(), 1.0))
    sage.plan(at(crossing(), 0.9, [Trajectory(line(0, 0, 0, 3), np.ones(91, bool))]))
    np.testing.assert_array_equal(sage.plan(at(crossing(), 0.4)).states, first)


def test_experts_round_trip_and_strangers_are_refused(tmp_path) -> None:
    prior, stranger = small_prior(0), small_prior(5)
    prior.save(tmp_path / "prior.safetensors")
    for seed, name in enumerate(("adv", "real"), start=1):
        save_expert(tmp_path, name, GoalBackbone(prior, module=small_network(seed)), GoalBackbone(prior), {"scenes": 3})
    found = load_experts(tmp_path)
    assert torch.equal(found.adv.score.weight, small_network(1).score.weight)
    assert found.info["real"]["scenes"] == 3
    # Commands that know of a prior only find the experts beside it.
    beside = load_experts(None, tmp_path / "prior.safetensors")
    assert torch.equal(beside.real.score.weight, found.real.score.weight)
    stranger.save(tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="aligned from prior"):
        load_experts(tmp_path, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="train_experts"):
        load_experts(tmp_path / "nowhere", prior)


@pytest.mark.parametrize(
    "wrong", [{"candidates": 0}, {"mixing": "salad"}, {"extrapolation": "up"}, {"protocol": "x"}, {"drives": "x"}]
)
def test_impossible_options_are_refused(wrong) -> None:
    with pytest.raises(ConfigError):
        SageAdversary(experts(), **wrong)


def test_shipped_experts_attack() -> None:
    """The package's own experts load beside the package's own prior, and differ the way they should."""
    shipped = load_experts()
    assert shipped.info["adv"]["data"] == "procedural"
    assert shipped.info["adv"]["recipe"]["w_adv"] > shipped.info["real"]["recipe"]["w_adv"]
    sage, scene = SageAdversary(shipped), crossing(opponent_delay=1.0)
    calm, vicious = (sage.plan(at(scene, intensity)) for intensity in (0.0, 1.0))
    assert vicious.scores["adversarial"][vicious.chosen] > calm.scores["adversarial"][calm.chosen]
