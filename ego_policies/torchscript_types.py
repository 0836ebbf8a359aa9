"""Whether the values in a TorchScript file are of the types that its code declares for them.

Torch finds an attribute by its place within an object, without a look at what the object is: one of a smaller class
than declared gives it the memory behind. The same goes for tuples of fewer items, and lists of something else. So every
value is compared with its declared type here, before torch makes it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Final

from ego_policies.torch_pickles import Device, Instance, StoredTensor, each_within
from ego_policies.torchscript_calls import ClassCode

_SCALARS: Final[Mapping[str, tuple[type, ...]]] = {
    **{"Tensor": (StoredTensor,), "int": (int,), "float": (float,), "bool": (bool,), "str": (str,)},
    **{"number": (int, float), "Device": (Device,), "NoneType": (type(None),), "None": (type(None),)},
}
"""Python's types of what a pickle holds, by the names of TorchScript's."""


class DeclaredTypes:
    """The classes of a file, against which its values are held."""

    def __init__(self, classes: Mapping[str, ClassCode]) -> None:
        """Keep the classes, by their dotted names."""
        self.classes = classes
        self.types = {
            name: {attribute: _parsed(text) for attribute, text in kind.attributes.items()}
            for name, kind in classes.items()
        }
        self._known: set[tuple[int, int]] = set()

    def check(self, value: object, tagged: Iterable[tuple[object, str]]) -> None:
        """Compare every object within a value with its class, and every container that names its type with that.

        Args:
            value: The value of a pickle.
            tagged: Containers of it, each with the text of its type.

        Raises:
            ValueError: Something is of another type than declared; the message names it.
        """
        waiting, types = [value], []
        for container, text in tagged:
            types.append(_parsed(text))  # Kept, because what is known of a type is known by where it lies.
            self._fits(container, types[-1], text)
            waiting.append(container)
        for item in each_within(waiting):
            if isinstance(item, Instance):
                self._instance(item)

    def _instance(self, item: Instance) -> None:
        kind = str(item.kind)
        if kind not in self.types or self.classes[kind].base not in ("", "Module"):
            raise ValueError(f"its pickle makes an object of {kind[:80]}, which is no class of its code")
        for name, declared in self.types[kind].items():
            if name not in item.state:
                raise ValueError(f"its pickle gives an object of {kind[:80]} no {name[:80]}")
            self._fits(item.state[name], declared, f"{kind}.{name}")

    def _fits(self, value: object, kind: ast.expr, where: str) -> None:
        key = (id(value), id(kind))
        if isinstance(value, (list, dict, tuple)):
            if key in self._known:
                return
            self._known.add(key)
        match kind, value:
            case ast.Name(id="Any"), _:
                return
            case ast.Name(id=name), _ if type(value) in _SCALARS.get(name, ()):
                return
            case ast.Attribute(), _ if self._of_class(value, ast.unparse(kind), where):
                return
            case ast.Subscript(value=ast.Name(id=outer), slice=inner), _ if self._of_parts(value, outer, inner, where):
                return
        raise ValueError(f"{where[:80]} is declared as {ast.unparse(kind)[:80]}, but its pickle holds another value")

    def _of_parts(self, value: object, outer: str, inner: ast.expr, where: str) -> bool:
        parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        match outer, value:
            case ("Optional" | "Union", None) if outer == "Optional":
                return True
            case "Optional" | "Union", _:
                return any(self._would_fit(value, part, where) for part in parts)
            case "List", list():
                wanted = [(item, parts[0]) for item in value]
            case "Dict", dict() if len(parts) == 2:
                wanted = [pair for key, item in value.items() for pair in ((key, parts[0]), (item, parts[1]))]
            case "Tuple", tuple() if len(parts) == len(value):
                wanted = list(zip(value, parts, strict=True))
            case _:
                return False
        for item, part in wanted:
            self._fits(item, part, where)
        return True

    def _would_fit(self, value: object, kind: ast.expr, where: str) -> bool:
        try:
            self._fits(value, kind, where)
        except ValueError:
            self._known.discard((id(value), id(kind)))
            return False
        return True

    def _of_class(self, value: object, name: str, where: str) -> bool:
        kind = self.classes.get(name)
        match kind and kind.base, value:
            case (("" | "Module"), Instance()):
                return str(value.kind) == name
            case (("Interface" | "ModuleInterface"), Instance()):
                return self._implements(str(value.kind), name)
            case "NamedTuple", tuple():
                declared = list(self.types[name].values())
                if len(declared) == len(value):
                    for item, part in zip(value, declared, strict=True):
                        self._fits(item, part, where)
                    return True
            case "Enum", (int() | float() | str()):
                return True
        return False

    def _implements(self, kind: str, interface: str) -> bool:
        """Whether a class has the methods of an interface, with the same arguments and results."""
        own = self.classes[kind].methods if kind in self.classes else {}
        return all(
            name in own and _signature(own[name]) == _signature(method)
            for name, method in self.classes[interface].methods.items()
        )


def _signature(method: ast.FunctionDef) -> tuple[str, ...]:
    """Types of a method's arguments but the first, and of its result; whether it has arguments of other kinds."""
    types = [item.annotation for item in method.args.args[1:]]
    shown = [ast.unparse(item) if item is not None else "Tensor" for item in types]
    return (*shown, ast.unparse(method.returns) if method.returns else "", str(len(method.args.kwonlyargs)))


def _parsed(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"its pickle names the type {text[:80]!r}, which is none") from error
