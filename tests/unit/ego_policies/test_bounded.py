"""What one answer of a policy file may take: bounded memory, bounded time."""

import itertools
import multiprocessing
import resource
import time

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from ego_policies import adapters
from ego_policies.adapters import OnnxPolicy, TorchScriptPolicy
from ego_policies.bounded import Patience, bounded_memory
from harness.errors import PolicyError
from harness.files import MEGABYTE
from harness.interfaces import LATE_ANSWER
from tests.unit.ego_policies.test_onnx_files import inside, write

OBSERVATION = np.ones(3, np.float32)
DOUBLINGS = 30


def test_larger_requests_fail_and_the_limit_is_put_back():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with bounded_memory(200 * MEGABYTE):
        np.ones(100 * MEGABYTE, np.uint8)
        with pytest.raises(MemoryError):
            np.ones(400 * MEGABYTE, np.uint8)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def added(path, nodes, weights=()):
    """A model whose answer is `obs @ w` and the sum of what `nodes` call `large`."""
    nodes = [
        helper.make_node("MatMul", ["obs", "w"], ["m"]),
        *nodes,
        helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=0),
        helper.make_node("Add", ["m", "sum"], ["action"]),
    ]
    return write(path, nodes, [inside(), *weights])


def whole(name, values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def test_small_files_that_compute_large_tensors(tmp_path, monkeypatch):
    monkeypatch.setattr(adapters, "ANSWER_BYTES", 64 * MEGABYTE)
    shape = whole("shape", [40_000, 50_000])
    filled = added(tmp_path / "filled.onnx", [helper.make_node("ConstantOfShape", ["shape"], ["large"])], [shape])
    names = ["shape", *(f"c{index}" for index in range(DOUBLINGS)), "many"]
    doublings = [
        *(helper.make_node("Concat", [a, a], [b], axis=0) for a, b in itertools.pairwise(names)),
        helper.make_node("Cast", ["many"], ["large"], to=TensorProto.FLOAT),
    ]
    doubled = added(tmp_path / "doubled.onnx", doublings, [shape])
    for path in (filled, doubled):
        with pytest.raises(PolicyError, match=r"needs too much memory.*within 10 s and 64 MB"):
            OnnxPolicy(path).act(OBSERVATION, None)

    class Filled(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.zeros(40_000, 50_000).sum()

    torch.jit.script(Filled()).save(str(tmp_path / "filled.pt"))
    with pytest.raises(PolicyError, match="needs too much memory"):
        TorchScriptPolicy(tmp_path / "filled.pt").act(OBSERVATION, None)


def endless(path):
    """A loop of 2⁶² rounds."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [value("i", TensorProto.INT64, []), value("on", TensorProto.BOOL, []), value("x", TensorProto.FLOAT, [1, 2])],
        [value("still", TensorProto.BOOL, []), value("y", TensorProto.FLOAT, [1, 2])],
    )
    on = numpy_helper.from_array(np.array(True), "yes")
    return added(
        path, [helper.make_node("Loop", ["rounds", "yes", "m"], ["large"], body=body)], [whole("rounds", 2**62), on]
    )


def test_an_endless_graph_is_ended_and_stays_ended(tmp_path):
    policy = OnnxPolicy(endless(tmp_path / "endless.onnx"))
    policy._patience = Patience(policy._give_up, seconds=0.05)
    for _ in range(2):
        with pytest.raises(PolicyError, match="it took too long"):
            policy.act(OBSERVATION, None)


def test_waiting_is_not_computing():
    ended = []
    with Patience(lambda: ended.append("slept"), seconds=0.05).watch():
        time.sleep(0.2)
    with Patience(lambda: ended.append("computed"), seconds=0.05).watch():
        until = time.process_time() + 0.3
        while time.process_time() < until and not ended:
            pass
    assert ended == ["computed"]


@pytest.mark.parametrize("worker", [True, False])
def test_only_a_worker_ends_with_its_endless_script(tmp_path, monkeypatch, worker):
    torch.jit.script(torch.nn.Linear(3, 2)).save(str(tmp_path / "p.pt"))
    policy, ends = TorchScriptPolicy(tmp_path / "p.pt"), []
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: "somebody" if worker else None)
    monkeypatch.setattr(adapters.os, "_exit", ends.append)
    policy._give_up()
    assert ends == [LATE_ANSWER] * worker
