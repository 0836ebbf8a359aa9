"""One comparison as text, such as `speed > 10`: a name, a sign and a value."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
"""What the signs mean."""
ORDER: Final = (">=", "<=", ">", "<")
"""Signs that compare numbers alone."""
_NUMBER: Final = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


class WrittenComparison(NamedTuple):
    """A comparison as it was written.

    Attributes:
        left: What is compared.
        sign: One of `COMPARE`.
        right: With what.
    """

    left: str
    sign: str
    right: str


def comparison(text: str, signs: tuple[str, ...] = tuple(COMPARE)) -> WrittenComparison | None:
    """A text as a comparison, or None where it has another form; a value has no character of a sign.

    Args:
        text: The text.
        signs: Signs that may occur. Others are letters like any.
    """
    form = rf"(.*?)({'|'.join(signs)})([^{re.escape(''.join(signs))}]*)"
    match = re.fullmatch(form, text, re.DOTALL)
    left, sign, right = (part.strip() for part in match.groups()) if match else ("", "", "")
    return WrittenComparison(left, sign, right) if left and right else None


def number(text: str) -> float | None:
    """A text as a number, or None where it is none."""
    return float(text) if _NUMBER.fullmatch(text) else None
