"""What torch made of the code of a TorchScript file: held against what its operators take on trust, before it is run.

Torch looks beyond its tables for a kind of number, a layout or a place that there is not, and the processor stops at a
division of integers by 0. The text does not tell such numbers, which may be computed or given by position; the graph
does. Everything that `forward` calls is put into its own graph, so that what is checked is all that is run.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Final

import torch

from ego_policies.torch_pickles import DEVICE
from ego_policies.torchscript_code import ForbiddenCodeError

_ALLOWED: Final[dict[str, tuple[frozenset[object], str]]] = {
    # Integers, floats, complex numbers, bool and bfloat16, as torch counts them; none that is quantised.
    "ScalarType": (frozenset(range(8)) | {9, 10, 11, 15}, "a kind of number"),
    "Layout": (frozenset({0}), "a layout of memory"),  # Some operators lay out other kinds wrongly.
    "MemoryFormat": (frozenset(range(4)), "a memory format"),
    "QScheme": (frozenset(), "a kind of quantisation"),
}
"""Numbers that stand for something, by torch's name of the type of the argument, and what is said of others."""
_PROPERTIES: Final = frozenset({"prim::dtype", "prim::layout"})
_UNWRAPPING: Final = frozenset({"aten::_unwrap_optional", "prim::unchecked_unwrap_optional", "prim::unchecked_cast"})
_CALLS: Final = frozenset({"prim::CallMethod", "prim::CallFunction"})
_DIVISIONS: Final = ("aten::floordiv", "aten::remainder")
_INTEGERS: Final = (".int(", "(Scalar a, Scalar b)")


def check_graph(module: torch.jit.ScriptModule) -> None:
    """Put everything that a module's `forward` calls into its graph, and hold that against what torch does not check.

    Divisions of integers by what is not known beforehand raise an error from then on where they divide by less than 1.

    Raises:
        ForbiddenCodeError: There is no `forward`, or something in its graph may end this process; the message says
            what.
    """
    if not module._c._has_method("forward"):
        raise ForbiddenCodeError("no method `forward`")
    graph = module._c._get_method("forward").graph
    torch._C._jit_pass_inline(graph)
    for node in list(_nodes(graph)):
        kind = node.kind()
        if kind in _CALLS:
            raise ForbiddenCodeError("a method of an interface (torch.jit.freeze makes a plain call of it)")
        if kind == "prim::Constant":
            _check_constant(node)
        elif kind in ("aten::device", "aten::Device") and not _is_device(node.inputsAt(0).toIValue()):
            raise ForbiddenCodeError("a device that is computed, or neither cpu, cuda nor mps")
        elif (text := node.schema()) != "(no schema)":
            _check_arguments(graph, node, text)
            if kind in _DIVISIONS and any(part in text for part in _INTEGERS):
                _guard_division(graph, node, text)


def _nodes(block: Any) -> Iterator[Any]:
    waiting = [block]
    while waiting:
        for node in waiting.pop().nodes():
            yield node
            waiting.extend(node.blocks())


def _check_constant(node: Any) -> None:
    if "Device" in str(node.output().type()) and not _is_device(node.output().toIValue()):
        raise ForbiddenCodeError("a device that is neither cpu, cuda nor mps")


def _is_device(value: object) -> bool:
    return value is None or DEVICE.fullmatch(str(value)) is not None


@functools.lru_cache(4096)
def _arguments(schema: str) -> tuple[tuple[int, str], ...]:
    """Places of the arguments that are checked, each with its type or, of the rounding of divisions, its name."""
    found = []
    for place, argument in enumerate(torch._C.parse_schema(schema).arguments):
        text = str(argument.real_type)
        names = [name for name in _ALLOWED if name in text]
        # `aten::to` has it as an integer like any other.
        names += ["ScalarType"] if argument.name == "dtype" and not names else []
        names += ["rounding"] if argument.name == "rounding_mode" else []
        found += [(place, name) for name in names]
    return tuple(found)


def _check_arguments(graph: Any, node: Any, schema: str) -> None:
    for place, name in _arguments(schema):
        if name == "rounding":
            _check_rounding(graph, node, place)
            continue
        allowed, words = _ALLOWED[name]
        if not _is_known(node.inputsAt(place), allowed):
            raise ForbiddenCodeError(
                f"{words} in {node.kind().partition('::')[2]} that is computed, or that there is not "
                "(write constants; torch.jit.freeze makes some of attributes)"
            )


def _check_rounding(graph: Any, node: Any, place: int) -> None:
    """Refuse what the processor stops at: the smallest integer divided by -1 and rounded otherwise than down."""
    if _is_known(node.inputsAt(place), frozenset({"floor"})):
        return
    divisor = node.inputsAt(1)
    value = divisor.toIValue() if divisor.node().kind() == "prim::Constant" else None
    positive = isinstance(value, torch.Tensor) and bool((value > 0).all())
    if not _is_known(node.inputsAt(place), frozenset({"floor", "trunc"})) or not (
        positive or (isinstance(value, (int, float)) and value > 0)
    ):
        raise ForbiddenCodeError(
            "a division that is not rounded by the constant 'floor', by what is no constant above 0"
        )
    if isinstance(value, torch.Tensor):
        copied = graph.create("prim::Constant")  # The other could be changed in its place.
        copied.t_("value", value.clone())
        copied.output().inferTypeFrom(value)
        copied.insertBefore(node)
        node.replaceInput(1, copied.output())


def _is_known(value: Any, allowed: frozenset[object]) -> bool:
    """Whether a value is, on every way to it, one of these constants, None, or a property of a tensor."""
    waiting, seen = [value], set[str]()
    while waiting:
        item = waiting.pop()
        if item.debugName() in seen:
            continue
        seen.add(item.debugName())
        node = item.node()
        kind = node.kind()
        if kind == "prim::Constant":
            constant = item.toIValue()
            if constant is not None and constant not in allowed:
                return False
        elif kind == "prim::If":
            waiting.extend(list(block.outputs())[item.offset()] for block in node.blocks())
        elif kind in _UNWRAPPING:
            waiting.append(node.inputsAt(0))
        elif kind not in _PROPERTIES:
            return False
    return True


def _guard_division(graph: Any, node: Any, schema: str) -> None:
    divisor = node.inputsAt(1)
    if divisor.node().kind() == "prim::Constant":
        if divisor.toIValue() in (0, -1):  # The smallest integer divided by -1 is none.
            raise ForbiddenCodeError("a division of integers by 0 or -1")
        return
    if "Scalar" in schema:
        raise ForbiddenCodeError("a division of numbers that may or may not be integers")

    def constant(value: int | str, before: Any) -> Any:
        made = graph.create("prim::Constant")
        (made.i_ if isinstance(value, int) else made.s_)("value", value)
        made.output().setType(torch._C.IntType.get() if isinstance(value, int) else torch._C.StringType.get())
        made.insertBefore(before)
        return made.output()

    one = constant(1, node)
    below = graph.create("aten::lt", [divisor, one])
    below.output().setType(torch._C.BoolType.get())
    below.insertBefore(node)
    either = graph.create("prim::If", [below.output()])
    either.output().setType(torch._C.IntType.get())
    either.insertBefore(node)
    bad, good = either.addBlock(), either.addBlock()
    words = constant("division of an integer by one below 1", either), constant("builtins.ValueError", either)
    graph.create("prim::RaiseException", list(words), 0).insertBefore(bad.returnNode())
    bad.registerOutput(one)
    good.registerOutput(divisor)
    node.replaceInput(1, either.output())
