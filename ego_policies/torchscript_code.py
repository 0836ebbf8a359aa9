"""The source text inside a TorchScript file: read as a syntax tree, held against a list, and written anew.

`torch.jit.load` compiles this text and may run parts of it. What is checked is the tree, and what is given to torch is
the tree's own text, so that a comment or an escape that two readers read differently is of no use.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import Final

import torch

from ego_policies.torchscript_constants import MAX_CONSTANT, largest_constant
from ego_policies.torchscript_operators import (
    CALLED_NAMES,
    FIXED_NAMES,
    FORBIDDEN_NAMES,
    NAMES,
    OPERATORS,
    PRIMITIVES,
    RANDOM,
    SPECIAL_METHODS,
)

MAX_SOURCE: Final = 250_000
"""Bytes of all source text together: torch takes seconds to compile more. A scripted transformer has 60,000."""
MAX_STATEMENT: Final = 2_000
"""Most parts of one statement: types of types, or long lists."""
MAX_DEPTH: Final = 60
"""Deepest nesting of the syntax tree: torch's parser follows it on the processor's stack."""
_BASES: Final = frozenset({"Module", "NamedTuple", "Enum", "Interface", "ModuleInterface"})
_STATEMENTS: Final = (
    *(ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return, ast.If, ast.For, ast.While, ast.Pass),
    *(ast.Break, ast.Continue, ast.Assert, ast.Raise),
)
_EXPRESSIONS: Final = (
    *(ast.Call, ast.Attribute, ast.Name, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Subscript, ast.Slice),
    *(ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.keyword, ast.arguments, ast.arg),
    *(ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)
_ROOTS: Final = ("torch", "ops", "__torch__", "CONSTANTS")
"""Names that only begin others."""
_DIVISIONS: Final = frozenset({"remainder", "floordiv"})
_NO_GRAD: Final = "__torch__.torch.autograd.grad_mode.no_grad.__new__("
_LITERALS: Final = (ast.Constant, ast.UnaryOp, ast.USub, ast.List, ast.Tuple, ast.Dict, ast.Load)


class ForbiddenCodeError(ValueError):
    """The text asks for something that is not on the list."""


class Source:
    """The checked text of one member of an archive.

    Attributes:
        tree: The syntax tree.
        text: Written anew from it.
        random: Whether it draws random numbers.
    """

    def __init__(self, text: str) -> None:
        """Parse and check.

        Raises:
            ForbiddenCodeError: It asks for something that is not on the list, is nested too deep, or too long.
            ValueError: It is no such source.
        """
        try:
            tree = ast.parse(text)
        except (SyntaxError, RecursionError, MemoryError) as error:
            raise ValueError(f"its code cannot be parsed ({type(error).__name__}: {str(error)[:100]})") from error
        _check_size(tree)
        self.random = False
        tree.body = [node for node in tree.body if not _is_version(node)]
        tree = ast.fix_missing_locations(_Silent().visit(tree))
        for node in tree.body:
            self._definition(node)
        self.tree = tree
        self.text = ast.unparse(_Checked().visit(copy.deepcopy(tree))) + "\n"

    def _definition(self, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef):
            self._function(node)
        elif isinstance(node, ast.ClassDef):
            if node.decorator_list or node.keywords or len(node.bases) > 1:
                raise ForbiddenCodeError(f"a class {node.name} with decorators or several bases")
            for base in node.bases:
                if not isinstance(base, ast.Name) or base.id not in _BASES:
                    raise ForbiddenCodeError(f"a class {node.name} of the kind {ast.unparse(base)[:60]}")
            for item in node.body:
                self._member(item)
        else:
            raise ForbiddenCodeError(f"a statement outside of functions ({type(node).__name__})")

    def _member(self, node: ast.stmt) -> None:
        """A method, a declared attribute, or a list such as `__parameters__`."""
        if isinstance(node, ast.FunctionDef):
            if node.name.startswith("__") and node.name.endswith("__") and node.name not in SPECIAL_METHODS:
                raise ForbiddenCodeError(f"the method {node.name}, which runs by itself")
            self._function(node)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            self._expression(node.annotation)
            _check_literal(node.value)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
                if target.value.id != "__annotations__":
                    raise ForbiddenCodeError(f"items of {target.value.id} in a class")
                _check_literal(target.slice)
                self._expression(node.value)
            elif isinstance(target, ast.Name):
                _check_literal(node.value)
            else:
                raise ForbiddenCodeError("an assignment in a class to something else than a name")
        elif not isinstance(node, ast.Pass):
            raise ForbiddenCodeError(f"a statement in a class ({type(node).__name__})")

    def _function(self, node: ast.FunctionDef) -> None:
        arguments = node.args
        if node.decorator_list or arguments.vararg or arguments.kwarg or arguments.posonlyargs:
            raise ForbiddenCodeError(f"a function {node.name} with decorators or arguments of any number")
        for default in (*arguments.defaults, *arguments.kw_defaults):
            _check_literal(default)  # Torch computes these while it loads the file.
        annotations = [item.annotation for item in (*arguments.args, *arguments.kwonlyargs)]
        for annotation in (*annotations, node.returns):
            if annotation is not None:
                self._expression(annotation)
        bound = {item.arg for item in (*arguments.args, *arguments.kwonlyargs)}
        for statement in _statements(node.body):
            if not isinstance(statement, _STATEMENTS):
                raise ForbiddenCodeError(f"a statement of the kind {type(statement).__name__}")
            bound |= {
                item.id
                for item in ast.walk(statement)
                if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store)
            }
        for name in sorted(bound):
            if name in FIXED_NAMES or name in FORBIDDEN_NAMES:
                raise ForbiddenCodeError(f"another meaning for the name {name}")
        for statement in node.body:
            self._expression(statement, bound)
            _check_hints(statement, node.returns)
        if (letters := largest_constant(node.body)) > MAX_CONSTANT:
            raise ForbiddenCodeError(f"a constant of {letters:,} letters or items in {node.name}")

    def _expression(self, node: ast.AST, bound: frozenset[str] | set[str] = frozenset()) -> None:
        """Check everything below a node."""
        chains, called = set[ast.AST](), set[ast.AST]()
        for item in ast.walk(node):
            if not isinstance(item, (*_STATEMENTS, *_EXPRESSIONS)):
                raise ForbiddenCodeError(f"an expression of the kind {type(item).__name__}")
            if isinstance(item, ast.keyword) and item.arg is None:
                raise ForbiddenCodeError("arguments of any number")
            if isinstance(item, ast.Attribute) and item not in chains:
                root = self._chain(item, chains)
                if isinstance(root, ast.Name) and root.id in _ROOTS:
                    chains.add(root)
            elif isinstance(item, ast.Name) and item not in chains:
                self._name(item, bound)
                if item.id in CALLED_NAMES and item not in called:
                    raise ForbiddenCodeError(f"{item.id} as a value")  # Under another name it would not be checked.
            elif isinstance(item, ast.Call) and isinstance(item.func, ast.Name):
                self._by_name(item)
                called.add(item.func)

    def _name(self, item: ast.Name, bound: frozenset[str] | set[str]) -> None:
        if item.id in FORBIDDEN_NAMES or (item.id not in bound and item.id not in NAMES):
            raise ForbiddenCodeError(item.id)
        if item.id in _ROOTS:
            raise ForbiddenCodeError(f"{item.id} as a value")

    def _chain(self, item: ast.Attribute, chains: set[ast.AST]) -> ast.AST:
        """Check a chain of attributes; its inner parts are added to `chains`. Returns its root."""
        names: list[str] = []
        root: ast.AST = item
        while isinstance(root, ast.Attribute):
            names.insert(0, root.attr)
            chains.add(root)
            root = root.value
        start = root.id if isinstance(root, ast.Name) else ""
        whole = ".".join((start, *names))
        if "classes" in names:
            raise ForbiddenCodeError(f"a class that torch keeps in its own code, {whole}")
        if start == "torch":
            self._operator("aten", names, whole)
        elif start == "ops":
            self._operator(names[0], names[1:], whole)
        elif start not in ("__torch__", "CONSTANTS"):
            for name in names:
                self._attribute(name)
        return root

    def _operator(self, space: str, names: list[str], whole: str) -> None:
        known = {"aten": OPERATORS, "prim": PRIMITIVES}.get(space, frozenset())
        if len(names) != 1 or names[0] not in known:
            raise ForbiddenCodeError(whole)
        self.random |= space == "aten" and names[0] in RANDOM

    def _attribute(self, name: str) -> None:
        """An attribute of some object: on a tensor it may be an operator."""
        if name in OPERATORS:
            self.random |= name in RANDOM
        elif is_operator(name):
            raise ForbiddenCodeError(f"torch.{name}")

    def _by_name(self, item: ast.Call) -> None:
        """`getattr(object, "name")` is an attribute like any other."""
        assert isinstance(item.func, ast.Name)
        if item.func.id == "unchecked_cast" and (len(item.args) != 2 or item.keywords):
            raise ForbiddenCodeError("unchecked_cast of something else than a type and a value")
        if item.func.id not in ("getattr", "hasattr"):
            return
        if len(item.args) < 2 or not isinstance(item.args[1], ast.Constant) or not isinstance(item.args[1].value, str):
            raise ForbiddenCodeError(f"{item.func.id} with a name that is computed")
        self._attribute(item.args[1].value)


def is_operator(name: str) -> bool:
    """Whether torch has an operator of this name that a tensor could be asked for."""
    return any(torch._C._jit_get_schemas_for_operator(f"{space}::{name}") for space in ("aten", "prim"))


def _is_version(node: ast.stmt) -> bool:
    """`op_version_set = 1`, which old files begin with."""
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and [item.id for item in node.targets if isinstance(item, ast.Name)] == ["op_version_set"]
    )


class _Silent(ast.NodeTransformer):
    """Leaves out what changes no number.

    That is statements that only print or warn, because a stranger's words have no business in the terminal, and
    `with torch.no_grad()` around others: no policy is run with gradients.
    """

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """A class; what `with` would call has no use any more."""
        node.body = [item for item in node.body if getattr(item, "name", "") not in ("__enter__", "__exit__")]
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """A function; the names in it that stand for `torch.no_grad()`."""
        self.no_grad = {
            target.id
            for item in ast.walk(node)
            if isinstance(item, ast.Assign) and ast.unparse(item.value).startswith(_NO_GRAD)
            for target in item.targets
            if isinstance(target, ast.Name)
        }
        return self.generic_visit(node)

    def visit_With(self, node: ast.With) -> ast.AST | list[ast.stmt]:
        """The statements within, where it only switches gradients off; any other is refused later."""
        self.generic_visit(node)
        switches = (item.context_expr for item in node.items if item.optional_vars is None)
        known = [item for item in switches if isinstance(item, ast.Name) and item.id in self.no_grad]
        return node.body if len(known) == len(node.items) else node

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        """A statement whose value nobody uses."""
        talks = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) in ("torch.warn", "print")
        return ast.Pass() if talks else node


class _Checked(ast.NodeTransformer):
    """Replaces what torch takes on trust by what it checks, or what can be checked before it is run.

    `unchecked_cast(T, x)` stands where a value that may be None is known not to be. As any other cast it would make an
    object pass for one of another class, and give it the memory behind. Divisions of constants are computed while the
    file is loaded, and the processor stops at one by 0, unless torch is kept from seeing that the divisor is constant.
    """

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """A call."""
        divides = isinstance(node.func, ast.Attribute) and _divides(node.func)
        for name, part in ast.iter_fields(node):
            if name == "func" and not divides:
                node.func = self.visit(part)
            elif name in ("args", "keywords"):
                setattr(node, name, [self.visit(item) for item in part])
        if divides:
            node.args[1:] = [_hidden(item) for item in node.args[1:]]
            for keyword in node.keywords:
                keyword.value = _hidden(keyword.value)
        if not isinstance(node.func, ast.Name) or node.func.id != "unchecked_cast":
            return node
        return _unwrapped(node.args[1])

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """A chain of names; one that divides is only called."""
        if _divides(node):
            raise ForbiddenCodeError(f"{node.attr} as a value")
        return self.generic_visit(node)

    def visit_Mod(self, node: ast.Mod) -> ast.AST:
        """`%`, as which torch writes no remainder."""
        raise ForbiddenCodeError("the operator %")

    def visit_FloorDiv(self, node: ast.FloorDiv) -> ast.AST:
        """`//`, as which torch writes no division."""
        raise ForbiddenCodeError("the operator //")


def _divides(node: ast.Attribute) -> bool:
    """Whether it is an operator of torch that divides integers."""
    return node.attr in _DIVISIONS and ast.unparse(node).partition(".")[0] in ("torch", "ops")


def _unwrapped(node: ast.expr) -> ast.Call:
    return ast.Call(ast.Attribute(ast.Name("torch", ast.Load()), "_unwrap_optional", ast.Load()), [node], [])


def _hidden(node: ast.expr) -> ast.expr:
    """A divisor that torch does not know while it compiles, unless it is a number other than 0."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and node.value:
        return node
    primitives = ast.Attribute(ast.Name("ops", ast.Load()), "prim", ast.Load())
    return ast.Call(ast.Attribute(primitives, "unchecked_unwrap_optional", ast.Load()), [_unwrapped(node)], [])


def _check_hints(statement: ast.stmt, returns: ast.expr | None) -> None:
    """Refuse a list written out where the type `Any` is expected of it: torch's compiler dies of that."""
    kind: ast.expr | None
    value: ast.expr | None
    for item in ast.walk(statement):
        match item:
            case ast.Call(func=ast.Name(id="annotate"), args=[kind, value]):
                pass
            case ast.AnnAssign(annotation=kind, value=value):
                pass
            case ast.Return(value=value):
                kind = returns
            case _:
                continue
        if kind is None or value is None or not any(isinstance(part, ast.List) for part in ast.walk(value)):
            continue
        if any(isinstance(part, ast.Name) and part.id == "Any" for part in ast.walk(kind)):
            raise ForbiddenCodeError("a list of the type Any")


def _check_size(tree: ast.AST) -> None:
    waiting: list[tuple[ast.AST, int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ForbiddenCodeError(f"expressions nested more than {MAX_DEPTH} deep")
        children = list(ast.iter_child_nodes(node))
        waiting.extend((child, depth + 1) for child in children)
        if isinstance(node, ast.stmt):
            parts = sum(1 for child in children if not isinstance(child, ast.stmt) for _ in ast.walk(child))
            if parts > MAX_STATEMENT:
                raise ForbiddenCodeError(f"a statement of {parts:,} parts, more than {MAX_STATEMENT:,}")


def _check_literal(node: ast.AST | None) -> None:
    """What torch computes while loading is written out: numbers, words, lists and tuples of them."""
    for item in ast.walk(node) if node is not None else ():
        if not isinstance(item, _LITERALS):
            raise ForbiddenCodeError(f"a value that is computed while the file is loaded ({type(item).__name__})")


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        for name in ("body", "orelse"):
            yield from _statements(getattr(statement, name, []))
