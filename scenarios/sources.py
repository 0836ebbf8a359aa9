"""`open_source`: from what a user types to a `ScenarioSource`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal, TypedDict

from harness.errors import ConfigError, ScenarioError
from scenarios.scenario import ScenarioSource
from scenarios.splits import SPLIT_FILE, SPLITS, Ratios, SplitPart, Subset, split_indices
from scenarios.store import CACHE_SCENES, ScenarioStore
from scenarios.validate import Needs

PROCEDURAL: Final = "procedural"
DEFAULT_COUNTS: Final = {"train": 200, "val": 0, "test": 50}
"""Procedural scenes that are generated where the caller does not say how many."""
DEFAULT_VAL: Final = 40
"""Validation scenes that are generated where the caller asks for that split by name."""


def open_source(
    data: str | Path,
    split: str | None = None,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    cache_scenes: int = CACHE_SCENES,
    needs: Needs | None = None,
    split_file: str | Path | None = None,
    ratios: Ratios | None = None,
    train: int | None = None,
    val: int | None = None,
    test: int | None = None,
    workers: int | None = None,
) -> ScenarioSource:
    """Open a folder of scenes, one scene file, or this user's procedural scenes (generated first if missing).

    Args:
        data: A folder of scene files in any format, or in the layout of a data set (`scenarios.importers.layouts`); one
            scene file; or `procedural`.
        split: `train`, `val`, `test`, or None / `all` for every scene. See `scenarios.splits` for what is in which.
        on_error: Raise at a bad scene, or leave it out (`.rejected` of the store lists it).
        cache_scenes: Scenes kept in memory.
        needs: What every scene must have.
        split_file: JSON with the splits.
        ratios: Shares of the splits where nothing else says.
        train, val, test: Procedural only: scenes per split; fewer than the cache holds means the first ones.
            Default: at least 200, 0 (40 for `split="val"`) and 50, and whatever else the cache holds.
        workers: Procedural only: processes that generate.

    Raises:
        ScenarioError: No such folder, no scenes in it, or a broken file.
        ConfigError: Unknown or empty split.
    """
    if not isinstance(split, str | None):
        raise ConfigError(f"split is {split!r:.80}; expected one of {', '.join(SPLITS)}, all.")
    split = None if split == "all" else split
    options: _Options = {"on_error": on_error, "cache_scenes": cache_scenes, "needs": needs}
    if split is not None and split not in SPLITS:
        raise ConfigError(f"unknown split {split!r:.80}. Known: {', '.join(SPLITS)}, all.")
    if str(data) == PROCEDURAL:
        counts = {"train": train, "val": val, "test": test}
        return _procedural(split, counts, options, workers)
    # Absolute: a policy of the user's own may change the working directory.
    folder = Path(data).expanduser().absolute()
    try:
        os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        pass  # The store says so.
    except (OSError, ValueError) as error:
        raise ScenarioError(f"{data!s:.200}: cannot be looked up ({error!s:.50}). Give an existing folder.") from error
    if split is None:
        return ScenarioStore(folder, **options)
    by_file = split_file is not None or (folder / SPLIT_FILE).is_file()
    # Where folders are named like splits, the others are not even looked into.
    store = ScenarioStore(folder, part=None if by_file else split, **options)
    if not by_file and any(store.given_splits):
        return store
    return SplitPart(store, split_indices(store, split, split_file=split_file, ratios=ratios), split)


def open_part(text: str) -> ScenarioSource:
    """Open `DATA@SPLIT`, or all of `DATA`; errors as of `open_source`."""
    data, _, split = text.partition("@")
    return open_source(data, split or None, cache_scenes=0)


class _Options(TypedDict):
    """What `ScenarioStore` takes besides the folder."""

    on_error: Literal["raise", "skip"]
    cache_scenes: int
    needs: Needs | None


def _procedural(
    split: str | None,
    counts: dict[str, int | None],
    options: _Options,
    workers: int | None,
) -> ScenarioSource:
    from scenarios import procedural  # Imported here: the generator is heavy, and folders do not need it.

    wanted = {name: DEFAULT_COUNTS[name] if count is None else count for name, count in counts.items()}
    if split is not None:
        wanted = {name: count if name == split else counts[name] or 0 for name, count in wanted.items()}
        if split == "val" and counts["val"] is None:
            wanted["val"] = DEFAULT_VAL
        if wanted[split] == 0:
            raise ConfigError(f"no procedural scenes of split {split!r} are asked for; give {split}=N.")
    folder = procedural.ensure(wanted["train"], wanted["test"], wanted["val"], workers=workers)
    store = ScenarioStore(folder, **options)
    chosen: list[int] = []
    for name in SPLITS if split is None else (split,):
        if not any(f"pg-{name}-" in scene for scene in store.ids):
            continue
        indices = split_indices(store, name)
        chosen += indices if counts[name] is None else indices[: counts[name]]
    return Subset(store, sorted(chosen))
