import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from ego_policies.adapters import CallablePolicy, OnnxPolicy, TorchScriptPolicy
from ego_policies.replay import ReplayPolicy
from harness.errors import PolicyError
from tests.scenes import straight_road

OBSERVATION = np.array([0.1, 0.2, 0.3], np.float32)
WEIGHT = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 1.0]], np.float32)
EXPECTED = [0.1, 0.7]


@pytest.fixture
def torchscript(tmp_path):
    module = torch.nn.Linear(3, 2, bias=False)
    module.weight = torch.nn.Parameter(torch.from_numpy(WEIGHT))
    path = tmp_path / "policy.pt"
    torch.jit.save(torch.jit.trace(module, torch.zeros(1, 3)), str(path))
    return path


@pytest.fixture
def onnx_file(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["obs", "w"], ["action"])],
        "policy",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(WEIGHT.T.copy(), "w")],
    )
    path = tmp_path / "policy.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_torchscript_file_drives(torchscript):
    policy = TorchScriptPolicy(torchscript)
    assert policy.act(OBSERVATION, None) == pytest.approx(EXPECTED)
    with pytest.raises(PolicyError, match=r"shape \(5,\)"):
        policy.act(np.zeros(5, np.float32), None)


def test_onnx_file_drives(onnx_file):
    policy = OnnxPolicy(onnx_file, observation="metadrive", name="mine")
    assert policy.act(OBSERVATION, None) == pytest.approx(EXPECTED)
    assert (policy.name, policy.observation, policy.observation_size) == ("mine", "metadrive", 3)
    with pytest.raises(PolicyError, match=r"shape \(5,\)"):
        policy.act(np.zeros(5, np.float32), None)


@pytest.mark.parametrize(("kind", "suffix"), [(TorchScriptPolicy, "pt"), (OnnxPolicy, "onnx")])
def test_files_that_are_not_policies(tmp_path, kind, suffix):
    path = tmp_path / f"bad.{suffix}"
    with pytest.raises(PolicyError, match="does not exist"):
        kind(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(PolicyError, match=f"bad.{suffix}"):
        kind(path)


def test_a_pickled_state_dict_is_not_taken_for_torchscript(tmp_path):
    torch.save({"w": torch.zeros(2)}, tmp_path / "state.pt")
    with pytest.raises(PolicyError, match="state dict is not enough"):
        TorchScriptPolicy(tmp_path / "state.pt")


def test_a_function_and_a_model_with_predict():
    assert CallablePolicy(lambda observation: observation[:2]).act(OBSERVATION, None) == pytest.approx([0.1, 0.2])

    class Model:
        resets = 0

        def reset(self):
            self.resets += 1

        def predict(self, observation, deterministic=False):
            return observation[1:] if deterministic else None, None

    model = Model()
    policy = CallablePolicy(model)
    policy.reset(straight_road(), np.random.default_rng(0))
    assert policy.act(OBSERVATION, None) == pytest.approx([0.2, 0.3])
    assert (policy.name, model.resets) == ("Model", 1)


def test_something_that_cannot_drive_is_refused():
    with pytest.raises(PolicyError, match="expected a callable"):
        CallablePolicy(42)


def test_replay_has_no_actions():
    assert ReplayPolicy().control == "replay"
    with pytest.raises(PolicyError, match="no actions"):
        ReplayPolicy().act(OBSERVATION, None)


def test_a_name_that_is_no_text_is_one_clear_error(onnx_file, tmp_path):
    path = tmp_path / "damaged.onnx"
    path.write_bytes(onnx_file.read_bytes().replace(b"MatMul", b"MatMu\xff"))
    with pytest.raises(PolicyError, match=r"damaged\.onnx is not a usable ONNX file"):
        OnnxPolicy(path)


def test_a_class_with_act_alone_is_told_what_it_lacks() -> None:
    class Bare:
        def act(self, observation: np.ndarray) -> list[float]:
            return [0.0, 0.0]

    with pytest.raises(PolicyError, match="has `act` but no `name`, `control`, `observation`, `privileged`, `reset`"):
        CallablePolicy(Bare())
