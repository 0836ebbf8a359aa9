"""Policy files: written, read back, and refused where anything does not fit."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from harness.engine.config import SENSORS
from harness.errors import WeightsError
from harness.fitting.policy_files import ARCHITECTURE, PolicyFile, layers_of, read_policy

SIZE = SENSORS["route"].size


def tiny(**changes):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(SIZE, 4), nn.Tanh(), nn.Linear(4, 2))
    given = {"algorithm": "ppo", "observation": "route", "activation": "Tanh", "squash": True}
    return PolicyFile(**{**given, "layers": layers_of(network), **changes})


def test_a_file_comes_back_equal(tmp_path):
    policy = tiny()
    policy.save(tmp_path / "policy.safetensors")
    found = read_policy(tmp_path / "policy.safetensors")
    assert (found.algorithm, found.observation, found.activation, found.squash) == ("ppo", "route", "Tanh", True)
    for (weight, bias), (other, another) in zip(policy.layers, found.layers, strict=True):
        assert np.array_equal(weight, other)
        assert np.array_equal(bias, another)


def rewritten(path, config=None, tensors=None, architecture=ARCHITECTURE):
    """A sound file with something in it changed."""
    tiny().save(path)
    held = load_file(path) | (tensors or {})
    header = {"algorithm": "ppo", "observation": "route", "activation": "Tanh", "squash": True} | (config or {})
    save_file(held, path, {"architecture": architecture, "config": json.dumps(header)})


CASES = {
    "another model": ({"architecture": "gauntlet-prior-3"}, "another model"),
    "an unknown preset": ({"config": {"observation": "camera"}}, "preset 'camera'; known are cat, metadrive, route"),
    "a preset without numbers": ({"config": {"observation": "none"}}, "preset 'none'"),
    "the size of another preset": ({"config": {"observation": "cat"}}, "from 252 numbers to 2.*'cat'.* 112 and 2"),
    "no name": ({"config": {"algorithm": 5}}, "algorithm is 5, expected a short name"),
    "a path for a name": ({"config": {"algorithm": "../ppo"}}, "algorithm is '../ppo', expected a short name"),
    "an unknown activation": ({"config": {"activation": "Swish"}}, "activation 'Swish'"),
    "a word for a truth": ({"config": {"squash": "yes"}}, "squash 'yes'"),
    "a tensor too many": ({"tensors": {"value.weight": np.zeros((1, 4), np.float32)}}, "expected 0.weight"),
    "layers that do not chain": ({"tensors": {"1.weight": np.zeros((2, 5), np.float32)}}, "follow one another"),
    "a bias of another length": ({"tensors": {"1.bias": np.zeros(3, np.float32)}}, "of layers"),
    "other numbers": ({"tensors": {"1.bias": np.zeros(2, np.float64)}}, "float32"),
    "three actions": (
        {"tensors": {"1.weight": np.zeros((3, 4), np.float32), "1.bias": np.zeros(3, np.float32)}},
        "to 3;",
    ),
    "NaN": ({"tensors": {"1.bias": np.full(2, np.nan, np.float32)}}, "NaN"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_one_clear_error(tmp_path, case):
    changes, message = CASES[case]
    rewritten(tmp_path / "policy.safetensors", **changes)
    with pytest.raises(WeightsError, match=rf"policy\.safetensors.*{message}"):
        read_policy(tmp_path / "policy.safetensors")


def test_what_could_not_be_read_is_not_written(tmp_path):
    path = tmp_path / "policy.safetensors"
    weight, bias = tiny().layers[0]
    for policy in (tiny(observation="cat"), tiny(layers=((weight * np.nan, bias), tiny().layers[1]))):
        with pytest.raises(WeightsError):
            policy.save(path)
    assert not path.exists()
    with pytest.raises(WeightsError, match="does not exist"):
        read_policy(path)
