"""Speeds moved by gradient: the smooth rewards against the exact ones, and what `sage?refine=N` makes of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from adversaries.common.plans import distinct_futures
from adversaries.gradient.bicycle import Start, drive
from adversaries.sage import refining
from adversaries.sage.adversary import SageAdversary
from adversaries.sage.experts import Experts
from adversaries.sage.refining import (
    BOUNDS,
    KEPT,
    Followed,
    followed,
    looked_up,
    refined,
    smooth_realism,
    smooth_threat,
)
from harness.checks import check_adversary
from harness.errors import ConfigError
from harness.interfaces import HEADING, VX
from harness.metrics.adversarial import adversarial_reward
from harness.metrics.realism import behavioural_penalty, kinematic_penalty
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.fakes import context, line
from tests.unit.adversaries.sage.toys import small_network, small_prior

DT = 0.1
START = Start(0.0, 0.0, 0.3, 8.0)


def wild() -> Followed:
    """A drive that goes faster and slower along an S."""
    time = torch.arange(80, dtype=torch.float64) * DT
    gas = (2.0 * torch.sin(1.2 * time) - 0.3)[None]
    curvature = (0.02 * torch.sin(time))[None]
    path = drive(START, gas, curvature, DT)
    states = path.states()
    return followed(START, states, DT)


def sage(**options) -> SageAdversary:
    return SageAdversary(Experts(small_prior(0), small_network(1), small_network(2), {}), **options)


def at(scene, intensity):
    return replace(context(scene), intensity=intensity)


def test_a_path_is_followed_and_lookups_hold_their_ends() -> None:
    path = wild()
    driven = path.drive(torch.zeros_like(path.gas))
    again = followed(START, driven.states(), DT)
    torch.testing.assert_close(again.gas, path.gas, atol=1e-9, rtol=0)
    # Slower along the same path: the heading is the same where the same way has been covered.
    slow = path.drive(torch.full_like(path.gas, -0.2))
    first, second = (d.points[0, -1] for d in (driven, slow))
    assert torch.linalg.norm(first - second) > 3
    gap = torch.cdist(slow.points[0], driven.points[0]).amin(-1)
    assert gap.max() < 0.6
    places, values = torch.tensor([[0.0, 1.0, 3.0]]), torch.tensor([[2.0, 4.0, 0.0]])
    found = looked_up(places, values, torch.tensor([[-1.0, 0.5, 2.0, 9.0]]))
    assert found.tolist() == [[2.0, 3.0, 2.0, 0.0]]


def test_smooth_realism_is_the_penalty_itself() -> None:
    path = wild()
    driven = path.drive(torch.zeros_like(path.gas))
    states = np.concatenate([[[0.0, 0.0, 0.3, 0.0, 0.0]], driven.states()[0].numpy()])
    exact = kinematic_penalty(states) + behavioural_penalty(states)
    assert float(smooth_realism(driven, START, DT)[0]) == pytest.approx(float(exact), abs=1e-6)


def test_smooth_threat_becomes_the_reward_as_contacts_harden(monkeypatch) -> None:
    # The opponent drives behind the ego, which stands at x = 30 m: contact when 10 t = 25.5; and 6 m beside it.
    scene = straight_road()
    standing = line(30, 0, 0, 0)
    monkeypatch.setattr(refining, "SOFTNESS", 0.02)
    for side in (0.0, 6.0):
        own = line(0, side, 0, 10)
        case = context(scene)
        egos = distinct_futures(case)._replace(states=standing[None], valid=np.arange(91)[None] > 10)
        rows, origin = slice(11, 91), np.zeros(2)
        aim = refining._aim(case, egos, rows, origin, 1.0)
        start = Start(10.0, side, 0.0, 10.0)
        path = drive(start, torch.zeros((1, 80), dtype=torch.float64), torch.zeros((1, 80), dtype=torch.float64), DT)
        seen = np.arange(91) > 10
        exact = adversarial_reward(own, seen, scene.box(1), standing, seen, case.ego_size, 11)
        assert float(smooth_threat(path, aim, 80)[0]) == pytest.approx(float(exact), abs=0.02)


def test_what_is_refined_keeps_the_bounds_and_is_nearer_to_what_is_asked() -> None:
    scene = straight_road(opponent_speed=8)
    own = line(20, 3.5, 0, 8)
    own[11:, 0] += 0.5 * 3.5 * (0.1 * np.arange(80)) ** 2 / 2
    own[11:, VX] += 3.5 / 2 * 0.1 * np.arange(80)
    case = at(scene, 0.0)
    found = refined(case, own[None], 90, distinct_futures(case), 0.0, 20)
    assert found.shape == (KEPT, 91, 5)
    seen = np.arange(91) >= 10
    before = kinematic_penalty(own, seen)
    after = kinematic_penalty(found, np.broadcast_to(seen, found.shape[:-1]))
    assert (after < before - 0.01).all()
    gas = np.diff(found[:, 10:, VX], axis=-1) / DT
    assert np.abs(gas).max() <= BOUNDS.acceleration + 1e-9
    np.testing.assert_allclose(found[:, 11:, HEADING], 0.0, atol=1e-9)


@pytest.mark.parametrize("mixing", ["weights", "trajectories"])
def test_refining_never_lowers_the_users_reward(mixing) -> None:
    for scene, intensity in ((crossing(), 0.3), (crossing(), 1.0), (straight_road(), 0.6)):
        plain = sage(mixing=mixing).propose(at(scene, intensity))
        ours = sage(mixing=mixing, refine=8).propose(at(scene, intensity))
        count = len(plain.score)
        np.testing.assert_array_equal(ours.states[:count], plain.states)
        np.testing.assert_array_equal(ours.score[:count], plain.score)
        assert len(ours.score) == count + KEPT * min(count, refining.BEST)
        assert ours.score.max() >= plain.score.max()
    check_adversary(sage(mixing=mixing, refine=2), [crossing()])


def test_refining_is_the_corrected_protocols_and_bounded() -> None:
    with pytest.raises(ConfigError, match="refine"):
        sage(refine=-1)
    with pytest.raises(ConfigError, match="corrected"):
        sage(refine=5, protocol="as-published")
