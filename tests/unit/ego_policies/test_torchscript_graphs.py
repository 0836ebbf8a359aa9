"""Numbers that torch takes on trust are refused before anything is run: here nothing that would crash is called."""

import pytest
import torch

from ego_policies.adapters import TorchScriptPolicy
from ego_policies.torchscript_code import ForbiddenCodeError
from ego_policies.torchscript_graphs import check_graph
from harness.errors import PolicyError
from tests.unit.ego_policies.torchscript_files import forge, method

X = "return torch.slice(x, 1, 0, 2)"
UNCHECKED = {
    "computed kind of number": method("n = torch.neg(1)", "return torch.zeros([1, 2], dtype=n)"),
    "kind of number by position": method("return torch.softmax(x, -1, -1)"),
    "kind of number of to": method("return torch.to(x, -7)"),
    "kind of number of sum": method("return torch.sum(x, dtype=-1)"),
    "quantised numbers": method("return torch.zeros([1, 2], dtype=12)"),
    "kind of number of a branch": method(
        "if bool(torch.sum(x)):", "  n = 6", "else:", "  n = torch.size(x, 1)", "return torch.to(x, n)"
    ),
    "kind of number of a function": "def f(x: Tensor, n: int) -> Tensor:\n  return torch.cumsum(x, 0, dtype=n)\n"
    + method("return __torch__.f(x, -1)"),
    "layout": method("return torch.zeros([1, 2], dtype=6, layout=3)"),
    "memory format": method("return torch.contiguous(x, memory_format=9)"),
    "device": method('return torch.zeros([1, 2], device="meta")'),
    "division by another name": method("f = torch.remainder", "n = f(7, 0)", X),
    "division as an operator": method("n = 7 % 0", X),
    "division that rounds": method('return torch.div(x, torch.neg(x), rounding_mode="trunc")'),
    "count in a text": method('n = torch.count("a", "")', X),
    "no forward": method(X).replace("forward", "other"),
}


@pytest.mark.parametrize("case", UNCHECKED)
def test_what_torch_takes_on_trust(tmp_path, case):
    with pytest.raises(PolicyError, match="refused, because its code asks for"):
        TorchScriptPolicy(forge(tmp_path / "p.pt", UNCHECKED[case]))


def test_the_graph_alone_tells(tmp_path):
    module = torch.jit.load(str(forge(tmp_path / "p.pt", method("return torch.softmax(x, -1, -1)"))))
    with pytest.raises(ForbiddenCodeError, match="a kind of number in softmax"):
        check_graph(module)
