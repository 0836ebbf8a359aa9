"""How many operations the code of a TorchScript file becomes once every call is replaced by what it calls.

Torch does just that before it runs a function, so that twenty functions that each call the next one twice become a
million operations, and tens of thousands in a row are more than its passes can follow on the processor's stack. Here
they are counted on the syntax trees, without being made.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ego_policies.torchscript_code import ForbiddenCodeError

MAX_OPERATIONS: Final = 8_000
"""Most operations of one function with all that it calls: a ResNet-50 has 200, a scripted transformer 2,000 a layer."""
MAX_DEFINITIONS: Final = 60
"""Longest chain of classes and functions that each mention the next: torch compiles one within the other."""
_COUNTED: Final = (ast.Call, ast.BinOp, ast.Compare, ast.BoolOp, ast.Subscript, ast.Tuple, ast.List, ast.IfExp)


@dataclass(slots=True)
class ClassCode:
    """A class: its kind (`Module`, `NamedTuple`, …), its methods, and the text of its attributes' types."""

    base: str = ""
    methods: dict[str, ast.FunctionDef] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)


class CallCount:
    """Counts operations over all the sources of a file."""

    def __init__(self, trees: Mapping[str, ast.Module]) -> None:
        """Collect the classes and functions.

        Args:
            trees: Syntax trees by the dotted name that their definitions have before them, such as `__torch__.mine`.

        Raises:
            ForbiddenCodeError: They mention each other in too long a chain, or in a circle.
        """
        self.classes: dict[str, ClassCode] = {}
        self.functions: dict[str, ast.FunctionDef] = {}
        for prefix, tree in trees.items():
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    self.classes[f"{prefix}.{node.name}"] = _class(node)
                elif isinstance(node, ast.FunctionDef):
                    self.functions[f"{prefix}.{node.name}"] = node
        self.named: dict[str, list[ast.FunctionDef]] = {}
        for kind in self.classes.values():
            for name, method in kind.methods.items():
                self.named.setdefault(name, []).append(method)
        self._known: dict[int, int] = {}
        self._open: set[int] = set()
        self._check_depth(trees)

    def _check_depth(self, trees: Mapping[str, ast.Module]) -> None:
        mentions: dict[str, set[str]] = {}
        for prefix, tree in trees.items():
            for node in tree.body:
                if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                    found = {_dotted(item) for item in ast.walk(node) if isinstance(item, ast.Attribute)}
                    known = found & (self.classes.keys() | self.functions.keys())
                    mentions[f"{prefix}.{node.name}"] = known - {f"{prefix}.{node.name}"}
        left, depth = dict(mentions), 0
        # Layer by layer, from what mentions nothing: without recursion, and what is left over goes round in circles.
        while left:
            done = {name for name, others in left.items() if not others & left.keys()}
            depth += 1
            if not done:
                raise ForbiddenCodeError(f"definitions that mention each other, such as {min(left)}")
            if depth > MAX_DEFINITIONS:
                raise ForbiddenCodeError(f"more than {MAX_DEFINITIONS} definitions that each mention the next")
            for name in done:
                del left[name]

    def largest(self) -> int:
        """Operations of the largest function or method.

        Raises:
            ForbiddenCodeError: A method calls one of its own name of an object whose class the code does not tell.
        """
        every = [*self.functions.values(), *(method for methods in self.named.values() for method in methods)]
        return max((self.count(function) for function in every), default=0)

    def count(self, function: ast.FunctionDef) -> int:
        """Operations of a function with all that it calls; more than `MAX_OPERATIONS` are not counted to the end."""
        key = id(function)
        if key in self._known:
            return self._known[key]
        if key in self._open:
            return 0  # Torch refuses functions that call themselves.
        self._open.add(key)
        types = self._types(function)
        total = 0
        for node in _own_nodes(function):
            total += isinstance(node, _COUNTED)
            if isinstance(node, ast.Call) and total <= MAX_OPERATIONS:
                total += max((self.count(called) for called in self._called(node, types)), default=0)
        self._open.discard(key)
        self._known[key] = total
        return total

    def _types(self, function: ast.FunctionDef) -> dict[str, set[str]]:
        """What each name may be: classes, and functions that it stands for."""
        types: dict[str, set[str]] = {}
        for item in (*function.args.args, *function.args.kwonlyargs):
            if item.annotation is not None:
                types.setdefault(item.arg, set()).add(ast.unparse(item.annotation))
        for node in _own_nodes(function):
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                types.setdefault(node.targets[0].id, set()).update(self._type(node.value, types))
        return types

    def _type(self, node: ast.expr, types: Mapping[str, set[str]]) -> set[str]:
        """The classes, or functions, that an expression may stand for; empty where that is not known."""
        if isinstance(node, ast.Name):
            return types.get(node.id, set())
        if isinstance(node, ast.Attribute):
            whole = _dotted(node)
            if whole in self.classes or whole in self.functions:
                return {whole}
            return self._attribute(node.value, node.attr, types)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) >= 2:
            if node.func.id == "getattr" and isinstance(node.args[1], ast.Constant):
                return self._attribute(node.args[0], str(node.args[1].value), types)
            if node.func.id in ("annotate", "unchecked_cast"):
                return {ast.unparse(node.args[0])} & self.classes.keys()
        if isinstance(node, ast.Call):
            made = self._type(node.func, types) & self.classes.keys() if isinstance(node.func, ast.Attribute) else set()
            returned = {ast.unparse(item.returns) for item in self._called(node, types) if item.returns is not None}
            return made | (returned & self.classes.keys())
        return set()

    def _attribute(self, value: ast.expr, name: str, types: Mapping[str, set[str]]) -> set[str]:
        kinds = (self.classes.get(kind) for kind in self._type(value, types))
        return {kind.attributes[name] for kind in kinds if kind is not None and name in kind.attributes}

    def _called(self, node: ast.Call, types: Mapping[str, set[str]]) -> list[ast.FunctionDef]:
        """The functions of the file that a call may reach."""
        if isinstance(node.func, ast.Attribute):
            name = node.func.attr
            owners = self._type(node.func.value, types) & self.classes.keys()
            if owners:
                return [self.classes[kind].methods[name] for kind in owners if name in self.classes[kind].methods]
            if not self._type(node.func, types):
                found = self.named.get(name, []) if not _of_torch(node.func) else []
                if any(id(method) in self._open for method in found):
                    raise ForbiddenCodeError(f"{name} of an object whose class it does not tell")
                return found
        made = self._type(node.func, types)
        methods = (self.classes[kind].methods.get("__init__") for kind in made & self.classes.keys())
        functions = [self.functions[name] for name in made & self.functions.keys()]
        return functions + [method for method in methods if method is not None]


def _dotted(node: ast.expr) -> str:
    """The text of a chain of names; empty for any other expression."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join((node.id, *reversed(names))) if isinstance(node, ast.Name) else ""


def _of_torch(node: ast.Attribute) -> bool:
    """Whether a chain of attributes begins with torch's own names."""
    root: ast.expr = node
    while isinstance(root, ast.Attribute):
        root = root.value
    return isinstance(root, ast.Name) and root.id in ("torch", "ops")


def _class(node: ast.ClassDef) -> ClassCode:
    found = ClassCode("".join(base.id for base in node.bases if isinstance(base, ast.Name)))
    for item in node.body:
        if isinstance(item, ast.FunctionDef):
            found.methods[item.name] = item
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is None:
            found.attributes[item.target.id] = ast.unparse(item.annotation)
        elif isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Subscript):
            name = item.targets[0].slice
            if isinstance(name, ast.Constant):
                found.attributes[str(name.value)] = ast.unparse(item.value)
    return found


def _own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Everything in the body of a function, in the order of the text as far as statements go."""
    for statement in function.body:
        yield from ast.walk(statement)
