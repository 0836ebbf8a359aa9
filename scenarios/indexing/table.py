"""The rows of an index in an SQLite file, one per scene. A damaged file is made anew.

Rows are data and nothing else: text, numbers and sketches, whose types are checked when they are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from scenarios.importers.tfrecord import RecordPlace
from scenarios.indexing.facts import RULES, IndexRow, SceneFacts
from scenarios.map_sketch import SKETCH_SIZE, Sketch
from scenarios.tagging.vocabulary import SceneTags

Value = TypeVar("Value")
Key = tuple[bytes, int]
"""A file below the root, and the number of a scene in it."""

SCHEMA: Final = 1
_BUSY_S: Final = 15.0
"""How long another process may hold the file, s; transactions take milliseconds."""
_AT_ONCE: Final = 256
"""Rows that are read together."""
_DAMAGED: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA}
)
"""The file is none of ours, or no longer whole: not what a full disk or missing rights lead to."""
_COLUMNS: Final = (
    "scene_id, rate, steps, agents, kinds, ego_path, ego_steps, static_ego, road_edges, opponent, opponent_fault, "
    "unfit, error, tags"
)
_TABLES: Final = f"""
CREATE TABLE scenes (
    file BLOB NOT NULL, record INTEGER NOT NULL, records INTEGER NOT NULL, state TEXT NOT NULL,
    offset INTEGER, length INTEGER, {_COLUMNS}, sketch BLOB NOT NULL, PRIMARY KEY (file, record)
) WITHOUT ROWID;
CREATE TABLE sketches (key BLOB PRIMARY KEY, hashes BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

_LOG = logging.getLogger(__name__)


class Stored(NamedTuple):
    """What is written of a scene: its row, its file below the root, and the file's state and number of scenes."""

    row: IndexRow
    file: bytes
    state: str
    records: int


class Place(NamedTuple):
    """A scene in a file with several: its number, where it lies, the id that it gives itself, and what is wrong."""

    record: int
    place: RecordPlace | None
    scene_id: str
    error: str


def rules() -> str:
    """What rows depend on besides the files: an index that was made by other rules is made anew."""
    try:
        version = metadata.version("gauntlet-drive")
    except metadata.PackageNotFoundError:
        version = ""
    return f"{SCHEMA} {RULES} {version}"


class IndexTable:
    """The rows of one folder.

    A connection lives as long as one operation: several processes may read and write, and none is carried into a fork.
    Where the file cannot be used, one line says why, and the rows are kept in memory.
    """

    def __init__(self, path: Path | None) -> None:
        """Name the file, whose folder is made; None for memory."""
        self.path = path
        self._memory: sqlite3.Connection | None = None

    def __getstate__(self) -> dict[str, object]:
        """Where the rows are, without a connection."""
        return {"path": self.path, "_memory": None}

    def states(self, files: Sequence[bytes]) -> dict[bytes, str]:
        """The state of each of these files of which every scene has a row."""
        text = "SELECT file, MIN(state), COUNT(*), MAX(records), MAX(state) FROM scenes"

        def work(base: sqlite3.Connection) -> dict[bytes, str]:
            if len(files) > _AT_ONCE:
                rows: Iterable[Any] = base.execute(f"{text} GROUP BY file")
            else:
                rows = [row for file in files for row in base.execute(f"{text} WHERE file = ?", (file,)) if row[0]]
            return {
                file: str(state) for file, state, count, records, last in rows if count == records and state == last
            }

        return self._do(work)

    def records(self, file: bytes, state: str) -> set[int]:
        """Which scenes of a file in this state have a row."""
        text = "SELECT record FROM scenes WHERE file = ? AND state = ?"
        return self._do(lambda base: {int(record) for (record,) in base.execute(text, (file, state))})

    def places(self, file: bytes) -> list[Place]:
        """The scenes of a file, in order."""
        text = "SELECT record, offset, length, scene_id, error FROM scenes WHERE file = ? ORDER BY record"

        def work(base: sqlite3.Connection) -> list[Place]:
            return [
                Place(
                    int(record), None if offset is None else RecordPlace(int(offset), int(length)), str(name), str(why)
                )
                for record, offset, length, name, why in base.execute(text, (file,))
            ]

        return self._do(work)

    def write(self, rows: Sequence[Stored]) -> None:
        """Store rows, all or none; those of the same files in another state go."""

        def work(base: sqlite3.Connection) -> None:
            with _transaction(base):
                for row, file, state, records in rows:
                    key = hashlib.blake2b(row.sketch, digest_size=16).digest()
                    base.execute("DELETE FROM scenes WHERE file = ? AND state != ?", (file, state))
                    base.execute("INSERT OR IGNORE INTO sketches VALUES (?, ?)", (key, row.sketch))
                    where = (file, row.task.record, records, state, *(row.task.place or (None, None)))
                    values = (*where, *_values(row.facts), key)
                    base.execute(f"INSERT OR REPLACE INTO scenes VALUES ({', '.join('?' * len(values))})", values)

        self._do(work)

    def keep(self, files: Collection[bytes]) -> None:
        """Forget the scenes of all other files."""

        def work(base: sqlite3.Connection) -> None:
            ((count,),) = base.execute("SELECT COUNT(DISTINCT file) FROM scenes")
            if count <= len(files):
                return  # Perhaps some are new instead: those that are gone then go with the next look.
            known = set(files)
            gone = [file for (file,) in base.execute("SELECT DISTINCT file FROM scenes") if file not in known]
            if gone:
                with _transaction(base):
                    base.executemany("DELETE FROM scenes WHERE file = ?", [(file,) for file in gone])
                    base.execute("DELETE FROM sketches WHERE key NOT IN (SELECT sketch FROM scenes)")

        self._do(work)

    def facts(self, keys: Iterable[Key]) -> Iterator[SceneFacts | None]:
        """What is known of each of these scenes; None where there is no row."""
        return self._rows(f"SELECT {_COLUMNS} FROM scenes WHERE file = ? AND record = ?", keys, _facts)

    def sketches(self, keys: Iterable[Key]) -> Iterator[Sketch | None]:
        """The map of each of these scenes; None where there is no row."""
        text = "SELECT hashes FROM scenes JOIN sketches ON key = sketch WHERE file = ? AND record = ?"
        return self._rows(text, keys, _sketch)

    def sketch_keys(self, keys: Iterable[Key]) -> Iterator[bytes | None]:
        """What tells the map of each of these scenes from other maps; None where there is no row."""
        return self._rows("SELECT sketch FROM scenes WHERE file = ? AND record = ?", keys, lambda row: bytes(row[0]))

    def numbers(self, name: str, mark: str) -> list[int] | None:
        """Numbers that were kept under a name, where they were made of what has this mark."""
        text = "SELECT value FROM about WHERE name = ?"

        def work(base: sqlite3.Connection) -> list[int] | None:
            row = base.execute(text, (name,)).fetchone()
            made_of, _, values = ("" if row is None else str(row[0])).partition(" ")
            return [int(value) for value in json.loads(values)] if made_of == mark else None

        return self._do(work)

    def keep_numbers(self, name: str, mark: str, numbers: Sequence[int]) -> None:
        """Keep numbers under a name, with the mark of what they are made of; others of the name go."""
        value = f"{mark} {json.dumps(list(numbers))}"
        self._do(lambda base: base.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value)))

    def _rows(self, text: str, keys: Iterable[Key], make: Callable[[tuple[Any, ...]], Value]) -> Iterator[Value | None]:
        waiting: list[Key] = []

        def work(base: sqlite3.Connection) -> list[Value | None]:
            found = (base.execute(text, key).fetchone() for key in waiting)
            return [None if row is None else make(row) for row in found]

        for key in keys:
            waiting.append(key)
            if len(waiting) == _AT_ONCE:
                yield from self._do(work)
                waiting = []
        yield from self._do(work)

    def _do(self, work: Callable[[sqlite3.Connection], Value]) -> Value:
        """Do something with a connection; after damage once more, with an empty file."""
        for attempt in range(2):
            if self.path is None:
                break
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.closing(sqlite3.connect(self.path, _BUSY_S, isolation_level=None)) as base:
                    _prepare(base)
                    return work(base)
            except (
                sqlite3.Error,
                ValueError,
                TypeError,
                LookupError,
                ArithmeticError,
                RecursionError,
                OSError,
            ) as error:
                if attempt or not _damaged(error):
                    self._give_up(error)
                else:
                    _LOG.info("the index %s is damaged (%s) and is made anew", self.path, error)
                    self._remove()
        if self._memory is None:
            self._memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            _prepare(self._memory)
        return work(self._memory)

    def _remove(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                os.unlink(f"{self.path}{suffix}")

    def _give_up(self, error: Exception) -> None:
        _LOG.warning(
            "the index of these scenes cannot be kept in %s (%s): every process makes its own, which takes time. "
            "Free some space there, or set GAUNTLET_CACHE to a folder that can be written.",
            self.path,
            error,
        )
        self.path = None


def _damaged(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) is None or error.sqlite_errorcode & 0xFF in _DAMAGED
    return not isinstance(error, OSError)


def _prepare(base: sqlite3.Connection) -> None:
    """Make the tables where there are none, or those of other rules."""
    if base.execute("SELECT 1 FROM sqlite_master WHERE type IN ('view', 'trigger')").fetchone():
        # Code of whoever made the file, which runs where a table is used, and may never end.
        raise sqlite3.DatabaseError("it holds views or triggers")
    mine = rules()
    if _made_by(base) == mine:
        return
    with _transaction(base):
        if _made_by(base) == mine:
            return  # Another process was faster.
        for name in ("scenes", "sketches", "about"):
            base.execute(f"DROP TABLE IF EXISTS {name}")
        for command in filter(str.strip, _TABLES.split(";")):
            base.execute(command)
        base.execute("INSERT INTO about VALUES ('rules', ?)", (mine,))


def _made_by(base: sqlite3.Connection) -> str | None:
    if not base.execute("SELECT 1 FROM sqlite_master WHERE name = 'about'").fetchone():
        return None
    row = base.execute("SELECT value FROM about WHERE name = 'rules'").fetchone()
    return None if row is None else row[0]


@contextlib.contextmanager
def _transaction(base: sqlite3.Connection) -> Iterator[None]:
    base.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if base.in_transaction:
            base.execute("ROLLBACK")
        raise
    base.execute("COMMIT")


def _values(facts: SceneFacts) -> tuple[object, ...]:
    """A row's columns; SQLite takes whole Unicode only."""
    values = (getattr(facts, name) for name in _COLUMNS.split(", "))
    values = (asdict(value) if isinstance(value, SceneTags) else value for value in values)
    return tuple(
        json.dumps(value) if isinstance(value, dict) else _text(value) if isinstance(value, str) else value
        for value in values
    )


def _tags(text: str) -> SceneTags:
    found = json.loads(text)
    values = {str(name): tuple(map(str, given)) for name, given in dict(found["values"]).items()}
    return SceneTags(values, {str(name): float(number) for name, number in dict(found["numbers"]).items()})


def _text(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode()


def _facts(row: tuple[Any, ...]) -> SceneFacts:
    name, rate, steps, agents, kinds, path, ego_steps, static, edges, opponent, fault, unfit, error, tags = row
    return SceneFacts(
        str(name),
        str(rate),
        int(steps),
        int(agents),
        {str(kind): int(count) for kind, count in dict(json.loads(kinds)).items()},
        float(path),
        int(ego_steps),
        bool(static),
        bool(edges),
        None if opponent is None else str(opponent),
        str(fault),
        None if unfit is None else str(unfit),
        str(error),
        _tags(tags),
    )


def _sketch(row: tuple[Any, ...]) -> Sketch:
    sketch = np.frombuffer(row[0], dtype=np.uint64)
    if len(sketch) > SKETCH_SIZE:
        raise ValueError(f"a sketch of {len(sketch)} values")
    return sketch
