"""Conditions under which a gate closes, such as `sage.crashed > .2` or `regressions > 0`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from harness.benchmarking.columns import COLUMNS, means_something
from harness.benchmarking.summary import Cell
from harness.errors import ConfigError, UnknownNameError
from scenarios.comparisons import COMPARE, ORDER, comparison, number

Edge = Literal["mean", "low", "high"]
"""Which number of an estimate: the mean, or an end of its 95 % interval."""

COUNTS: Final = ("regressions", "failing", "errors", "gone")
"""What is counted over all episodes: those that fail or break down and were expected to pass; those that fail; those
that broke down; those that were expected and are not there."""
_KEYS: Final = tuple(column.key for column in COLUMNS)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition.

    Attributes:
        text: As it was written.
        quantity: Key of a column, or one of `COUNTS`.
        sign: `>`, `>=`, `<` or `<=`.
        limit: What the quantity is compared with: shares from 0 to 1, everything else in the column's unit.
        where: The adversary, perhaps with a system and a slash before it; empty for counts.
        edge: Which number of the column's estimate.
    """

    text: str
    quantity: str
    sign: str
    limit: float
    where: str = ""
    edge: Edge = "mean"

    @classmethod
    def parse(cls, text: str) -> Condition:
        """From `[SYSTEM/]ADVERSARY.COLUMN[.low|.high] SIGN NUMBER`, or `COUNT SIGN NUMBER`.

        Raises:
            ConfigError: It has another form.
            UnknownNameError: There is no such column or count.
        """
        found = comparison(text, ORDER)
        limit = number(found.right) if found is not None else None
        if found is None or limit is None:
            what = "" if found is None else f"{found.right} is no number; "
            raise ConfigError(
                f"--fail-if {text!r}: {what}expected ADVERSARY.COLUMN > NUMBER (as in 'sage.crashed > .2'; also "
                f"<, >=, <=), or one of {', '.join(COUNTS)} in place of ADVERSARY.COLUMN."
            )
        left, sign = found.left, found.sign
        if left in COUNTS:
            return cls(text, left, sign, limit)
        edge: Edge = "mean"
        for name in ("low", "high"):
            if left.endswith(f".{name}"):
                left, edge = left.removesuffix(f".{name}"), name  # type: ignore[assignment]
        where, dot, key = left.rpartition(".")
        if not dot or not where:
            raise UnknownNameError("count of a gate", left, COUNTS)
        if key not in _KEYS:
            raise UnknownNameError("column of a gate", key, _KEYS)
        return cls(text, key, sign, limit, where, edge)

    def check(self, systems: Collection[str], adversaries: Collection[str]) -> None:
        """Refuse what names somebody who does not take part.

        Args:
            systems, adversaries: Labels; `none`, the undisturbed scene, is among the adversaries.

        Raises:
            UnknownNameError: Names who takes part.
            ConfigError: It asks for the success of nobody's attack.
        """
        known = [*adversaries, *(f"{system}/{name}" for system in systems for name in adversaries)]
        if self.where and self.where not in known:
            raise UnknownNameError("adversary (or system/adversary) of a gate", self.where, known)
        nobody = self.where.rpartition("/")[2]
        if not means_something(self.quantity, nobody):
            raise ConfigError(
                f"--fail-if {self.text!r}: nobody attacks in {nobody!r}, so there is no success. "
                f"{nobody}.success_geometry is how often the opponent is met there, {nobody}.crashed any vehicle."
            )

    def holds(self, value: float) -> bool:
        """Whether a value meets the condition, so that the gate closes; what is not known does."""
        return not value == value or COMPARE[self.sign](value, self.limit)


@dataclass(frozen=True, slots=True)
class ConditionFound:
    """A condition as it was found in one place.

    Attributes:
        condition: As it was written.
        place: System and adversary, or empty.
        value: What was measured; NaN where it is not known: no episode has the number, or a single scene no interval.
        closes: Whether the gate closes because of it.
    """

    condition: str
    place: str
    value: float
    closes: bool

    @property
    def said(self) -> str:
        """One line."""
        value = f"{self.value:.4g}" if self.value == self.value else "not known"
        verdict = "FAIL" if self.closes else "pass"
        return f"{verdict}: {self.condition}: {value}{f' ({self.place})' if self.place else ''}"


def judged(conditions: Iterable[Condition], cells: Sequence[Cell], counts: Mapping[str, int]) -> list[ConditionFound]:
    """What was found of every condition, in every place that it names.

    Args:
        conditions: Checked ones.
        cells: The cells of the benchmark.
        counts: By the names of `COUNTS`.
    """
    found = []
    for condition in conditions:
        if not condition.where:
            value = float(counts[condition.quantity])
            found.append(ConditionFound(condition.text, "", value, condition.holds(value)))
            continue
        for cell in cells:
            place = f"{cell.system.label}/{cell.adversary}"
            if condition.where in (cell.adversary, place):
                value = _value(cell, condition)
                found.append(ConditionFound(condition.text, place, value, condition.holds(value)))
    return found


def _value(cell: Cell, condition: Condition) -> float:
    estimate = cell.columns.get(condition.quantity)
    if estimate is None:
        return float("nan")
    return float(getattr(estimate.interval, condition.edge))
