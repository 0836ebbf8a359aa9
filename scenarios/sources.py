"""`open_source`: from what a user types to a `ScenarioSource`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from harness.errors import ConfigError, ScenarioError
from scenarios.importers.files import holds_importable
from scenarios.importers.layouts import KINDS, SUMMARY
from scenarios.scenario import ScenarioSource
from scenarios.splits import SPLITS, Concat, Ratios, Subset, split_indices
from scenarios.store import CACHE_SCENES, ImportedFolder, ImportedStore, ScenarioStore
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
        data: A folder of ScenarioDescription pickles, or of files that `scenarios.importers` reads (WOMD TFRecords,
            GPUDrive JSON, Argoverse 2), or of sub-folders `train`, `val`, `test` of either; one such file; or
            `procedural`. A folder with pickles counts as pickles.
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
    split = None if split == "all" else split
    if split is not None and split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}. Known: {', '.join(SPLITS)}, all.")
    if str(data) == PROCEDURAL:
        counts = {"train": train, "val": val, "test": test}
        return _procedural(split, counts, on_error, cache_scenes, needs, workers)
    folder = Path(data).expanduser()
    if not folder.exists():
        raise ScenarioError(f"{folder}: no such folder or file. Give {KINDS}, a folder of them, or 'procedural'.")
    parts = _subfolders(folder) if split_file is None else {}
    if parts:
        if split is not None and split not in parts:
            raise ConfigError(f"{folder} has no sub-folder {split!r}, only {', '.join(parts)}.")
        names = [split] if split is not None else list(parts)
        stores = [_store(parts[name], on_error, cache_scenes, needs) for name in names]
        return stores[0] if len(stores) == 1 else Concat(stores)
    store = _store(folder, on_error, cache_scenes, needs)
    if split is None:
        return store
    return Subset(store, split_indices(store, split, split_file=split_file, ratios=ratios))


def _store(
    path: Path, on_error: Literal["raise", "skip"], cache_scenes: int, needs: Needs | None
) -> ScenarioStore | ImportedStore:
    """The scenes of one file, or of one folder without sub-folders."""
    if path.is_file():
        return ImportedStore([path], on_error=on_error, cache_scenes=cache_scenes, needs=needs)
    if _holds_pickles(path) or not holds_importable(path):
        return ScenarioStore(path, on_error=on_error, cache_scenes=cache_scenes, needs=needs)
    return ImportedFolder(path, on_error=on_error, cache_scenes=cache_scenes, needs=needs)


def _procedural(
    split: str | None,
    counts: dict[str, int | None],
    on_error: Literal["raise", "skip"],
    cache_scenes: int,
    needs: Needs | None,
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
    store = ScenarioStore(folder, on_error=on_error, cache_scenes=cache_scenes, needs=needs)
    chosen: list[int] = []
    for name in SPLITS if split is None else (split,):
        if not any(f"pg-{name}-" in scene for scene in store.ids):
            continue
        indices = split_indices(store, name)
        chosen += indices if counts[name] is None else indices[: counts[name]]
    return Subset(store, sorted(chosen))


def _subfolders(folder: Path) -> dict[str, Path]:
    """Sub-folders named like splits that hold scenes, where the folder itself holds none."""
    if folder.is_file() or _holds_pickles(folder) or holds_importable(folder):
        return {}
    parts = {name: folder / name for name in SPLITS if (folder / name).is_dir()}
    return {name: part for name, part in parts.items() if _holds_pickles(part) or holds_importable(part)}


def _holds_pickles(folder: Path) -> bool:
    return (folder / SUMMARY).exists() or any(folder.glob("*.pkl"))
