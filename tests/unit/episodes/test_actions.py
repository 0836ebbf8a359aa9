import numpy as np
import pytest
import torch

from harness.episodes.actions import check_action
from harness.errors import PolicyError


@pytest.mark.parametrize("action", [[0.5, -0.5], (0.5, -0.5), np.array([0.5, -0.5]), torch.tensor([0.5, -0.5])])
def test_anything_like_two_numbers_is_an_action(action):
    checked = check_action(action, policy="p", step=3)
    assert checked.dtype == np.float32
    assert checked.tolist() == [0.5, -0.5]


def test_finite_values_are_clipped():
    assert check_action([5.0, -7.0], policy="p", step=0).tolist() == [1.0, -1.0]


@pytest.mark.parametrize(
    ("action", "found"),
    [
        ([float("nan"), 0.0], "steering nan"),
        ([0.0, float("inf")], "throttle inf"),
        ([0.0], r"shape \(1,\)"),
        ([[0.0, 0.0]], r"shape \(1, 2\)"),
        (np.zeros(3), r"shape \(3,\)"),
        (0.0, r"shape \(\)"),
        (None, "None|nan"),
        ("left", "str 'left'"),
        ([1j, 0.0], "list"),
        ({"steer": 1}, "dict"),
    ],
)
def test_the_error_names_policy_step_scene_and_what_was_found(action, found):
    with pytest.raises(PolicyError, match=f"policy 'mine' at step 17 of scene s1: .*({found})"):
        check_action(action, policy="mine", step=17, scene="s1")
