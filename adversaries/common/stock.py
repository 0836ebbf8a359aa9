"""Candidates that depend on a scene and a setting only, whatever the ego drives: made once, then taken from stock."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

import adversaries
import harness.metrics
import scenarios
from adversaries.prior.cache import SceneCache
from harness import geometry
from harness.caching import ArrayFolder, Arrays, cache_folder
from harness.interfaces import STATE, AttackContext
from scenarios.digest import scene_digest
from scenarios.scenario import Scenario

Key = tuple[str | int | float, ...]

FOLDER: Final = "candidates"
"""Where they lie in the user's cache, at most `harness.caching.MAX_FOLDER` bytes."""

_DIGESTS: Final[SceneCache[str]] = SceneCache(1024)
"""Check sums of scenes take milliseconds: adversaries and intensities share them."""
MAKING: Final = threading.RLock()
"""Held while anything is made: networks, features and maps are shared, and none of them by itself between threads."""


class Stock:
    """Arrays that follow from a scene, its opponent and a key, in memory and, where wanted, on disk.

    An entry of 32 candidates over 91 steps takes 0.12 MB in either place. What is taken from stock equals what would be
    made, to the last bit; arrays are shared and therefore read-only. On disk an entry is found by what the scene holds
    (`contents`), the key, the maker, and the code and libraries that made it: any change misses. Threads may share a
    stock: entries are made one at a time. Processes may share the folder.

    Args:
        size: Entries in memory; the least recently used goes first.
        maker: Names whatever else the entries depend on: weights and options. None keeps nothing on disk.
    """

    def __init__(self, size: int, maker: Callable[[], str] | None = None) -> None:
        self._memory: SceneCache[Arrays] = SceneCache(size)
        self._maker = maker
        self._folder = None if maker is None else ArrayFolder(cache_folder(FOLDER))

    def get(
        self, context: AttackContext, key: Key, make: Callable[[], Arrays], *, version: int = 0, on_disk: bool = True
    ) -> Arrays:
        """The entry for a context's scene, opponent and step.

        Args:
            context: The attack; its ego trajectories, intensity and random generator must not matter.
            key: What the entry depends on besides: numbers and texts.
            make: Makes the entry: `states` [K, T, 5], `valid` [T], `size` [2], and other arrays [K].
            version: Changes whenever the maker does, in this process.
            on_disk: Whether this entry is worth a file: not one whose key will hardly come again.
        """
        with MAKING:
            full = (context.opponent, context.step, *key)
            return self._memory.get(
                context.scenario, (version, full), lambda: self._stored(context, full, make, on_disk)
            )

    def _stored(self, context: AttackContext, key: Key, make: Callable[[], Arrays], on_disk: bool) -> Arrays:
        if self._folder is None or self._maker is None or not on_disk:
            found = make()
        else:
            scene = context.scenario
            content = _DIGESTS.get(scene, "content", lambda: contents(scene))
            name = hashlib.sha256(json.dumps([content, key, self._maker(), code_digest()]).encode()).hexdigest()[:32]
            found = self._folder.get(name, make, lambda arrays: fits(arrays, scene.num_steps))
        for array in found.values():
            array.setflags(write=False)
        return found


def contents(scene: Scenario) -> str:
    """A check sum of all that candidates may depend on: `scene_digest`, lights, and single values of map features."""
    features = [
        {name: value for name, value in feature.extras.items() if isinstance(value, str | int | float | np.generic)}
        for feature in scene.features
    ]
    return scene_digest(scene, json.dumps([features, dict(scene.lights)], default=_plain))


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def fits(arrays: Arrays, steps: int) -> bool:
    """Whether arrays of a file have the shapes and kinds of an entry."""
    states = arrays.get("states")
    if states is None or states.ndim != 3 or states.shape[1:] != (steps, STATE):
        return False
    shapes: Mapping[str, tuple[int, ...]] = {"states": states.shape, "valid": (steps,), "size": (2,)}
    return {"valid", "size", "log_prob"} <= arrays.keys() and all(
        array.shape == shapes.get(name, (len(states),)) and array.dtype in (np.float64, np.bool_)
        for name, array in arrays.items()
    )


@lru_cache(maxsize=1)
def code_digest() -> str:
    """A check sum of everything but scenes and weights that decides the numbers: sources, libraries, instructions."""
    import scipy
    import shapely
    import torch

    digest = hashlib.sha256()
    versions = (np.__version__, scipy.__version__, shapely.__version__, torch.__version__)
    digest.update(json.dumps([*versions, torch.backends.cpu.get_cpu_capability()]).encode())
    folders = (Path(package.__path__[0]) for package in (adversaries, harness.metrics, scenarios))
    sources = [Path(geometry.__file__), *(path for folder in folders for path in sorted(folder.rglob("*.py")))]
    for path in sources:
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def entry(states: NDArray, valid: NDArray, log_prob: NDArray, size: tuple[float, float], **scores: NDArray) -> Arrays:
    """An entry of candidates: `states` [K, T, 5], `valid` [T], the box `size` (m), and per candidate [K] what else."""
    return {"states": states, "valid": valid, "log_prob": log_prob, "size": np.array(size), **scores}
