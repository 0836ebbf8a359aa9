import numpy as np
import pytest
import torch
from stable_baselines3 import TD3

from harness.episodes.policies import load_policy, wrap_policy
from harness.errors import ConfigError, PolicyError, UnknownNameError
from harness.interfaces import EgoPolicy
from tests.unit.ego_policies.conftest import Plain


def drive_straight(observation):
    return np.zeros(2, np.float32)


class FailsToLoad:
    def __init__(self):
        raise OSError("weights are gone")


class Silent:
    """Neither callable nor a policy."""


class Leaves:
    def __init__(self):
        raise SystemExit(0)


class Unheard(type(load_policy("idm"))):
    control = "steer"


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
    policy = load_policy(f"torchscript:{path}?observation=metadrive&name=third", name="mine")
    assert (policy.name, policy.observation, str(policy.path)) == ("third", "metadrive", str(path))


def test_module_function_and_class():
    policy = load_policy(f"{__name__}:drive_straight", observation="metadrive")
    assert isinstance(policy, EgoPolicy)
    assert (policy.name, policy.observation) == ("drive_straight", "metadrive")
    assert load_policy("ego_policies.idm:IDMPolicy", name="careful").name == "careful"


def test_a_name_that_needs_a_file_says_so():
    with pytest.raises(ConfigError, match="torchscript:PATH"):
        load_policy("torchscript")


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


def test_the_systems_under_test_of_the_benchmark_by_name():
    seen = {name: load_policy(name) for name in ("replay", "idm", "rule_expert", "rule_expert_blind")}
    assert all(isinstance(policy, EgoPolicy) and policy.name == name for name, policy in seen.items())
    assert all(policy.privileged for policy in seen.values())
    assert [name for name, policy in seen.items() if getattr(policy, "sees_futures", False)] == ["rule_expert"]


def test_an_sb3_zip_by_suffix_and_by_name(tmp_path):
    path = tmp_path / "model.zip"
    TD3("MlpPolicy", Plain(), policy_kwargs={"net_arch": [8]}, buffer_size=10, device="cpu").save(path)
    by_suffix, by_name = load_policy(str(path)), load_policy(f"td3:{path}", observation="metadrive")
    assert (by_suffix.name, by_suffix.observation, by_suffix.observation_size) == ("sb3", "cat", 7)
    assert (by_name.name, by_name.observation) == ("td3", "metadrive")
    observation = np.linspace(0.0, 1.0, 7, dtype=np.float32)
    assert by_suffix.act(observation, None) == pytest.approx(by_name.act(observation, None))


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("td3:", ConfigError, "td3:PATH"),
        ("onnx", ConfigError, "onnx:PATH"),
        ("idm@0.5", ConfigError, "only adversaries have an intensity"),
        ("idm?speed=3", ConfigError, "'idm' has no option 'speed'"),
        ("idm:model.zip", ConfigError, "'idm' reads no file.*write idm"),
        ("replay:model.zip", ConfigError, "reads no file"),
        ("rule_expert:model.zip", ConfigError, "reads no file"),
        ("callable", ConfigError, "write module:function"),
        ("callable:mine", ConfigError, "write module:function"),
        ("model.pkl", PolicyError, "Pickled objects are not read"),
        ("no_such_module:Thing", ConfigError, "PYTHONPATH"),
        (f"{__name__}:Missing", ConfigError, "no attribute 'Missing'"),
        (f"{__name__}:FailsToLoad", PolicyError, "FailsToLoad failed while it was built: OSError: weights are gone"),
        (f"{__name__}:Leaves", PolicyError, "Leaves failed while it was built: SystemExit: 0"),
        (f"{__name__}:Unheard", PolicyError, "control is 'steer', expected one of action, replay"),
        (f"{__name__}:Silent", PolicyError, "expected a callable"),
        ("", UnknownNameError, "FILE.onnx"),
    ],
)
def test_every_wrong_specification_says_what_is_wrong(spec, error, message):
    with pytest.raises(error, match=message):
        load_policy(spec)


def test_a_module_that_breaks_on_import_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "broken_policy_module.py").write_text("def (:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="import failed: SyntaxError"):
        load_policy("broken_policy_module:Policy")


@pytest.mark.parametrize(("file", "what"), [("bad.zip", "zip"), ("bad.pt", "TorchScript"), ("bad.onnx", "ONNX")])
def test_damaged_files(tmp_path, file, what):
    (tmp_path / file).write_text("hello")
    with pytest.raises(PolicyError, match=what):
        load_policy(str(tmp_path / file))
