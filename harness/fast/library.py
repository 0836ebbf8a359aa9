"""Packed scenes of a source: packed by processes of their own, kept in the user's cache, read back in milliseconds.

A packed scene is kept under a name that follows from what the scene holds, the options, and the code and versions of
what packs it. Where the scene comes from a file, that name is noted under what is known of the file, so that the file
need not be read again. What is damaged is made anew.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from harness.caching import ArrayFolder, Arrays, cache_folder, use_cached
from harness.errors import GauntletError, RunError, ScenarioError, told
from harness.fast.lanes import Lanes, are_sound, drivers_of
from harness.fast.made_for import LOGGED, check_metadrive, installed
from harness.fast.scenes import PackedScenes, Scenes, is_sound, joined
from harness.files import MEGABYTE, read_bounded, write_text
from harness.traffic.lane_paths import LaneIDMConfig
from scenarios.digest import scene_digest
from scenarios.fresh_processes import outcomes, processors
from scenarios.importing import Watch
from scenarios.indexing.facts import states_of
from scenarios.scenario import Scenario, ScenarioSource
from scenarios.selection import LeftOut
from scenarios.splits import Subset

CODE: Final = ("engine/*.py", "fast/packing*.py", "fast/scenes.py", "fast/lanes.py", "traffic/lane_*.py")
"""Sources, below `harness/`, that decide what a pack holds."""
LIMIT_S: Final = 300.0
"""Longest time to pack one scene, s; the largest published ones take a few."""
_FEW: Final = 12
"""So many scenes are packed here: another process takes longer to start."""
_LARGEST: Final = 500 * MEGABYTE
"""Bytes of a packed scene; one of WOMD has half a million."""
_ORIGIN: Final = "origin"
_LANES: Final = "lanes."

_LOG = logging.getLogger(__name__)


class PackTask(NamedTuple):
    """One scene to pack.

    Attributes:
        number: Index in the source.
        scenario: The scene.
        static_vehicles: Whether vehicles that never move are present.
        drivers: Who drives along the lanes, or None.
        folder, name: Where the pack is kept.
    """

    number: int
    scenario: Scenario
    static_vehicles: bool
    drivers: LaneIDMConfig | None
    folder: Path
    name: str


def packed_scenes(
    source: ScenarioSource,
    *,
    static_vehicles: bool = False,
    traffic: str = LOGGED,
    workers: int | None = None,
    watch: Watch = iter,
    left_out: list[LeftOut] | None = None,
) -> PackedScenes:
    """All scenes of a source as the fast engine plays them.

    Args:
        source: Where the scenes come from.
        static_vehicles: Whether vehicles that never move are present.
        traffic: What is to move the background, as of `EngineConfig.traffic`.
        workers: Processes that pack what is not in the cache; by default one per core, or this one where that takes
            no longer.
        watch: Sees their indices go by.
        left_out: Takes scenes that cannot be read or simulated, which are then missing; by default one raises.

    Raises:
        ScenarioError: A scene cannot be read or simulated, or none of them can.
        ConfigError: There are no scenes, or the fast engine was made for another MetaDrive, or does not play this
            traffic.
    """
    check_metadrive()
    drivers = drivers_of(traffic)
    with _cache() as folder:
        packer = _Packer(source, folder, static_vehicles, drivers, left_out)
        missing = packer.missing(watch)
        first = list(itertools.islice(missing, _FEW + 1))
        if workers is None and len(first) <= _FEW and not (first and _engine_taken()):
            for task in first:
                packer.take(task, pack_task(task))
        elif first:
            function, tasks = f"{pack_task.__module__}:{pack_task.__name__}", itertools.chain(first, missing)
            for task, answer, failure in outcomes(function, tasks, workers or processors(), LIMIT_S, ahead=1):
                packer.take(task, f"packing it {failure}" if failure else answer)
        return packer.all()


def _engine_taken() -> bool:
    """Whether this process has a MetaDrive engine, beside which nothing can be packed."""
    # Imported here: it takes a second, which a full cache saves.
    from harness.engine.headless import engine_taken

    return engine_taken()


def playable_scenes(
    source: ScenarioSource, *, traffic: str = LOGGED, watch: Watch = iter, left_out: list[LeftOut] | None
) -> tuple[PackedScenes, ScenarioSource]:
    """The scenes of a source as the fast engine plays them, and the source of those that it can play.

    Args:
        source: Where the scenes come from; their ids differ.
        traffic: What is to move the background.
        watch: Sees their indices go by.
        left_out: Takes scenes that cannot be read or simulated; None: one raises.

    Raises:
        ScenarioError: A scene cannot be read or simulated, or none of them can.
        ConfigError: There are no scenes, or the fast engine was made for another MetaDrive.
    """
    packed = packed_scenes(source, traffic=traffic, watch=watch, left_out=left_out)
    if packed.ids == tuple(source.ids):
        return packed, source
    place = {name: index for index, name in enumerate(source.ids)}
    return packed, Subset(source, [place[name] for name in packed.ids])


@contextlib.contextmanager
def _cache() -> Iterator[Path]:
    """The folder of packed scenes; one that is removed afterwards where the user's cache cannot be written."""
    folder = cache_folder("packed")
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if os.access(folder, os.W_OK):
        yield folder
        return
    _LOG.warning("%s cannot be written: scenes are packed anew each time", folder)
    with tempfile.TemporaryDirectory() as passing:
        yield Path(passing)


def pack_task(task: PackTask) -> str:
    """Pack a scene into its file; returns why it cannot be simulated, or an empty text.

    The pack is not returned, because pipes hold little.
    """
    # Imported here, in processes of their own: it brings the simulator with it.
    from harness.fast.packing import pack_scenario

    try:
        packed = pack_scenario(task.scenario, static_vehicles=task.static_vehicles, drivers=task.drivers)
    except GauntletError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 (whatever is wrong with one scene is no matter of the others)
        return told(error)
    arrays = {**packed.scenes._asdict(), _ORIGIN: packed.origins[0]}
    if packed.lanes is not None:
        arrays |= {_LANES + name: array for name, array in packed.lanes._asdict().items()}
    ArrayFolder(task.folder, largest=_LARGEST).get(task.name, lambda: arrays, lambda found: False)
    return ""


@functools.cache
def _code_digest() -> str:
    """A check sum of the sources that decide what a pack holds."""
    root, found = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(path for pattern in CODE for path in root.glob(pattern)):
        found.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _fits(arrays: Arrays) -> bool:
    """Whether arrays of a file are a pack that kernels can read."""
    origin = arrays.get(_ORIGIN)
    if origin is None or origin.shape != (2,) or origin.dtype != np.float64:
        return False
    named, lanes = _parts(arrays)
    if set(named) != set(Scenes._fields) or not is_sound(Scenes(**named)):
        return False
    return not lanes or (set(lanes) == set(Lanes._fields) and are_sound(Lanes(**lanes), len(named["tracks"])))


def _parts(arrays: Arrays) -> tuple[Arrays, Arrays]:
    """Arrays of `Scenes` and of `Lanes`, by name; the latter may be none."""
    lanes = {name.removeprefix(_LANES): array for name, array in arrays.items() if name.startswith(_LANES)}
    own = {name: array for name, array in arrays.items() if name != _ORIGIN and not name.startswith(_LANES)}
    return own, lanes


class _Packer:
    """What is there, and what is not, of one source."""

    def __init__(
        self,
        source: ScenarioSource,
        folder: Path,
        static_vehicles: bool,
        drivers: LaneIDMConfig | None,
        left_out: list[LeftOut] | None,
    ) -> None:
        self._source, self._folder, self._static, self._left_out = source, folder, static_vehicles, left_out
        self._drivers = drivers
        self._packs = ArrayFolder(folder, largest=_LARGEST)
        self._made_with = (_code_digest(), static_vehicles, *installed(), *([] if drivers is None else [repr(drivers)]))
        self._states = list(states_of(source, range(len(source))))
        self._found: dict[int, PackedScenes] = {}

    def missing(self, watch: Watch) -> Iterator[PackTask]:
        """Scenes to pack; the others are taken from the cache."""
        use_cached(self._folder / "new.note")
        for index in watch(range(len(self._source))):
            noted = self._noted(index)
            packed = None if noted is None else self._read(index, noted)
            if packed is None:
                try:
                    scenario = self._source[index]
                except ScenarioError as error:
                    self._refuse(index, str(error))
                    continue
                name = scene_digest(scenario, *self._made_with)
                packed = self._read(index, name)
                if packed is None:
                    yield PackTask(index, scenario, self._static, self._drivers, self._folder, name)
                if name != noted:
                    self._note(index, name)
            if packed is not None:
                self._found[index] = packed

    def take(self, task: PackTask, reason: str) -> None:
        """Take what a process made of a scene; `reason` says why it cannot be simulated, if so."""
        packed = None if reason else self._read(task.number, task.name)
        if reason:
            self._refuse(task.number, reason)
        elif packed is None:
            raise RunError(f"the packed scene {task.scenario.id} cannot be kept in {self._folder}. Free some space.")
        else:
            self._found[task.number] = packed

    def all(self) -> PackedScenes:
        """The packs of all scenes, in their order."""
        if not self._found and self._left_out:
            raise ScenarioError(f"none of {len(self._source)} scenes can be simulated. {self._left_out[0].reason}")
        return joined([self._found[index] for index in sorted(self._found)])

    def _refuse(self, index: int, reason: str) -> None:
        name = self._source.ids[index]
        if self._left_out is None:
            raise ScenarioError(reason if name in reason else f"{name}: it cannot be simulated ({reason}).")
        _LOG.warning("left out %s: %s", name, reason)
        self._left_out.append(LeftOut(name, reason))

    def _read(self, index: int, name: str) -> PackedScenes | None:
        """The pack of this name, or None where there is none, or a damaged one."""
        try:
            arrays = self._packs.get(name, _raise_missing, _fits)
        except KeyError:
            return None
        own, lanes = _parts(arrays)
        if bool(lanes) != (self._drivers is not None):
            return None
        origin, ways = arrays[_ORIGIN], Lanes(**lanes) if lanes else None
        return PackedScenes((self._source.ids[index],), origin[None], Scenes(**own), self._static, ways, self._drivers)

    def _place(self, index: int) -> Path | None:
        """Where the name of a scene's pack is noted; None where nothing is known of its file."""
        if not self._states[index]:
            return None
        text = "\n".join(map(str, (*self._made_with, self._states[index])))
        name = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()
        return self._folder / f"{name}.note"

    def _noted(self, index: int) -> str | None:
        place = self._place(index)
        if place is None or not place.exists():
            return None
        use_cached(place)
        try:
            text = read_bounded(place, 100).decode()
        except (RunError, UnicodeDecodeError):
            return None
        return text if text.isalnum() else None

    def _note(self, index: int, name: str) -> None:
        place = self._place(index)
        if place is not None:
            with contextlib.suppress(RunError):
                write_text(place, name)


def _raise_missing() -> Arrays:
    raise KeyError("it is not there")
