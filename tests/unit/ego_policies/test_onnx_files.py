"""An ONNX file may hold a bounded graph with its own numbers, and nothing of this machine's other files."""

import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ego_policies.adapters import OnnxPolicy
from ego_policies.onnx_files import read_onnx
from harness.errors import PolicyError


def outside() -> TensorProto:
    """A tensor whose numbers lie in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="secret.bin")
    return tensor


def inside() -> TensorProto:
    return numpy_helper.from_array(np.ones((3, 2), np.float32), "w")


def write(path, nodes=None, weights=(), **more):
    """A model obs [1, 3] → action."""
    nodes = nodes or [helper.make_node("MatMul", ["obs", "w"], ["action"])]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "policy",
        [value("obs", TensorProto.FLOAT, [1, 3])],
        [value("action", TensorProto.FLOAT, [1, 2])],
        list(weights),
        **more,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def branch(tensor: TensorProto):
    """A node with a graph of its own that holds a tensor."""
    output = [helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 2])]
    graph = helper.make_graph([helper.make_node("Constant", [], ["w"], value=tensor)], "inner", [], output)
    return helper.make_node("If", ["c"], ["action"], then_branch=graph, else_branch=graph)


def test_a_file_with_its_own_numbers_drives(tmp_path):
    path = write(tmp_path / "p.onnx", weights=[inside()])
    assert OnnxPolicy(path).act(np.ones(3, np.float32), None) == pytest.approx([3.0, 3.0])
    assert read_onnx(path) == path.read_bytes()


@pytest.mark.parametrize("where", ["weight", "attribute", "branch", "sparse"])
def test_numbers_of_other_files_are_refused(tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.bin").write_bytes(bytes(24))
    constant = helper.make_node("Constant", [], ["action"], value=outside())
    sparse = onnx.SparseTensorProto(values=outside(), dims=[3, 2])
    cases = {
        "weight": {"weights": [outside()]},
        "attribute": {"nodes": [constant]},
        "branch": {"nodes": [branch(outside())]},
        "sparse": {"weights": [inside()], "sparse_initializer": [sparse]},
    }
    with pytest.raises(PolicyError, match=r"p\.onnx is not a usable ONNX file: .*another file"):
        OnnxPolicy(write(tmp_path / "p.onnx", **cases[where]))


def within(field: int, message: bytes) -> bytes:
    """A message as a field of another."""
    size, length = len(message), b""
    while size >= 0x80:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([field << 3 | 2]) + length + bytes([size]) + message


def deep(depth: int) -> bytes:
    """A graph's node's attribute's graph …"""
    message = b""
    for _ in range(depth):
        message = within(1, within(5, within(6, message)))
    return message


BROKEN = {
    "nothing": b"nothing of the kind",
    "cut off": b"\x3a\xff\xff\xff\xff\x0f",
    "endless number": b"\x08" + b"\xff" * 20,
    "group": b"\x0b\x0c",
    "field 0": b"\x02\x00",
    "nested": within(7, deep(40)),
    "many nodes": within(7, b"\x0a\x00" * 60_000),
    "many fields": within(7, b"\x10\x00" * 250_000),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_file_of_reasonable_parts(tmp_path, case):
    (tmp_path / "p.onnx").write_bytes(BROKEN[case])
    began = time.process_time()
    with pytest.raises(PolicyError, match=r"p\.onnx is not a usable ONNX file"):
        OnnxPolicy(tmp_path / "p.onnx")
    assert time.process_time() - began < 3


@pytest.mark.parametrize("dims", [[10**9, 10**9], [2**62, 4], [-3, 2], [4, 2]])
def test_tensors_that_claim_another_size(tmp_path, dims):
    tensor = inside()
    del tensor.dims[:]
    tensor.dims.extend(dims)
    with pytest.raises(PolicyError, match=r"p\.onnx"):
        OnnxPolicy(write(tmp_path / "p.onnx", weights=[tensor])).act(np.ones(3, np.float32), None)


def test_numbers_that_are_none_reach_the_harness_as_such(tmp_path):
    from harness.episodes.actions import check_action

    weight = numpy_helper.from_array(np.full((3, 2), np.nan, np.float32), "w")
    policy = OnnxPolicy(write(tmp_path / "p.onnx", weights=[weight]))
    with pytest.raises(PolicyError, match="finite"):
        check_action(policy.act(np.ones(3, np.float32), None), policy=policy.name, step=0)


def functions(tmp_path, count, last):
    """A model whose functions each call the next one twice."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]
    called = [*(("d", f"f{index}") for index in range(1, count)), last]
    made = [
        helper.make_function(
            "d",
            f"f{index}",
            ["a"],
            ["b"],
            [helper.make_node(op, ["a"], ["c"], domain=domain), helper.make_node(op, ["c"], ["b"], domain=domain)],
            imports,
        )
        for index, (domain, op) in enumerate(called)
    ]
    nodes = [helper.make_node("MatMul", ["obs", "w"], ["m"]), helper.make_node("f0", ["m"], ["action"], domain="d")]
    model = onnx.load(write(tmp_path / "p.onnx", nodes=nodes, weights=[inside()]))
    model.opset_import.append(imports[1])
    model.functions.extend(made)
    (tmp_path / "p.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "p.onnx"


def test_functions_are_counted_as_often_as_they_are_called(tmp_path):
    assert OnnxPolicy(functions(tmp_path, 3, ("", "Abs"))).act(np.ones(3, np.float32), None) == pytest.approx([3, 3])
    with pytest.raises(PolicyError, match="become more than"):
        OnnxPolicy(functions(tmp_path, 24, ("", "Abs")))
    with pytest.raises(PolicyError, match="call themselves"):
        OnnxPolicy(functions(tmp_path, 3, ("d", "f0")))


def test_names_that_are_no_text(tmp_path):
    path = write(tmp_path / "p.onnx", weights=[inside()])
    path.write_bytes(path.read_bytes().replace(b"obs", b"\xff\xfe\xff"))
    with pytest.raises(PolicyError, match="is not a usable ONNX file"):
        OnnxPolicy(path)
