"""Files that exist whole or not at all, and strangers' files read within bounds, with errors that say what to do.

What is written is written beside and renamed. What is read is a regular file of at most a stated size: no pipe, no
device, nothing that unpacks to more than it may.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from harness.errors import GauntletError, RunError

MEGABYTE: Final = 1_000_000
MAX_JSON: Final = 100 * MEGABYTE
"""Bytes of a JSON file. The largest scenes that are published as JSON have about 25 MB."""
MAX_VALUES: Final = 10_000_000
"""Values of a JSON file. A scene of 25 MB has 2.8 million; empty lists need 3 bytes each there, and 64 in memory."""
MAX_ARRAYS: Final = 2_000 * MEGABYTE
"""Bytes of all arrays of an npz together, unpacked."""
MAX_DEPTH: Final = 100
"""Most lists and dictionaries within one another in JSON: what is written here has about ten."""
MAX_NAME: Final = 180
"""Bytes of a part of a path that is made of a text. File systems take 255, and suffixes come behind."""
MAX_CODED: Final = 230
"""Bytes of such a part that stands alone, but for `.npz` and what `write_atomically` puts around it."""
_MEMBERS: Final = 10_000
"""Most members of an archive: an npz that is written here has fewer than a hundred, a network a few per layer."""
_HEADER: Final = 12_000
"""Bytes at the begin of an array that hold its header; numpy refuses longer ones."""

JsonDict = dict[str, Any]
"""A JSON object: what it holds is nested, and checked by whoever reads it."""
Json = Mapping[str, Any]
"""A JSON object that is only read."""


@contextlib.contextmanager
def explained(path: Path, doing: str) -> Iterator[None]:
    """Turn an `OSError` into a `RunError` that says what to do."""
    try:
        yield
    except OSError as error:
        denied = "You may not write there: choose another folder, or change its permissions"
        remedies = {
            errno.ENOSPC: "The disk is full: free some space",
            errno.EDQUOT: "Your disk quota is used up: free some space",
            errno.EFBIG: "The system allows no larger file (ulimit -f): raise that limit",
            **dict.fromkeys((errno.EACCES, errno.EPERM), denied),
            errno.EROFS: "That file system is read-only: choose another folder",
            errno.ENOTDIR: "A part of that path is a file: choose another folder",
        }
        remedy = remedies.get(error.errno or 0, "Choose another folder")
        raise RunError(
            f"cannot {doing} {path}: {error.strerror or error}. {remedy}; what was written before is intact."
        ) from error


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, then rename it into place.

    Libraries that write by themselves tell of a full disk in errors of their own (safetensors, PyTorch).

    Raises:
        RunError: The folder cannot be written, or the disk is full.
    """
    # The suffix stays last, because writers such as matplotlib and numpy go by it.
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    with explained(path, "write"):
        try:
            write(beside)
            with open(beside, "rb") as file:
                os.fsync(file.fileno())
            os.replace(beside, path)
        except GauntletError:
            raise
        except (RuntimeError, SafetensorError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise RunError(
                f"cannot write {path}: {reason}. Free some space, or choose another folder; what was written before is "
                "intact."
            ) from error
        finally:
            beside.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically (NaN as null, which every reader understands)."""
    write_text(path, json.dumps(plain(value), indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text atomically, as UTF-8.

    Raises:
        RunError: It cannot be written.
    """
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes atomically.

    Raises:
        RunError: They cannot be written.
    """
    write_atomically(path, lambda beside: beside.write_bytes(data))


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]], *, packed: bool = True) -> None:
    """Write an npz atomically, compressed where it is `packed`.

    Raises:
        RunError: It cannot be written.
    """
    save = np.savez_compressed if packed else np.savez

    def write(beside: Path) -> None:
        # An open file, because numpy appends a suffix to names that it does not like.
        with beside.open("wb") as file:
            save(file, allow_pickle=False, **arrays)

    write_atomically(path, write)


def open_regular(path: Path, limit: float = math.inf, error: type[GauntletError] = RunError) -> BinaryIO:
    """Open a regular file for reading, as bytes; symbolic links are followed to one.

    Args:
        path: Where.
        limit: Most bytes that it may have.
        error: What is raised.

    Raises:
        GauntletError: One of the type `error`: missing, unreadable, longer than `limit`, or no regular file, which a
            pipe or a device is not: they may never end, or never begin.
    """
    try:
        # Looked at before it is opened, because opening some devices does something; and after, because the path may
        # have changed its meaning. Without O_NONBLOCK opening a pipe waits for a writer.
        _regular(path, os.stat(path), limit, error)
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
        try:
            _regular(path, os.fstat(file.fileno()), limit, error)
        except BaseException:
            file.close()
            raise
        return file
    except GauntletError:
        raise
    except (OSError, ValueError) as reason:  # ValueError: a path with a null byte.
        text = reason.strerror if isinstance(reason, OSError) and reason.strerror else reason
        raise error(f"{path}: cannot be read ({text}). Check the path.") from reason


def _regular(path: Path, found: os.stat_result, limit: float, error: type[GauntletError]) -> None:
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_IFDIR: "directory", stat.S_IFIFO: "named pipe", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
        kind = f"a {kinds.get(stat.S_IFMT(found.st_mode), 'socket')}"
        raise error(f"{path}: cannot be read (it is {kind}). Expected a regular file: copy its content into one.")
    if found.st_size > limit:
        raise error(
            f"{path}: has {found.st_size:,} bytes; files of this kind are read up to {int(limit):,} bytes. "
            "Check that it is the right file."
        )


def read_bounded(path: Path, limit: int, error: type[GauntletError] = RunError) -> bytes:
    """The bytes of a regular file of at most `limit` bytes; arguments and errors as `open_regular`."""
    with open_regular(path, limit, error) as file:
        try:
            data = file.read(os.fstat(file.fileno()).st_size) or b""
            more = file.read(1)
        except OSError as reason:
            raise error(f"{path}: cannot be read ({reason.strerror or reason}). Check the disk.") from reason
    if more:  # Files of the kernel say nothing of their size.
        raise error(f"{path}: has more bytes than its size says: it is being written. Wait, and try again.")
    return data


def read_json(
    path: Path, limit: int = MAX_JSON, error: type[GauntletError] = RunError, depth: float = MAX_DEPTH
) -> Any:
    """The content of a JSON file: text as UTF-8, numbers, lists and dictionaries.

    Args:
        path: Where.
        limit: Most bytes that it may have.
        error: What is raised.
        depth: Most lists and dictionaries within one another; `math.inf` for readers that do not call themselves.

    Raises:
        GauntletError: One of the type `error`: it cannot be read, is not JSON, has more than `MAX_VALUES` values, or
            gives two values for one key.
    """
    data = read_bounded(path, limit, error)
    # An upper bound: each value has one of these before it, or is the whole.
    values = data.count(b",") + data.count(b"[") + data.count(b"{")
    if values > MAX_VALUES:
        raise error(
            f"{path} holds {values:,} lists, dictionaries and commas, up to {MAX_VALUES:,} are read. Check the file."
        )
    try:
        return parsed_json(data, depth)
    except ValueError as reason:
        raise error(f"{path} cannot be read as JSON: {reason}. Write or copy it again.") from reason


def parsed_json(data: bytes | str, depth: float = MAX_DEPTH) -> Any:
    """The value of a JSON text; ValueError where it is none, gives a key twice, or is nested more than `depth` deep."""
    try:
        value = json.loads(data, object_pairs_hook=_object)
    except RecursionError as reason:
        raise ValueError("it is nested too deep") from reason
    level = [value] if depth < math.inf and isinstance(value, list | dict) else []
    while level:
        if (depth := depth - 1) < 0:
            raise ValueError("it is nested too deep")
        inner = (inside.values() if isinstance(inside, dict) else inside for inside in level)
        level = [item for items in inner for item in items if isinstance(item, list | dict)]
    return value


def _object(pairs: list[tuple[str, Any]]) -> JsonDict:
    """A JSON object; of a key that occurs twice, Python would drop the first value without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"an object gives two values for the key {twice[:60]!a}")
    return found


def checked_zip(data: bytes, limit: int, ratio: float = math.inf) -> zipfile.ZipFile:
    """Open a zip whose members, unpacked, stay within bounds.

    Args:
        data: The archive.
        limit: Most bytes that all members may have together, unpacked.
        ratio: Most bytes that a member may have for each packed one, beyond its first megabyte.

    Raises:
        ValueError: It has too many members, the same one twice, packed too well, by another method than zip's own, or
            encrypted.
        BadZipFile: It is damaged.
    """
    # The table of contents is counted first: reading it costs 500 bytes a member.
    if data.count(b"PK\x01\x02") > _MEMBERS:
        raise ValueError(f"it has more than {_MEMBERS:,} members")
    archive = zipfile.ZipFile(io.BytesIO(data))
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if total > limit:
        raise ValueError(f"its members would have {total:,} bytes, the limit is {limit:,}")
    if len({member.filename for member in members}) < len(members):
        raise ValueError("two of its members have the same name")
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
            raise ValueError(f"{member.filename[:80]!r} is packed by another method than zip's own, or encrypted")
        if member.file_size > MEGABYTE + ratio * member.compress_size:
            raise ValueError(f"{member.filename[:80]!r} would have {member.file_size:,} bytes: it is packed too well")
    return archive


def read_arrays(
    path: Path,
    limit: int = MAX_ARRAYS,
    error: type[GauntletError] = RunError,
    wanted: Callable[[str], bool] = lambda name: True,
    ratio: float = math.inf,
) -> dict[str, NDArray[np.generic]]:
    """The arrays of an npz by name; never unpickled, and their sizes are checked before they are unpacked.

    Args:
        path: Where.
        limit: Most bytes that the file may have, and that its arrays may have together.
        error: What is raised.
        wanted: Which arrays to unpack, by name.
        ratio: Most bytes that an array may have for each packed one, beyond its first megabyte.

    Raises:
        GauntletError: One of the type `error`: it cannot be read, is damaged, or unpacks to more than `limit` bytes.
    """
    data = read_bounded(path, limit, error)
    try:
        with checked_zip(data, limit, ratio) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            return {name: _array(archive, member) for name, member in members.items() if wanted(name)}
    except (
        *(ValueError, TypeError, KeyError, IndexError, SyntaxError, OverflowError, MemoryError, EOFError),
        *(RuntimeError, OSError, zipfile.BadZipFile, zlib.error),
    ) as reason:
        raise error(f"{path} is damaged, or no npz file ({reason or type(reason).__name__}).") from reason


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[np.generic]:
    """One member as an array that can be written to."""
    data = bytearray(member.file_size)
    view, place = memoryview(data), 0
    with archive.open(member) as packed:  # In pieces, because every piece is copied.
        while count := packed.readinto(view[place : place + MEGABYTE]):  # type: ignore[attr-defined]
            place += count
    if place < len(data):
        raise ValueError(f"{member.filename} has {place} of {len(data)} bytes")
    shape, fortran, kind, start = _layout(bytes(view[:_HEADER]))
    if kind.kind not in "biufcSUmM":
        raise ValueError(f"{member.filename} holds {kind.name} instead of plain numbers or text")
    if kind.itemsize == 0 or min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != len(data) - start:
        raise ValueError(f"{member.filename} of shape {shape} has {len(data) - start} bytes")
    if math.prod(shape) == 0:
        return np.zeros(shape, kind)
    flat = np.frombuffer(data, kind, offset=start)
    return flat.reshape(shape, order="F" if fortran else "C")


def _layout(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether in Fortran's order, type, and where the numbers begin."""
    wide = data[6:7] != b"\x01"
    start = 12 + int.from_bytes(data[8:12], "little") if wide else 10 + int.from_bytes(data[8:10], "little")
    return *_parsed(data[:start]), start


@lru_cache(maxsize=1024)
def _parsed(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """What a header says; records have few different ones, and parsing costs more than unpacking."""
    file = io.BytesIO(header)
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def file_name(text: str, also: str = "-_") -> str:
    """`text` as one part of a path, of at most `MAX_NAME` bytes; different texts give different names.

    A short text of letters, digits and the characters of `also` stays as it is. In any other, all other characters are
    replaced by `_`, and `~` and a check sum follow, which no text gets that stays as it is.
    """
    name = "".join(letter if letter.isalnum() or letter in also else "_" for letter in text)
    if name == text and 0 < len(name.encode()) <= MAX_NAME:
        return name
    short = name.encode()[: MAX_NAME - 17].decode(errors="ignore")
    return f"{short}~{_check_sum(text)}"


def coded_name(text: str) -> str:
    """`text` as one part of a path of at most `MAX_CODED` bytes, percent-encoded; `decoded_name` reads it back.

    A text that is longer then keeps its beginning, and `!` and a check sum follow: `decoded_name` gives None of those.
    """
    name = quote(text, safe=" +=,@()[]", errors="surrogatepass")
    name = f"%2E{name[1:]}" if name.startswith(".") else name  # Neither hidden nor special.
    return name if 0 < len(name) <= MAX_CODED else f"{name[: MAX_CODED - 17]}!{_check_sum(text)}"


def decoded_name(name: str) -> str | None:
    """The text of which `coded_name` made `name`, or None where the name does not hold all of it."""
    return None if "!" in name else unquote(name, errors="surrogatepass")


def _check_sum(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def plain(value: object) -> object:
    """`value` in JSON's own types: numpy scalars unwrapped, paths as text, non-finite numbers as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    return value
