"""What the conformance checks share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConformanceError
from scenarios.scenario import Scenario

_ARRAYS: Final = ("kinds", "position", "heading", "velocity", "size", "valid")


class Checker:
    """Raises errors that name the component and the circumstances."""

    def __init__(self, component: str) -> None:
        """Name the component, such as `adversary 'cat'`."""
        self.component = component
        self.where = ""

    def fail(self, rule: str, found: str = "") -> NoReturn:
        """Report a broken rule."""
        place = f" ({self.where})" if self.where else ""
        raise ConformanceError(f"{self.component}{place}: {rule}" + (f"; found {found}" if found else "") + ".")

    def require(self, holds: object, rule: str, found: str = "") -> None:
        """Report `rule` as broken unless it holds."""
        if not bool(holds):
            self.fail(rule, found)

    def array(self, value: Any, shape: tuple[int, ...], kind: type, name: str) -> NDArray[np.generic]:
        """`value`, if it is an array of this shape whose dtype is a sub-type of `kind`."""
        self.require(isinstance(value, np.ndarray), f"{name} must be a numpy array", type(value).__name__)
        self.require(value.shape == shape, f"{name} must have shape {shape}", str(value.shape))
        self.require(np.issubdtype(value.dtype, kind), f"{name} must be of dtype {kind.__name__}", str(value.dtype))
        return value

    @contextmanager
    def untouched(self, what: str, *arrays: NDArray[np.generic]) -> Iterator[None]:
        """Require that the block changes none of the arrays."""
        before = [array.copy() for array in arrays]
        yield
        for old, new in zip(before, arrays, strict=True):
            self.require(np.array_equal(old, new, equal_nan=old.dtype.kind == "f"), f"it must not change {what}")

    @contextmanager
    def scene_untouched(self, scenario: Scenario) -> Iterator[None]:
        """Require that the block changes nothing in the scenario, not even whether its arrays are read-only."""
        arrays = [getattr(scenario, name) for name in _ARRAYS]
        points = [feature.points for feature in scenario.features]
        with self.untouched("the scenario", *arrays), self.untouched("the scenario's map", *points):
            yield
        for name in _ARRAYS:
            self.require(
                getattr(scenario, name) is arrays[_ARRAYS.index(name)] and not getattr(scenario, name).flags.writeable,
                f"it must leave the scenario's {name} in place and read-only",
            )

    @contextmanager
    def only_own_randomness(self) -> Iterator[None]:
        """Require that the block leaves numpy's global generator alone: results then depend on the given one only."""
        before = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 (this is the generator to be watched)
        yield
        after = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
        same = before["pos"] == after["pos"] and np.array_equal(before["key"], after["key"])
        self.require(same, "it must draw from the generator it is given, not from numpy's global one")


def require_name(checker: Checker, component: object) -> None:
    """Require a non-empty `name`."""
    name = getattr(component, "name", None)
    checker.require(isinstance(name, str) and name, "`name` must be a non-empty string", repr(name))
