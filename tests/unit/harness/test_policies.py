import numpy as np
import pytest
import torch

from harness.errors import ConfigError, PolicyError, UnknownNameError
from harness.interfaces import EgoPolicy
from harness.policies import load_policy, wrap_policy


def drive_straight(observation):
    return np.zeros(2, np.float32)


class NeedsArguments:
    def __init__(self, weights):
        self.weights = weights


def test_names():
    assert load_policy("replay").control == "replay"
    assert load_policy("idm").privileged


@pytest.mark.parametrize("spec", ["{path}", "torchscript:{path}"])
def test_files_by_suffix_or_by_name(tmp_path, spec):
    path = tmp_path / "policy.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(3, 2), torch.zeros(1, 3)), str(path))
    policy = load_policy(spec.format(path=path), observation="metadrive", name="mine")
    assert isinstance(policy, EgoPolicy)
    assert (policy.name, policy.observation) == ("mine", "metadrive")


def test_module_function_and_class():
    policy = load_policy(f"{__name__}:drive_straight", observation="metadrive")
    assert isinstance(policy, EgoPolicy)
    assert (policy.name, policy.observation) == ("drive_straight", "metadrive")
    assert load_policy("ego_policies.idm:IDMPolicy", name="careful").name == "careful"


def test_a_name_that_needs_a_file_says_so():
    with pytest.raises(ConfigError, match="td3:PATH"):
        load_policy("td3")


def test_unknown_names_list_what_there_is():
    with pytest.raises(UnknownNameError, match="Did you mean 'idm'"):
        load_policy("imd")


def test_a_class_with_arguments_says_so():
    with pytest.raises(PolicyError, match="without arguments"):
        load_policy(f"{__name__}:NeedsArguments")


def test_missing_files_and_fixed_options():
    with pytest.raises(PolicyError, match="does not exist"):
        load_policy("nowhere/model.zip")
    with pytest.raises(ConfigError, match="no option 'observation'"):
        load_policy("replay", observation="cat")
    with pytest.raises(PolicyError, match="expected a callable"):
        wrap_policy(42)
