"""Weights files: round trip, refusals; gradients and normalisation."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adversaries.prior.config import ARCHITECTURE
from adversaries.prior.prior import MotionPrior
from harness.errors import WeightsError
from tests.scenes import crossing, straight_road
from tests.unit.adversaries.prior.worlds import SMALL, untrained


def test_saved_and_loaded_is_equal(tmp_path) -> None:
    prior = untrained()
    prior.save(tmp_path / "w.safetensors", {"data": "none"})
    again = MotionPrior.load(tmp_path / "w.safetensors")
    assert again.config == SMALL
    assert again.info == {"data": "none"}
    a, b = prior.candidates(crossing(), 1), again.candidates(crossing(), 1)
    np.testing.assert_array_equal(a.states, b.states)
    np.testing.assert_array_equal(a.log_prob, b.log_prob)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_the_shipped_weights_load_and_plan() -> None:
    found = MotionPrior.load().candidates(straight_road(), 1)
    assert found.states.shape == (32, 91, 5)
    assert np.isfinite(found.log_prob).all()


def test_refusals(tmp_path) -> None:
    with pytest.raises(WeightsError, match="no motion prior weights"):
        MotionPrior.load(tmp_path / "absent.safetensors")
    pickled = tmp_path / "pickled.bin"
    torch.save({"a": torch.zeros(1)}, pickled)
    with pytest.raises(WeightsError, match="safetensors only"):
        MotionPrior.load(pickled)
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, other, metadata={"architecture": "densetnt"})
    with pytest.raises(WeightsError, match="architecture is 'densetnt'"):
        MotionPrior.load(other)
    header = {"architecture": ARCHITECTURE, "config": json.dumps(SMALL.to_dict())}
    save_file({"a": torch.zeros(1)}, other, metadata=header)
    with pytest.raises(WeightsError, match="do not fit"):
        MotionPrior.load(other)
    save_file({"a": torch.zeros(1)}, other, metadata={**header, "config": json.dumps({"hidden": 3})})
    with pytest.raises(WeightsError, match="other fields"):
        MotionPrior.load(other)
    save_file(
        {"a": torch.zeros(1)}, other, metadata={**header, "config": json.dumps({**SMALL.to_dict(), "hidden": "a"})}
    )
    with pytest.raises(WeightsError, match="hidden"):
        MotionPrior.load(other)


def test_log_probabilities_are_normalised_and_padding_has_none() -> None:
    prior = untrained()
    features = [prior.features(crossing(), 1), prior.features(straight_road(), 0)]
    _, log_probs = prior.score(features)
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(2))
    for row, one in zip(log_probs, features, strict=True):
        assert row[~torch.as_tensor(one.goal_mask)].max() < -1e6
    # A batch changes nothing: padding is invisible.
    alone = prior.score(features[:1])[1]
    torch.testing.assert_close(alone[0], log_probs[0], atol=1e-5, rtol=1e-5)


def test_gradients_reach_every_weight() -> None:
    prior = untrained()
    features = [prior.features(crossing(), 1)]
    index = np.array([[3, 40, 180]])
    encoding, _ = prior.score(features)
    paths = prior.complete(encoding, features, index)
    (prior.log_probs(features, index).sum() + paths.points.square().mean() + paths.heading.sum()).backward()
    for name, parameter in prior.network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if name != "score.bias":  # shifts all logits alike
            assert parameter.grad.abs().max() > 0, name


def test_policy_and_reference_compare_the_same_goals() -> None:
    policy, reference = untrained(seed=0), untrained(seed=1)
    scene = crossing()
    found = reference.candidates(scene, 1)
    ours = policy.log_probs([policy.features(scene, 1)], found.index[None])
    theirs = reference.log_probs([reference.features(scene, 1)], found.index[None])
    np.testing.assert_allclose(theirs[0].detach().numpy(), found.log_prob, atol=1e-5)
    points = policy.features(scene, 1).goal_points[found.index]
    np.testing.assert_allclose(points, reference.features(scene, 1).goal_points[found.index])
    assert not torch.allclose(ours, theirs)
