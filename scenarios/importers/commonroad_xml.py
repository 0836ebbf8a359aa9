"""Reading CommonRoad's XML from strangers: no document types, no entities, bounds on size, depth and count.

The children of the root are handed out one by one and dropped afterwards, so that memory follows the largest of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError, XMLPullParser
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from harness.errors import ScenarioError
from harness.files import MEGABYTE, open_regular

MAX_BYTES: Final = 64 * MEGABYTE
"""Bytes of a file; a window of 16 s with 80 agents has two megabytes."""
MAX_DEPTH: Final = 32
"""Levels of elements; the schema has 9."""
MAX_ELEMENTS: Final = 2_000_000
"""Elements of a file: 12 for each state of an obstacle, 60,000 in such a window. A file of `MAX_BYTES` has as many."""
MAX_CHILDREN: Final = 100_000
"""Children of the root: lanelets, signs, lights and obstacles. Published files have some hundreds."""
MAX_GAP: Final = MEGABYTE
"""Bytes in which no element begins or ends: a text, comment or attribute. The parser reads one that has not ended again
with every chunk."""
MAX_NUMBER: Final = 1e8
"""A larger number is no length in metres, no speed and no time."""
_CHUNK: Final = 1 << 16


def children(path: str | Path) -> Iterator[Element]:
    """The root without its children, then these one by one; each may be used until the next is asked for.

    Raises:
        ScenarioError: The file cannot be read, is no well-formed XML, declares a document type or entities, or is
            larger or deeper than any CommonRoad scenario.
    """
    path = Path(path)
    try:
        with open_regular(path, MAX_BYTES, ScenarioError) as file:
            _refuse_declarations(path, file.read(_CHUNK))
            file.seek(0)
            parser: Any = XMLPullParser(events=("start", "end"))
            depth = count = parts = gap = 0
            root: Element | None = None
            while True:
                chunk = file.read(_CHUNK)
                parser.feed(chunk) if chunk else parser.close()
                gap += len(chunk)
                for event, element in parser.read_events():
                    gap = 0
                    if event == "start":
                        depth, count, parts = depth + 1, count + 1, parts + (depth == 1)
                        if depth > MAX_DEPTH or count > MAX_ELEMENTS or parts > MAX_CHILDREN:
                            raise ScenarioError(
                                f"{path}: more than {MAX_DEPTH} levels, {MAX_ELEMENTS:,} elements, or "
                                f"{MAX_CHILDREN:,} children of the root. Expected a CommonRoad scenario."
                            )
                        if root is None:
                            root = element
                            yield root
                        continue
                    depth -= 1
                    if depth == 1 and root is not None:
                        yield element
                        root.clear()
                if not chunk:
                    return
                if gap > MAX_GAP:
                    raise ScenarioError(
                        f"{path}: a text, comment or attribute of more than {MAX_GAP:,} bytes. "
                        "Expected a CommonRoad scenario."
                    )
    except (ParseError, OSError, ValueError, LookupError) as error:
        if isinstance(error, ScenarioError):
            raise
        raise ScenarioError(f"{path}: cannot be read as XML: {error}. Expected a CommonRoad scenario.") from error


def _refuse_declarations(path: Path, head: bytes) -> None:
    """Look at what stands before the root: only there a document type, and with it entities, can be declared."""

    def refuse(*_: object) -> None:
        raise ScenarioError(f"{path}: declares a document type, which CommonRoad scenarios never do. Remove it.")

    def stop(*_: object) -> None:
        raise StopIteration

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler, parser.StartElementHandler = refuse, stop
    try:
        parser.Parse(head, False)
    except StopIteration:
        return
    except expat.ExpatError as error:
        raise ScenarioError(f"{path}: cannot be read as XML: {error}. Expected a CommonRoad scenario.") from error
    raise ScenarioError(f"{path}: its first {_CHUNK} bytes hold no element. Expected a CommonRoad scenario.")


def number(element: Element, place: str) -> float:
    """A number below an element: `exact` or plain; the middle of an interval.

    Args:
        element: Where to begin.
        place: Path of tags from there.

    Raises:
        ScenarioError: It is missing, no number, not finite or beyond `MAX_NUMBER`.
    """
    found = element.find(place)
    if found is None:
        raise ScenarioError(f"{_name(element)}: {place} is missing.")
    ends = [found.find("intervalStart"), found.find("intervalEnd")]
    exact = found.find("exact")
    parts = [exact if exact is not None else found] if None in ends else ends
    values = [_float(part, element, place) for part in parts if part is not None]
    return sum(values) / len(values)


def step(element: Element) -> int:
    """The time step of a state.

    Raises:
        ScenarioError: It is missing or no whole number.
    """
    value = number(element, "time")
    if value != int(value):
        raise ScenarioError(f"{_name(element)}: time is {value} instead of a whole number of steps.")
    return int(value)


def points(element: Element | None, what: str) -> NDArray[np.float64]:
    """The `point` children of an element as [N, 3], m; heights are 0 where the file has none.

    Raises:
        ScenarioError: There is no such element, or a coordinate is missing or no number.
    """
    if element is None:
        raise ScenarioError(f"{what} is missing.")
    rows = [
        (number(point, "x"), number(point, "y"), 0.0 if point.find("z") is None else number(point, "z"))
        for point in element.iterfind("point")
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def references(element: Element, tag: str) -> list[str]:
    """What the children of one tag refer to."""
    return [child.get("ref", "") for child in element.iterfind(tag)]


def texts(element: Element, tag: str) -> list[str]:
    """Texts of the children of one tag."""
    return [(child.text or "").strip() for child in element.iterfind(tag)]


def _float(part: Element, element: Element, place: str) -> float:
    text = (part.text or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= MAX_NUMBER:
        raise ScenarioError(f"{_name(element)}: {place} is {text[:40]!r} instead of a number below {MAX_NUMBER:.0e}.")
    return value


def _name(element: Element) -> str:
    return f"{element.tag} {element.get('id')!r}" if element.get("id") else element.tag
