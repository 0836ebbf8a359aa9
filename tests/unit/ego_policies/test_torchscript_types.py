"""Values of a TorchScript file are of the types that its code declares: torch reads memory behind others."""

import numpy as np
import pytest
import torch
from torch import nn

from ego_policies.adapters import TorchScriptPolicy
from ego_policies.torch_pickles import unpickle
from ego_policies.torchscript_types import DeclaredTypes
from harness.errors import PolicyError
from tests.unit.ego_policies.torchscript_files import forge, method

OTHER = "class Q(Module):\n  __parameters__ = []\n  __buffers__ = []\n  k : Dict[str, List[int]]\n"
SLICE = "return torch.slice(x, 1, 0, 2)"
OBJECT = b"c__torch__\nQ\n)\x81}(X\x01\x00\x00\x00k}ub"
"""An object of `OTHER`."""


def forged(path, kind, value):
    """A module with an attribute `a` of a type, and the pickle of its value."""
    code = OTHER + method(SLICE).replace("  training : bool\n", f"  training : bool\n  a : {kind}\n")
    data = b"\x80\x02c__torch__\nP\n)\x81}(X\x08\x00\x00\x00training\x89X\x01\x00\x00\x00a" + value + b"ub."
    return TorchScriptPolicy(forge(path / "p.pt", code, data))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("__torch__.Q", OBJECT),
        ("Optional[__torch__.Q]", b"N"),
        ("Tuple[int, float]", b"K\x01G?\xf0\x00\x00\x00\x00\x00\x00\x86"),
        ("Dict[str, List[int]]", b"}X\x01\x00\x00\x00b](K\x01K\x02es"),
        ("List[int]", b"ctorch.jit._pickle\nbuild_intlist\n](K\x01e\x85R"),
        ("Any", b"K\x01K\x02\x86"),
        ("Device", b"ctorch\ndevice\nX\x03\x00\x00\x00cpu\x85R"),
    ],
)
def test_values_of_declared_types_load(tmp_path, kind, value):
    assert forged(tmp_path, kind, value).act(np.ones(4, np.float32), None).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("__torch__.P", OBJECT, r"__torch__\.P\.a is declared as __torch__\.P, but"),
        ("Tensor", OBJECT, "declared as Tensor"),
        ("Tuple[int, int]", b"K\x01\x85", "declared as Tuple"),
        ("List[__torch__.P]", b"](" + OBJECT + b"e", r"declared as __torch__\.P"),
        ("List[int]", b"](K\x01X\x01\x00\x00\x00be", "declared as int"),
        ("Dict[str, int]", b"}K\x01K\x01s", "declared as str"),
        ("Optional[Tensor]", b"K\x01", "declared as Optional"),
        ("Any", b"c__torch__\nR\n)\x81}b", r"an object of __torch__\.R, which is no class"),
        ("Any", b"c__torch__\nQ\n)\x81}b", "no k"),
        ("Any", b"c__torch__\nQ\n)\x81", "without attributes"),
        ("Any", b"c__torch__\nQ\n)\x81q\x05}(X\x01\x00\x00\x00k}ub", "keeps an object that has no attributes"),
        ("Any", b"ctorch.jit._pickle\nrestore_type_tag\n]K\x01aX\x09\x00\x00\x00List[str]\x86R", "declared as str"),
        ("Any", b"Nr\xff\xff\xff\x0f", "under the number 268,435,455"),
        ("Any", b"](a", "takes more than there is"),
    ],
)
def test_other_values_are_refused(tmp_path, kind, value, reason):
    with pytest.raises(PolicyError, match=reason):
        forged(tmp_path, kind, value)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (("q = unchecked_cast(__torch__.Q, self)", "return q.k"), "no attribute or method 'k'|has no attribute"),
        (("c = unchecked_cast", "return x"), "unchecked_cast as a value"),
        (("return ops.prim.unchecked_cast(x)",), "unchecked_cast"),
        (("g = getattr", 'return g(x, "set_")'), "getattr as a value"),
        (("t = annotate(Any, [x])", "return x"), "a list of the type Any"),
        (("t : Any = [x]", "return x"), "a list of the type Any"),
    ],
)
def test_code_cannot_change_types_unchecked(tmp_path, lines, reason):
    with pytest.raises(PolicyError, match=reason):
        TorchScriptPolicy(forge(tmp_path / "p.pt", OTHER + method(*lines)))


def test_what_a_type_tag_names_is_checked():
    seen = []
    unpickle(
        b"\x80\x02ctorch.jit._pickle\nrestore_type_tag\n]X\x01\x00\x00\x00T\x86R.",
        script=True,
        check=lambda value, tagged: seen.extend(tagged),
    )
    assert seen == [([], "T")]
    with pytest.raises(ValueError, match="which is none"):
        DeclaredTypes({}).check([], [([], "List[")])


class Casts(nn.Module):
    """What people write: an optional state, gradients switched off, bfloat16."""

    def forward(self, x: torch.Tensor, h: torch.Tensor | None = None):
        with torch.no_grad():
            if h is None:
                h = torch.ones(1, 2)
            return (x[:, :2] * h).to(torch.bfloat16)


class Raises(nn.Module):
    """Raises an error of its own."""

    def forward(self, x: torch.Tensor):
        if bool(x.sum() > 0):
            raise ValueError("out of range")
        return x


def test_ordinary_code_still_runs(tmp_path):
    torch.jit.script(Casts()).save(str(tmp_path / "p.pt"))
    assert TorchScriptPolicy(tmp_path / "p.pt").act(np.ones(4, np.float32), None).tolist() == [1, 1]


def test_an_error_of_the_module_is_one_line(tmp_path):
    torch.jit.script(Raises()).save(str(tmp_path / "p.pt"))
    with pytest.raises(PolicyError, match=r"failed on an observation of shape \(4,\): .*out of range\. Expected: "):
        TorchScriptPolicy(tmp_path / "p.pt").act(np.ones(4, np.float32), None)
