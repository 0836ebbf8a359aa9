"""Which scenes of a folder a user means: a split of it, and a selection within the split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harness.errors import ConfigError
from scenarios.scenario import ScenarioSource
from scenarios.sources import PROCEDURAL, open_source
from scenarios.splits import SPLITS, Subset
from scenarios.store import CACHE_SCENES

EXAMPLES = "`20` (the first 20), `10:20` (a range), `#3` (one), a scene's id, or several of these with commas"


def selected(text: str, ids: Sequence[str]) -> list[int]:
    """Indices of the scenes that a selection names, in its order.

    Args:
        text: A number n (the first n scenes, even where scenes have numbers for ids), or items with commas between:
            `A:B` (from A up to, not including, B; `A:` to the end), `#N` (one index), or an id.
        ids: Names of the scenes there are.

    Raises:
        ConfigError: An index beyond the scenes, an empty range, an unknown id, or an item that is none of these.
    """
    if text.strip().isdecimal() and int(text) > 0:
        return list(range(min(int(text), len(ids))))
    if text in ids:
        return [ids.index(text)]
    return [index for item in text.split(",") for index in _item(item.strip(), text, ids)]


def _item(item: str, text: str, ids: Sequence[str]) -> list[int]:
    if item in ids:
        return [ids.index(item)]
    if item.startswith("#") and item[1:].isdecimal():
        found = [int(item[1:])]
    elif ":" in item and all(part.isdecimal() or not part for part in item.split(":", 1)):
        first, _, last = item.partition(":")
        found = list(range(int(first or 0), int(last or len(ids))))
    else:
        hint = f" Write #{item} for one scene." if item.isdecimal() else ""
        raise ConfigError(f"scenes {text!r}: no scene {item!r} among {len(ids)}.{hint} Expected {EXAMPLES}.")
    if not found or max(found) >= len(ids):
        raise ConfigError(f"scenes {text!r}: {item!r} names no scene, or one beyond the {len(ids)} there are.")
    return found


def open_scenes(
    data: str,
    split: str | None = None,
    scenes: str | None = None,
    *,
    cache_scenes: int | None = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> ScenarioSource:
    """The scenes that the options `--data`, `--split` and `--scenes` name.

    Args:
        data: See `open_source`.
        split: `train`, `val`, `test`; None or `all` for every scene.
        scenes: See `selected`; None for all of the split.
        cache_scenes: Scenes kept in memory; by default `scenarios.store.CACHE_SCENES`.

        on_error: Raise at a bad scene, or leave it out.

    Raises:
        ConfigError: Unknown or empty split, or a selection that names no scene.
        ScenarioError: The data cannot be read.
    """
    kept = CACHE_SCENES if cache_scenes is None else cache_scenes
    # Of procedural scenes, no more are generated than are asked for.
    counted = data == PROCEDURAL and scenes is not None and scenes.strip().isdecimal() and int(scenes) > 0
    train, val, test = (int(scenes or 0) if counted and split == name else None for name in SPLITS)
    source = open_source(data, split, cache_scenes=kept, on_error=on_error, train=train, val=val, test=test)
    if scenes is None:
        return source
    chosen = selected(scenes, source.ids)
    return source if chosen == list(range(len(source))) else Subset(source, chosen)
