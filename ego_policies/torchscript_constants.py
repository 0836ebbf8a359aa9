"""How large the texts and tuples become that a compiler can put together from constants.

Torch joins constant texts and tuples while it compiles, so `b = a + a; c = b + b; …` fills the memory before anything
is run. Here statements are followed in their order, with the size of what each name holds; no value is ever made.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_CONSTANT: Final = 1_000_000
"""Most letters and items of a text or tuple that is put together from constants."""
_JOINING: Final = frozenset({"add", "mul", "format", "str", "join", "annotate", "unchecked_cast", "tuple"})
"""Calls whose result can hold the texts and tuples that they are given."""


@dataclass(frozen=True, slots=True)
class _Size:
    """Letters and items of a value: 0 for everything but texts and tuples.

    Attributes:
        total: Letters of a text, or items of a tuple with what they hold.
        parts: Sizes of a tuple's items, where it is small.
    """

    total: int = 0
    parts: tuple[_Size, ...] = ()


_NOTHING: Final = _Size()
_SMALL: Final = 1_000
"""Items of a tuple whose parts are told apart: those of large ones are taken to be as large as the whole."""


def _tuple(parts: tuple[_Size, ...]) -> _Size:
    total = sum(max(part.total, 1) for part in parts)
    return _Size(total, parts if total <= _SMALL else ())


def largest_constant(body: Sequence[ast.stmt]) -> int:
    """Letters and items of the largest text or tuple that the statements of a function can put together."""
    follower = _Follower()
    follower.block(body)
    return follower.largest


def _either(first: _Size, second: _Size) -> _Size:
    """What a name may hold after two branches."""
    if len(first.parts) == len(second.parts) and first.parts:
        return _tuple(tuple(_either(a, b) for a, b in zip(first.parts, second.parts, strict=True)))
    return first if first.total >= second.total else second


class _Follower:
    def __init__(self) -> None:
        self.sizes: dict[str, _Size] = {}
        self.largest = 0

    def block(self, body: Sequence[ast.stmt]) -> None:
        """Follow statements; what a branch makes counts after it."""
        for statement in body:
            if self.largest > MAX_CONSTANT:
                return
            match statement:
                case ast.Assign():
                    for target in statement.targets:
                        self.bind(target, self.size(statement.value))
                case ast.AnnAssign(value=ast.expr() as value):
                    self.bind(statement.target, self.size(value))
                case ast.AugAssign():
                    joined = ast.BinOp(statement.target, statement.op, statement.value)
                    self.bind(statement.target, self.size(joined))
                case ast.For():
                    self.bind(statement.target, self.size(statement.iter))
                case _:
                    for child in ast.iter_child_nodes(statement):
                        if isinstance(child, ast.expr):
                            self.size(child)
            branches = [getattr(statement, name, []) for name in ("body", "orelse")]
            if any(branches):
                self.branches(branches)

    def branches(self, branches: Sequence[Sequence[ast.stmt]]) -> None:
        """Follow alternatives from where they part to where they meet."""
        before, after = dict(self.sizes), dict[str, _Size]()
        for branch in branches:
            self.sizes = dict(before)
            self.block(branch)
            after = {
                name: _either(self.sizes.get(name, _NOTHING), after.get(name, _NOTHING))
                for name in {*self.sizes, *after}
            }
        self.sizes = after

    def bind(self, target: ast.expr, size: _Size) -> None:
        """Give a name what it holds; names of a tuple get its items where these are known."""
        if isinstance(target, ast.Name):
            self.sizes[target.id] = size
        elif isinstance(target, (ast.Tuple, ast.List)):
            known = len(size.parts) == len(target.elts)
            for index, item in enumerate(target.elts):
                self.bind(item, size.parts[index] if known else size)

    def size(self, node: ast.expr) -> _Size:
        """What an expression may hold."""
        found = self._size(node)
        self.largest = max(self.largest, found.total)
        return found

    def _size(self, node: ast.expr) -> _Size:
        match node:
            case ast.Constant(value=str() as text):
                return _Size(max(len(text), 1))
            case ast.Name():
                return self.sizes.get(node.id, _NOTHING)
            case ast.Tuple():
                return _tuple(tuple(self.size(item) for item in node.elts))
            case ast.IfExp():
                return _either(self.size(node.body), self.size(node.orelse))
            case ast.Subscript():
                whole = self.size(node.value)
                index = node.slice.value if isinstance(node.slice, ast.Constant) else None
                return whole.parts[index] if isinstance(index, int) and 0 <= index < len(whole.parts) else whole
            case ast.BinOp():
                return self.joined([node.left, node.right], isinstance(node.op, ast.Mult))
            case ast.Call():
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                own = [node.func.value] if isinstance(node.func, ast.Attribute) else []
                parts_of = [*own, *node.args, *(item.value for item in node.keywords)]
                joined = self.joined(parts_of, name == "mul")
                return joined if name in _JOINING else _NOTHING
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.size(child)
        return _NOTHING

    def joined(self, parts: Sequence[ast.expr], repeated: bool) -> _Size:
        """Texts or tuples that are joined; one that is multiplied by a number may have any size."""
        total = sum(self.size(part).total for part in parts)
        return _Size(MAX_CONSTANT + 1 if repeated and total else total)
