"""Bringing the index of a folder up to date: what is new or has changed is examined, by all processors."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from harness.caching import cache_folder, use_cached
from harness.errors import ConfigError, GauntletError, ScenarioError, WorkerError
from scenarios.fresh_processes import outcomes, processors
from scenarios.importers.files import companions, records_of, several
from scenarios.importers.layouts import SceneFound
from scenarios.indexing.facts import IndexRow, IndexTask, SceneFacts, error_row, examine_scene
from scenarios.indexing.table import IndexTable, Key, Place, Stored
from scenarios.map_sketch import Sketch
from scenarios.turns import Announcer, my_turn

LIMIT_S: Final = 120.0
"""Longest examination of one scene, s; the largest published ones take less than one."""
_FEW: Final = 64
"""So many scenes are begun in this process: starting others takes longer than most folders of this size."""
_PATIENCE_S: Final = 2.0
"""How long this process goes on alone, s."""
_HANDED_S: Final = 0.001
"""What it costs at least to hand a scene to another process, s. A sound one takes many times as long to examine."""
_BATCH: Final = 64
_STORE_S: Final = 1.0
"""Rows are stored when so many are there, or so much time has gone, s: no more is lost by a kill."""

_LOG = logging.getLogger(__name__)


class _Job(NamedTuple):
    """A scene to examine, with what its row will say of its file."""

    task: IndexTask
    file: bytes
    state: str
    records: int


class SceneIndex:
    """What is known of the scenes below a root."""

    def __init__(self, root: str | Path) -> None:
        """Name the index of a folder, or of one scene file; nothing is read."""
        self.root = str(root)
        name = hashlib.sha256(os.fsencode(os.path.realpath(self.root))).hexdigest()[:32]
        self.table = IndexTable(cache_folder("index") / f"{name}.sqlite")
        # What another look might find otherwise is kept as long as this object.
        self._passing: dict[Key, Stored] = {}

    def key(self, path: str, record: int = 0) -> Key:
        """What names a scene in the table: its path below the root, or the whole one of a file that lies elsewhere."""
        root = os.path.join(self.root, "")
        if path == self.root:
            name = os.path.basename(path)
        else:
            name = path.removeprefix(root) if path.startswith(root) else os.path.abspath(path)
        return os.fsencode(name), record

    def update(self, files: Sequence[SceneFound]) -> None:
        """Examine those of these files that are new or have changed.

        Indices that no command has used for long are removed when a new one is made.

        Raises:
            ConfigError: A format needs a package that is not installed.
        """
        if self.table.path is not None:
            use_cached(self.table.path, "same_map/*.json")
        if self._stale(files):
            with self._alone():
                # Another process may have done it meanwhile.
                if stale := self._stale(files):
                    self._examine(stale, self._known(files, stale))

    def keep(self, paths: Iterable[str]) -> None:
        """Forget all files but these."""
        self.table.keep({self.key(path)[0] for path in paths})

    def places(self, found: SceneFound) -> list[Place]:
        """The scenes of a file with several, which is up to date."""
        file, _ = self.key(found.path)
        places = {place.record: place for place in self.table.places(file)}
        for (own, record), (row, *_) in self._passing.items():
            if own == file:
                places[record] = Place(record, row.task.place, row.facts.scene_id, row.facts.error)
        return [places[record] for record in sorted(places)]

    def facts(self, tasks: Sequence[IndexTask]) -> Iterator[SceneFacts]:
        """What is known of scenes whose files are up to date."""
        found = self.table.facts(self.key(task.path, task.record) for task in tasks)
        for task, facts in zip(tasks, found, strict=True):
            yield facts or self._anew(task).facts

    def sketches(self, tasks: Sequence[IndexTask]) -> Iterator[Sketch]:
        """The maps of scenes whose files are up to date."""
        found = self.table.sketches(self.key(task.path, task.record) for task in tasks)
        for task, sketch in zip(tasks, found, strict=True):
            yield np.frombuffer(self._anew(task).sketch, dtype=np.uint64) if sketch is None else sketch

    def remembered(self, name: str, tasks: Sequence[IndexTask], make: Callable[[], list[int]]) -> list[int]:
        """Numbers that follow from the maps of scenes, one each, whose files are up to date; kept until one changes."""
        keys = list(self.table.sketch_keys(self.key(task.path, task.record) for task in tasks))
        if None in keys:
            return make()
        mark = hashlib.sha256(b"".join(key for key in keys if key is not None)).hexdigest()
        found = self.table.numbers(name, mark)
        if found is None or len(found) != len(tasks):
            found = make()
            self.table.keep_numbers(name, mark, found)
        return found

    def _anew(self, task: IndexTask) -> IndexRow:
        """The row of a scene that has none in the table: one that passes, or was removed by somebody meanwhile."""
        passing = self._passing.get(self.key(task.path, task.record))
        return examine_scene(task) if passing is None else passing.row

    def _stale(self, files: Sequence[SceneFound]) -> list[tuple[SceneFound, bytes, str]]:
        keys = [self.key(found.path)[0] for found in files]
        known = self.table.states(keys)
        known |= {file: stored.state for (file, _), stored in self._passing.items()}
        states = (file_state(found) for found in files)
        triples = zip(files, keys, states, strict=True)
        return [(found, file, state) for found, file, state in triples if known.get(file) != state]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from examining the same scenes at the same time; without a lock each does it."""
        lock = self.table.path
        with contextlib.ExitStack() as stack:
            try:
                if lock is not None:
                    where = lock.with_suffix(".lock")
                    stack.enter_context(my_turn(where, f"examines the scenes of {self.root}", _LOG.warning))
            except GauntletError as error:
                _LOG.info("no lock on the index: %s", error)
            yield

    def _known(self, files: Sequence[SceneFound], stale: Sequence[tuple[SceneFound, bytes, str]]) -> int:
        """Number of scenes in those of the files that are up to date."""
        new = {file for _, file, _ in stale}
        fresh = [found for found in files if self.key(found.path)[0] not in new]
        return sum(len(self.places(found)) if several(found.kind) else 1 for found in fresh)

    def _examine(self, stale: Sequence[tuple[SceneFound, bytes, str]], known: int) -> None:
        jobs = list(self._jobs(stale))
        by_task = {job.task: job for job in jobs}
        waiting: list[Stored] = []
        stored = time.monotonic()
        for done, row in enumerate(self._rows([job.task for job in jobs], known), 1):
            if row.missing:
                raise ConfigError(row.missing)
            job = by_task[row.task]
            made = Stored(row, job.file, job.state, job.records)
            if row.lasting:
                waiting.append(made)
            else:
                self._passing[job.file, row.task.record] = made
            if len(waiting) >= _BATCH or time.monotonic() - stored > _STORE_S or done == len(jobs):
                self.table.write(waiting)
                waiting, stored = [], time.monotonic()

    def _jobs(self, stale: Iterable[tuple[SceneFound, bytes, str]]) -> Iterator[_Job]:
        for found, file, state in stale:
            if not several(found.kind):
                yield _Job(IndexTask(found.path, found.kind), file, state, 1)
                continue
            try:
                places = records_of(Path(found.path))
            except ScenarioError as error:
                made = Stored(error_row(IndexTask(found.path, found.kind), error), file, state, 1)
                if made.row.lasting:
                    self.table.write([made])
                else:
                    self._passing[file, 0] = made
                continue
            there = self.table.records(file, state)
            for record, place in enumerate(places):
                if record not in there:
                    yield _Job(IndexTask(found.path, found.kind, record, place), file, state, len(places))

    def _rows(self, tasks: Sequence[IndexTask], known: int) -> Iterator[IndexRow]:
        """The rows of scenes as they are examined: a few here, many by processes of their own; `known` are others."""
        began, worked, here = time.monotonic(), time.thread_time(), 0
        for task in tasks:
            # Of many, those are done here that are refused faster than they could be handed over.
            slow = time.thread_time() - worked > (here + 1) * _HANDED_S
            if slow if len(tasks) > _FEW else time.monotonic() - began > _PATIENCE_S:
                break
            yield examine_scene(task)
            here += 1
        rest = tasks[here:]
        if not rest:
            return
        try:
            of = f" of {known + len(tasks)}" if known else ""
            announcer = Announcer("index", f"examining {{}}{of} scenes of {self.root}, once, until files change")
            announcer(0, len(tasks))
            for done, row in enumerate(_rows_of_others(rest), here + 1):
                yield row
                announcer(done, len(tasks))
        except (OSError, WorkerError) as error:
            # Results come in another order than tasks: what is done twice is only stored twice.
            _LOG.warning("examining scenes in this process, for no other can be started: %s", error)
            for task in rest:
                yield examine_scene(task)


def _rows_of_others(tasks: Sequence[IndexTask]) -> Iterator[IndexRow]:
    """The rows of scenes that other processes examine, as they come."""
    function = f"{examine_scene.__module__}:{examine_scene.__name__}"
    for task, row, failure in outcomes(function, tasks, min(processors(), len(tasks)), LIMIT_S):
        if failure:
            reason = f"{task.path}: reading it {failure}. Leave it out, or fetch it again."
            yield IndexRow(task, SceneFacts(error=reason), lasting=False)
        else:
            yield row


def file_state(found: SceneFound) -> str:
    """What changes when a file does, or one that belongs to it: sizes and times of change."""
    return "|".join(_stat(path) for path in (found.path, *companions(found.path, found.kind)))


def _stat(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return "missing"
    return f"{found.st_size} {found.st_mtime_ns}"
