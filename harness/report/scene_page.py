"""One page about a folder of scenes: what it holds, what is unfit and why, and a small picture of each scene."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from harness.drawing.thumbnails import as_png, thumbnail
from harness.errors import GauntletError, one_line
from harness.report.html.safety import write_page
from scenarios.listing import SceneRow
from scenarios.scenario import ScenarioSource
from scenarios.tagging.vocabulary import ALL_VALUES, tag_pairs

Watch = Callable[[Sequence[SceneRow]], Iterable[SceneRow]]
"""Passes rows on, and may count them for whoever waits."""
NO_SPLIT: Final = "in no split"


def write_scene_page(
    path: Path, rows: Sequence[SceneRow], source: ScenarioSource, title: str, pictures: int, watch: Watch = iter
) -> None:
    """Write the page: it needs no network and no other file, and what strangers named is shown as text only.

    Args:
        path: File to write.
        rows: The scenes that are shown.
        source: Where their pictures come from.
        title: What the scenes are.
        pictures: How many scenes get a picture: the first so many.
        watch: Sees the scenes go by.

    Raises:
        RunError: The page cannot be written.
    """
    write_page(
        path,
        "scenes.html.j2",
        ("page.css", "scenes.css"),
        ("scenes.js",),
        title=title,
        facts=facts_of(rows),
        splits=sorted({row.split or NO_SPLIT for row in rows}),
        tags=_tags(rows),
        reasons=Counter(row.left_out for row in rows if row.left_out).most_common(),
        cards=_cards(rows, source, pictures, watch),
        no_split=NO_SPLIT,
    )


def facts_of(rows: Sequence[SceneRow]) -> list[tuple[str, str]]:
    """What the scenes have in common, as names and values."""
    fit = sum(not row.left_out for row in rows)
    splits = Counter(row.split or NO_SPLIT for row in rows)
    found = [
        ("scenes", str(len(rows))),
        *((name, str(splits[name])) for name in ("train", "val", "test", NO_SPLIT) if splits[name]),
        ("fit for attacks", str(fit)),
    ]
    for name, key, unit in (("steps", "steps", ""), ("agents", "agents", ""), ("ego's path", "ego_path", " m")):
        values = [float(getattr(row, key)) for row in rows if getattr(row, key)]
        if values and min(values) == max(values):
            found.append((name, f"{values[0]:.0f}{unit}"))
        elif values:
            found.append((name, f"{min(values):.0f} to {max(values):.0f}{unit}, median {median(values):.0f}{unit}"))
    return found


def _tags(rows: Sequence[SceneRow]) -> list[str]:
    """The tags that occur, as `--where` takes them, in the order of the vocabulary."""
    found = {pair for row in rows for pair in tag_pairs(row.tags)}
    return ["=".join(pair) for pair in ALL_VALUES if pair in found]


def _cards(
    rows: Sequence[SceneRow], source: ScenarioSource, pictures: int, watch: Watch
) -> Iterator[Mapping[str, object]]:
    indices = {name: index for index, name in enumerate(source.ids)}
    for number, row in enumerate(watch(rows)):
        picture, error = "", ""
        # What cannot be read has no steps, and says why.
        if number < pictures and row.steps:
            try:
                picture = base64.b64encode(as_png(thumbnail(source[indices[row.scene]]))).decode()
            except GauntletError as failure:
                error = one_line(str(failure))
        tags = ["=".join(pair) for pair in tag_pairs(row.tags)]
        yield {"row": row, "picture": picture, "error": error, "tags": tags}
