"""What `MotionPrior.candidates` promises, whatever the weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from adversaries.prior.decode import nms_radius
from harness.errors import AdversaryError, ConfigError
from harness.metrics.realism import kinematic_penalty
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.prior.worlds import SMALL, bend, untrained

NOW = 10


def wild(seed: int = 0):
    """A prior whose controls are far from sensible, so that only the bounds keep it drivable."""
    prior = untrained(seed=seed)
    for parameter in prior.network.drive_out.parameters():
        parameter.data.normal_(0.0, 5.0)
    return prior


@pytest.mark.parametrize("decode", ["nms", "topk"])
def test_rows_are_absolute_steps_with_the_log_before(decode: str) -> None:
    scene = straight_road(opponent_speed=8.0)
    found = untrained().candidates(scene, 1, num=32, decode=decode)
    assert found.states.shape == (32, 91, 5)
    assert found.valid.all()
    np.testing.assert_array_equal(found.states[:, : NOW + 1], np.broadcast_to(scene.states(1)[: NOW + 1], (32, 11, 5)))
    # 0.1 s after the current step the car is 0.8 m on, give or take what it can accelerate: 6 · 0.1² m.
    step = found.states[:, NOW + 1, 0] - found.states[:, NOW, 0]
    np.testing.assert_allclose(step, 0.8, atol=0.06)
    assert np.isfinite(found.states).all()
    assert (found.log_prob <= 0).all()
    assert len(np.unique(found.index)) == 32


def test_a_longer_scene_is_not_valid_beyond_eight_seconds() -> None:
    scene = straight_road(steps=120)
    found = untrained().candidates(scene, 1)
    assert found.valid[:91].all()
    assert not found.valid[91:].any()
    np.testing.assert_array_equal(found.states[:, 91:], np.repeat(found.states[:, 90:91], 29, 1))


def test_a_late_agent_keeps_its_invalid_rows() -> None:
    found = untrained().candidates(straight_road(opponent_from=7), 1)
    assert not found.valid[:7].any()
    assert found.valid[7:].all()


def test_invalid_history_may_hold_anything() -> None:
    clean = straight_road(opponent_from=7)
    position = clean.position.copy()
    position[1, :7] = np.nan
    velocity = clean.velocity.copy()
    velocity[1, :7] = 1e9
    dirty = replace(clean, position=position, velocity=velocity)
    prior = untrained()
    np.testing.assert_array_equal(prior.candidates(dirty, 1).log_prob, prior.candidates(clean, 1).log_prob)


def test_the_future_is_never_read() -> None:
    scene = crossing()
    position, velocity = scene.position.copy(), scene.velocity.copy()
    position[:, NOW + 1 :] += 50.0
    velocity[:, NOW + 1 :] = 0.0
    other = replace(scene, position=position, velocity=velocity)
    prior = untrained()
    a, b = prior.candidates(scene, 1), prior.candidates(other, 1)
    np.testing.assert_array_equal(a.states[:, NOW:], b.states[:, NOW:])
    np.testing.assert_array_equal(a.log_prob, b.log_prob)


@pytest.mark.parametrize(("origin", "rotation"), [((0.0, 0.0), 2.0), ((81234.5, -43210.9), 0.0), ((-5e4, 3e4), -0.7)])
def test_moving_and_turning_the_world_moves_and_turns_the_candidates(origin, rotation) -> None:
    prior = untrained()
    a = prior.candidates(crossing(opponent_speed=9.3), 1)
    b = prior.candidates(crossing(opponent_speed=9.3, origin=origin, rotation=rotation), 1)
    np.testing.assert_array_equal(a.index, b.index)
    np.testing.assert_allclose(a.log_prob, b.log_prob, atol=1e-3)
    cos, sin = np.cos(rotation), np.sin(rotation)
    turned = a.states[..., :2] @ np.array([[cos, sin], [-sin, cos]]) + np.array(origin)
    np.testing.assert_allclose(turned, b.states[..., :2], atol=0.02)
    np.testing.assert_allclose(np.cos(a.states[..., 2] + rotation), np.cos(b.states[..., 2]), atol=1e-3)


@pytest.mark.parametrize("speed", [0.0, 0.4, 3.0, 12.0, 28.0])
def test_every_candidate_is_drivable(speed: float) -> None:
    scene = straight_road(opponent_speed=speed)
    for seed in range(3):
        states = wild(seed).candidates(scene, 1).states[:, NOW:]
        velocity = np.hypot(states[..., 3], states[..., 4])
        acceleration = np.diff(velocity, axis=1) / 0.1
        assert acceleration.max() <= SMALL.max_acceleration + 1e-3
        assert acceleration.min() >= -SMALL.max_braking - 1e-3
        yaw_rate = np.diff(np.unwrap(states[..., 2], axis=1), axis=1) / 0.1
        mean = (velocity[:, 1:] + velocity[:, :-1]) / 2
        assert np.abs(yaw_rate).max() <= SMALL.max_yaw_rate + 1e-3
        assert (np.abs(yaw_rate) * mean).max() <= SMALL.max_lateral + 1e-3
        assert (np.abs(yaw_rate) <= SMALL.max_curvature * mean + 1e-3).all()
        # Positions are where speed and heading lead: no sliding.
        step = np.diff(states[..., :2], axis=1)
        np.testing.assert_allclose(np.hypot(step[..., 0], step[..., 1]), mean * 0.1, atol=2e-3)
        moving = mean > 0.5
        middle = (states[:, 1:, 2] + states[:, :-1, 2]) / 2
        turning = np.abs(np.diff(states[..., 2], axis=1)) > 1  # wrapped between -π and π
        along = step[..., 0] * np.cos(middle) + step[..., 1] * np.sin(middle)
        check = moving & ~turning
        np.testing.assert_allclose(along[check], (mean * 0.1)[check], atol=2e-3)


def test_nominal_candidates_are_near_the_kinematic_floor() -> None:
    # A straight constant-speed track scores 1.872 (SAGE eq. 12 with its published weights).
    prior = untrained()
    with torch.no_grad():
        prior.network.drive_out.weight.zero_()
    found = prior.candidates(straight_road(opponent_speed=10.0), 1, num=200, decode="topk")
    valid = np.broadcast_to(found.valid[NOW:], found.states[:, NOW:].shape[:2])
    penalty = kinematic_penalty(found.states[:, NOW:], valid, 0.1)
    assert 1.87 <= penalty.min() < 1.9
    assert np.median(penalty) < 3.0


def test_nms_modes_keep_their_distance_and_topk_takes_the_best() -> None:
    prior = untrained()
    scene = crossing(opponent_speed=12.0)
    spread = prior.candidates(scene, 1, num=8)
    assert (np.diff(spread.log_prob) <= 0).all()
    gap = np.linalg.norm(spread.goals[:, None] - spread.goals, axis=-1) + np.eye(8) * 100
    assert gap.min() >= nms_radius(12.0) - 1e-3
    best = prior.candidates(scene, 1, num=8, decode="topk")
    features = prior.features(scene, 1)
    _, everything = prior.score([features])
    np.testing.assert_allclose(best.log_prob, np.sort(everything.detach().numpy()[0])[::-1][:8], atol=1e-6)
    assert best.log_prob[0] == spread.log_prob[0]


def test_candidates_drive_to_their_goals_even_untrained() -> None:
    found = untrained().candidates(bend(40.0, 8.0, 0.0), 0, num=32)
    miss = np.linalg.norm(found.states[:, 90, :2] - found.goals, axis=-1)
    assert np.median(miss) < 0.1


def test_no_map_still_gives_candidates() -> None:
    scene = replace(straight_road(), features=())
    found = untrained().candidates(scene, 1)
    assert found.states.shape == (32, 91, 5)
    assert np.isfinite(found.states).all()


def test_repeated_calls_give_the_same_and_caches_do_not_mix_scenes() -> None:
    prior = untrained()
    slow, fast = straight_road(opponent_speed=3.0), straight_road(opponent_speed=20.0)
    first = prior.candidates(slow, 1).states.copy()
    assert not np.allclose(first, prior.candidates(fast, 1).states)
    np.testing.assert_array_equal(first, prior.candidates(slow, 1).states)
    np.testing.assert_array_equal(first, untrained().candidates(straight_road(opponent_speed=3.0), 1).states)


def test_changed_weights_give_new_candidates() -> None:
    prior = untrained()
    scene = straight_road()
    before = prior.candidates(scene, 1).log_prob.copy()
    with torch.no_grad():
        prior.network.score.weight.mul_(2.0)
    assert not np.allclose(before, prior.candidates(scene, 1).log_prob)


def test_bad_requests_say_what_is_wrong() -> None:
    prior = untrained()
    with pytest.raises(AdversaryError, match="no valid state at step 10"):
        prior.candidates(straight_road(opponent_from=20), 1)
    with pytest.raises(AdversaryError, match="does not exist"):
        prior.candidates(straight_road(), 7)
    with pytest.raises(ConfigError, match="unknown decoding"):
        prior.candidates(straight_road(), 1, decode="beam")
    with pytest.raises(ConfigError, match="num"):
        prior.candidates(straight_road(), 1, num=0)
    scene = straight_road()
    with pytest.raises(AdversaryError, match=r"0\.5 s between steps"):
        prior.candidates(replace(scene, dt=0.5), 1)
    position = scene.position.copy()
    position[1, NOW] = np.nan
    with pytest.raises(AdversaryError, match="non-finite"):
        prior.candidates(replace(scene, position=position), 1)
