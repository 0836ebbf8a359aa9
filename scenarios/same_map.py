"""Which scenes lie on the same map: windows of one drive must not be split between train and test."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Final

import numpy as np
import platformdirs
from numpy.typing import NDArray

from harness.errors import RunError
from harness.files import explained, read_json, write_text
from scenarios.scenario import Scenario, ScenarioSource

SKETCH_SIZE: Final = 256
SAME_MAP: Final = 0.2
"""Share of lane points in common from which two scenes lie on one map (WOMD: windows of one drive share all of
them, the next most similar pair of 400 scenes 1 %)."""
_VERSION: Final = 1

_LOG = logging.getLogger(__name__)


def map_groups(source: ScenarioSource) -> list[int]:
    """Group number of every scene; scenes that share a map share a group.

    Reads every scene once; for a folder the result is kept in the user's cache until a file changes.
    """
    cached = _cache_file(source)
    if cached is not None:
        found = _read(cached, len(source))
        if found is not None:
            return found
    groups = _group([map_sketch(source[index]) for index in range(len(source))])
    if cached is not None:
        _write(cached, groups)
    return groups


def _group(sketches: list[NDArray[np.uint64]]) -> list[int]:
    parent = list(range(len(sketches)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    # Only scenes with a point in common can share a map: an inverted index spares most pairs.
    places: dict[int, list[int]] = {}
    for index, sketch in enumerate(sketches):
        rivals = {other for value in sketch.tolist() for other in places.get(value, ())}
        for other in rivals:
            if root(other) != root(index) and similarity(sketch, sketches[other]) >= SAME_MAP:
                parent[root(index)] = root(other)
        for value in sketch.tolist():
            places.setdefault(value, []).append(index)
    return [root(index) for index in range(len(sketches))]


def map_sketch(scenario: Scenario) -> NDArray[np.uint64]:
    """The 256 smallest hashes of the scene's lane points (world frame, to 0.1 m): a sample for comparing maps."""
    lanes = [np.asarray(feature.points[:, :2], dtype=np.float64) for feature in scenario.features if feature.is_lane]
    if not lanes:
        return np.zeros(0, dtype=np.uint64)
    cells = np.round(np.concatenate(lanes) * 10.0).astype(np.int64).view(np.uint64)
    with np.errstate(over="ignore"):
        # Mixing constants of SplitMix64 (Steele, Lea & Flood 2014).
        value = cells[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ cells[:, 1]
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.unique(value ^ (value >> np.uint64(31)))[:SKETCH_SIZE]


def similarity(one: NDArray[np.uint64], two: NDArray[np.uint64]) -> float:
    """Estimated share of points in common (Jaccard index from bottom-k sketches)."""
    union = np.union1d(one, two)[:SKETCH_SIZE]
    return float(np.isin(union, one).__and__(np.isin(union, two)).mean()) if len(union) else 0.0


def _cache_file(source: ScenarioSource) -> Path | None:
    """Where the groups of this folder, in its present state, are kept; None for sources that are not folders."""
    paths = getattr(source, "paths", None)
    if not paths:
        return None
    mark = hashlib.sha256(f"{_VERSION}|{SKETCH_SIZE}|{SAME_MAP}".encode())
    for path in paths:
        state = path.stat()
        mark.update(f"|{path.resolve()}|{state.st_size}|{state.st_mtime_ns}".encode())
    root = os.environ.get("GAUNTLET_CACHE")
    base = Path(root).expanduser() if root else Path(platformdirs.user_cache_dir("gauntlet-drive"))
    return base / "same_map" / f"{mark.hexdigest()[:24]}.json"


def _read(path: Path, count: int) -> list[int] | None:
    try:
        groups = read_json(path)
    except RunError:
        return None
    usable = isinstance(groups, list) and len(groups) == count and all(isinstance(group, int) for group in groups)
    return groups if usable else None


def _write(path: Path, groups: list[int]) -> None:
    try:
        with explained(path.parent, "make"):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(groups))
    except RunError as error:
        # Only a convenience: the next run reads the scenes again.
        _LOG.info("cannot keep %s: %s", path, error)
