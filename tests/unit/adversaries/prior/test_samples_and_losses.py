"""Cache, augmentation, losses and world states of the motion prior, by hand."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from adversaries.prior import batching
from adversaries.prior.cache import SceneCache
from adversaries.prior.config import POSITION_SCALE, WAYPOINTS
from adversaries.prior.kinematics import RollOut
from adversaries.prior.losses import Truth, completion_loss, reach_loss, soft_labels
from adversaries.prior.prior import world_states
from scenarios.scenario import FUTURE_STEPS
from tests.scenes import straight_road


def test_the_cache_recognises_a_scene_by_its_arrays():
    scene, cache, built = straight_road(), SceneCache(2), []

    def value(which, key="k"):
        return cache.get(which, key, lambda: built.append(key) or len(built))

    assert value(scene) == value(scene.with_opponent(None)) == 1
    assert value(scene, "other") == 2
    assert value(straight_road()) == 3
    # Two are kept: the first has gone.
    assert value(scene) == 4


def test_a_cache_of_size_zero_keeps_nothing():
    cache, scene = SceneCache(0), straight_road()
    assert [cache.get(scene, "k", lambda: object()) is cache.get(scene, "k", lambda: 0) for _ in range(2)] == [
        False
    ] * 2


def rows(count: int = 400) -> dict[str, np.ndarray]:
    """Samples whose every sideways number is 1, to see which are mirrored."""
    agents, tokens = 3, 2
    return {
        "agents": np.ones((count, agents, len(batching.AGENT_MIRROR)), np.float32),
        "map": np.ones((count, tokens, len(batching.MAP_MIRROR)), np.float32),
        "goals": np.ones((count, 4, len(batching.GOAL_MIRROR)), np.float32),
        "goal_points": np.ones((count, 4, 2), np.float32),
        "end": np.ones((count, 2), np.float32),
        "future": np.ones((count, FUTURE_STEPS, 3), np.float32),
        "speed": np.full(count, 10.0, np.float32),
    }


def test_augmentation_mirrors_half_of_the_samples_whole():
    before = rows()
    after = batching.augment(before, np.random.default_rng(0))
    flipped = after["end"][:, 1] < 0
    assert 150 < flipped.sum() < 250
    assert (after["goal_points"][flipped] == (1, -1)).all()
    assert (after["future"][flipped] == (1, -1, -1)).all()
    assert (after["goals"][flipped] == np.array(batching.GOAL_MIRROR)).all()
    for name in ("goal_points", "future", "goals"):
        assert (after[name][~flipped] == 1).all()
    assert (before["end"] == 1).all()


def test_augmentation_keeps_the_own_current_state_and_drops_a_tenth_of_the_others():
    after = batching.augment(rows(), np.random.default_rng(0))
    now = after["agents"][:, :, (batching.HISTORY - 1) * 7 :]
    assert (np.abs(now[:, 0]) == 1).all()
    gone = ~now[:, 1:].any(-1)
    assert gone.mean() == pytest.approx(0.1, abs=0.04)
    assert (~after["map"].any(-1)).mean() == pytest.approx(0.05, abs=0.03)


@dataclasses.dataclass
class Goals:
    """What the labels read of a batch."""

    goal_points: torch.Tensor
    goal_mask: torch.Tensor
    speed: torch.Tensor


def test_labels_are_a_gaussian_around_the_true_end_that_widens_with_speed():
    points = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]])
    batch = Goals(points, torch.tensor([[True, True, False]]), torch.tensor([5.0]))
    labels, known = soft_labels(batch, torch.tensor([[0.0, 0.0]]))
    # Width 0.8 + 0.04 · 5 = 1 m; the third candidate is none.
    ratio = math.exp(-0.5)
    assert labels[0].tolist() == pytest.approx([1 / (1 + ratio), ratio / (1 + ratio), 0.0])
    assert known.tolist() == [True]
    assert soft_labels(batch, torch.tensor([[-6.1, 0.0]]))[1].tolist() == [False]


def paths(offset: float = 0.0, turn: float = 0.0) -> RollOut:
    """One mode at 1 m per step along x, `offset` m aside and `turn` rad aside."""
    x = torch.arange(1.0, FUTURE_STEPS + 1)
    points = torch.stack([x, torch.full_like(x, offset)], -1)[None, None]
    named = {
        "points": points,
        "heading": torch.full((1, 1, FUTURE_STEPS), turn),
        "speed": torch.full((1, 1, FUTURE_STEPS), 10.0),
    }
    return RollOut(*(named.get(field, torch.zeros(1, 1, FUTURE_STEPS)) for field in RollOut._fields))


def test_completion_pays_for_valid_steps_only():
    future = torch.zeros(1, FUTURE_STEPS, 3)
    future[0, :, 0] = torch.arange(1.0, FUTURE_STEPS + 1)
    future[0, 40:] = 1e3
    valid = (torch.arange(FUTURE_STEPS) < 40)[None]
    position, heading = completion_loss(paths(3.0, math.pi / 3), Truth(future, valid, torch.zeros(1, 2)))
    # Huber loss of 3 m is 2.5; 1 - cos 60° is a half.
    assert position.tolist() == pytest.approx([2.5])
    assert heading.tolist() == pytest.approx([0.5], abs=1e-6)


def test_reaching_the_goal_on_its_path_costs_the_floor_only():
    goals = torch.zeros(1, 1, 20 + 2 * WAYPOINTS)
    goals[0, 0, 0] = FUTURE_STEPS / POSITION_SCALE
    # Way points on steps that are looked at: 4, 8, … metres.
    ways = torch.zeros(WAYPOINTS, 2)
    ways[:, 0] = 4.0 * torch.arange(1, WAYPOINTS + 1)
    goals[0, 0, 20:] = ways.flatten() / POSITION_SCALE
    assert reach_loss(paths(), goals).tolist() == pytest.approx([0.3 * 0.5], abs=1e-3)
    # Two metres beyond the goal: a Huber loss of 1.5 more.
    goals[0, 0, 0] = (FUTURE_STEPS - 2) / POSITION_SCALE
    assert reach_loss(paths(), goals).tolist() == pytest.approx([1.5 + 0.3 * 0.5], abs=1e-3)


def test_roll_outs_are_put_into_the_world_after_the_log():
    scene = straight_road(opponent_from=5)
    pose = np.array([100.0, 50.0, math.pi / 2])
    states, valid = world_states(scene, 1, 10, pose, paths(offset=2.0))
    assert states.shape == (1, 91, 5)
    assert states[0, 10] == pytest.approx(scene.states(1)[10])
    # Seven steps on: 7 m ahead (up) and 2 m to the left (west), at 10 m/s upwards.
    assert states[0, 17] == pytest.approx([98, 57, math.pi / 2, 0, 10], abs=1e-5)
    assert np.flatnonzero(valid)[[0, -1]].tolist() == [5, 90]
