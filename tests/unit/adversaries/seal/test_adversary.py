"""The choice, the takeover and the controller of `seal` in hand-made scenes."""

import math
import pickle

import numpy as np
import pytest
import torch

from adversaries.seal.adversary import SealAdversary
from adversaries.seal.controller import SkillController, controller_weights, noise_points
from harness.checks import check_adversary
from harness.checks.controller import VEHICLE
from harness.episodes.tracking import actuate, limited
from harness.errors import ConfigError, WeightsError
from harness.interfaces import VX, ControlContext
from harness.metrics.collision import first_overlap
from scenarios.scenario import Kind
from tests.scenes import Agent, crossing, make_scene, straight_road
from tests.unit.adversaries.fakes import FixedPrior, context, line
from tests.unit.adversaries.sage.toys import small_prior
from tests.unit.adversaries.seal.toys import model


class Nearest(torch.nn.Module):
    """Scores a track by its smallest distance: closeness e^(-d/8), deviation 0."""

    def forward(self, tracks):
        gap = torch.where(tracks[..., 2] > 0, tracks[..., :2].norm(dim=-1), torch.tensor(1e6)).amin(-1)
        return torch.stack([torch.exp(-gap / 8), torch.zeros_like(gap)], -1)


def seal(states, **options) -> SealAdversary:
    made = SealAdversary(FixedPrior(np.asarray(states), -np.arange(len(states))), model(), **options)
    object.__setattr__(made.model, "scorer", Nearest())
    return made


SCENE = straight_road(opponent_gap=20.0)
HIT, MISS, AWAY = line(20.0, 0.0, 0.0, 5.0), line(20.0, 3.5, 0.0, 6.0), line(20.0, 3.5, 0.0, 15.0)
"""Cars of 4.5 m: HIT is met when the ego is 4.5 m behind it, after (20 - 4.5) / 5 s: step 31."""


def test_the_best_scored_candidate_is_chosen_and_the_takeover_is_11_rows_before_contact() -> None:
    plan = seal([AWAY, MISS, HIT]).plan(context(SCENE))
    assert plan.chosen == 2
    np.testing.assert_array_equal(plan.states[11:], HIT[11:])
    np.testing.assert_array_equal(plan.states[:11], SCENE.states(1)[:11])
    assert plan.info["expects_contact"]
    assert plan.info["expected_step"] == 31
    # Followed up to 10 + 1 steps before: row 20 is the plan's last, row 21 the first of physics.
    assert plan.takeover_step == 21
    assert isinstance(plan.controller, SkillController)


def test_without_contact_the_closest_approach_counts_and_the_past_is_not_changed() -> None:
    plan = seal([AWAY, MISS]).plan(context(SCENE))
    assert plan.chosen == 1
    assert not plan.info["expects_contact"]
    assert (plan.info["expected_step"], plan.takeover_step) == (50, 40)
    late = seal([line(6.0, 0.0, 0.0, 9.0)]).plan(context(SCENE))
    assert late.info["expected_step"] < 21
    assert late.takeover_step == 11


def test_options() -> None:
    assert seal([HIT], reactive=False).plan(context(SCENE)).controller is None
    assert seal([HIT], lead=3).plan(context(SCENE)).takeover_step == 28
    aside = line(20.0, 0.3, 0.0, 5.0)
    published = seal([aside], protocol="as-published").plan(context(SCENE))
    assert published.info["expected_step"] == 36, "steps 11, 16 … 31, 36 are checked, and touching boxes are missed"
    with pytest.raises(ConfigError, match="lead"):
        seal([HIT], lead=-1)
    with pytest.raises(ConfigError, match="decode"):
        seal([HIT], decode="best")
    with pytest.raises(WeightsError, match="train_seal"):
        SealAdversary(small_prior(0), "nowhere.safetensors")


def test_every_recent_drive_counts_with_its_own_length() -> None:
    ego = line(0.0, 3.5, 0.0, 9.0)
    driven = type(context(SCENE).ego_trajectories[0])(ego, np.arange(91) < 60)
    plan = seal([AWAY, MISS, HIT]).plan(context(SCENE, [driven]))
    assert plan.chosen == 1, "this ego drives in the left lane"


def test_only_vehicles_are_driven_by_physics() -> None:
    walker = make_scene(
        [Agent("ego", 0.0, 0.0), Agent("opponent", 20.0, 3.5, kind=Kind.PEDESTRIAN)], straight_road().features
    )
    assert seal([HIT]).plan(context(walker)).controller is None


def test_keeps_the_contract() -> None:
    made = SealAdversary(small_prior(0), model())
    check_adversary(made, [straight_road(), crossing(origin=(7000.0, -12000.0), rotation=0.7)], intensities=(1.0,))


def test_weights_beside_the_prior_are_taken(tmp_path) -> None:
    small_prior(0).save(tmp_path / "prior.safetensors")
    model(5).save(tmp_path / "seal.safetensors")
    made = SealAdversary(tmp_path / "prior.safetensors")
    torch.testing.assert_close(made.model.tensors(), model(5).tensors())


class Direct:
    """Skills that say it plainly: their first two numbers are the action."""

    def decode(self, seen, skill):
        return torch.tanh(skill[..., :2] / 2).expand(*seen.shape[:-1], 2)

    def skill(self, noise, seen):
        return noise


def started(weights=None, plan=None) -> tuple[SkillController, ControlContext]:
    controller = SkillController(weights or controller_weights(model().tensors()), period=1)
    control = ControlContext(SCENE, 1, (4.5, 2.0), (4.5, 2.0), VEHICLE)
    controller.reset(plan or seal([HIT]).plan(context(SCENE)), control)
    controller._reactive = Nearest()
    return controller, control


def test_every_decision_takes_the_best_skill_against_the_egos_present_motion() -> None:
    controller, _ = started()
    opponent, ego = HIT[20], line(0.0, 0.0, 0.0, 10.0)[20]
    action = controller.act(20, opponent, ego)
    first = controller.last
    assert action.shape == (2,)
    assert first.chosen == first.scores.argmax()
    np.testing.assert_allclose(first.ego, line(0.0, 0.0, 0.0, 10.0)[21:41], atol=1e-9)
    gaps = np.hypot(*np.moveaxis(first.paths[..., :2] - first.ego[:, :2], -1, 0)).min(-1)
    assert gaps[first.chosen] == gaps.min()


def test_a_braking_ego_is_seen_and_answered() -> None:
    """The opponent is level with the ego in the next lane, both at 10 m/s; then the ego goes on, or loses 0.8 m/s."""
    answers, pushes = [], []
    for pace in (10.0, 9.2):
        controller, _ = started()
        controller._model = controller._prior = Direct()
        opponent, ego = line(0.0, 3.5, 0.0, 10.0), line(0.0, 0.0, 0.0, 10.0)
        controller.act(20, opponent[20], ego[20])
        after = ego[21].copy()
        after[VX] = pace
        controller.act(21, opponent[21], after)
        answers.append(controller.last)
        chosen = answers[-1].paths[answers[-1].chosen]
        pushes.append(np.hypot(*chosen[4, VX:]) - 10.0)
        assert chosen[9, 1] < 3.0, "it turns towards the ego"
    # Braking with 8 m/s² from 9.2 m/s, the ego comes to rest 5.3 m on; going on, it covers 20 m.
    assert answers[1].ego[-1, 0] - ego[21, 0] == pytest.approx(9.2**2 / 16, abs=0.05)
    assert answers[0].ego[-1, 0] - ego[21, 0] == pytest.approx(20.0, abs=0.05)
    assert pushes[0] > -1.0, "it stays level with an ego that goes on"
    assert pushes[1] < -2.0, "and brakes with one that brakes"


def test_a_skill_that_meets_the_expected_ego_comes_before_all_that_do_not() -> None:
    class Farthest(Nearest):
        def forward(self, tracks):
            return 1.0 - super().forward(tracks)

    controller, _ = started()
    controller._model = controller._prior = Direct()
    controller._reactive = Farthest()
    controller.act(20, line(0.0, 3.0, 0.0, 10.0)[20], line(0.0, 0.0, 0.0, 10.0)[20])
    choice = controller.last
    alive = np.ones(20, bool)
    meets = first_overlap(choice.paths, alive, (4.5, 2.0), choice.ego, alive, (4.5, 2.0)) >= 0
    assert meets.any()
    assert not meets.all()
    assert meets[choice.chosen]


def test_episodes_repeat_and_copies_act_alike() -> None:
    ego, opponent = line(0.0, 0.0, 0.0, 9.0), line(15.0, 2.0, 0.0, 8.0)

    def drive(controller):
        return np.array([controller.act(step, opponent[step], ego[step]) for step in range(20, 26)])

    controller, control = started()
    plan = seal([HIT]).plan(context(SCENE))
    controller.reset(plan, control)
    first = drive(controller)
    copied = pickle.loads(pickle.dumps(controller))
    copied.reset(plan, control)
    controller.reset(plan, control)
    state = torch.random.get_rng_state()
    np.testing.assert_array_equal(drive(controller), first)
    np.testing.assert_array_equal(drive(copied), first)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert len(pickle.dumps(plan.controller)) < 300_000


def test_controls_become_actions_within_what_the_car_can_do() -> None:
    at_ten = line(0.0, 0.0, 0.0, 10.0)[0]
    assert actuate(1.25, 0.0, at_ten, VEHICLE).tolist() == pytest.approx([0.0, 0.5])
    assert actuate(-3.5, 0.0, at_ten, VEHICLE)[1] == pytest.approx(-0.2)
    assert actuate(-0.2, 0.0, at_ten, VEHICLE)[1] == 0.0, "rolling resistance does it"
    steering = actuate(0.0, 0.05, at_ten, VEHICLE)[0]
    assert steering == pytest.approx(math.atan(0.05 * 2.488) / 0.785)
    # 0.9 of a grip of 7.36 m/s² at 10 m/s: a curvature of 0.066 1/m at most.
    _, curve = limited(np.array(0.0), np.array(0.2), at_ten, VEHICLE)
    assert float(curve) == pytest.approx(0.9 * 7.36 / 100)


def test_noise_is_spread_like_a_normal_and_never_changes() -> None:
    points = noise_points(64)
    np.testing.assert_array_equal(points, noise_points(64))
    assert points.shape == (64, 8)
    assert not points[0].any()
    np.testing.assert_allclose(points.mean(0), 0.0, atol=0.15)
    np.testing.assert_allclose(points.std(0), 1.0, atol=0.2)
