"""Reading TFRecord files without TensorFlow: framing and check sums.

A record is: length (uint64, little endian), masked CRC-32C of those 8 bytes, the data, masked CRC-32C of the data
(https://www.tensorflow.org/tutorials/load_data/tfrecord). Nothing is read on trust: lengths are compared with the
file, and both check sums are verified.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import ScenarioError
from harness.files import open_regular

_POLYNOMIAL: Final = 0x82F63B78
"""CRC-32C (Castagnoli), reflected."""
_MASK: Final = 0xA282EAD8
"""TFRecord stores rotate-right(crc, 15) plus this."""
_LANES: Final = 512
"""Pieces of a long record whose check sums are computed side by side."""
MAX_RECORD: Final = 64_000_000
"""Bytes of a record. WOMD's scenes have 0.5 to 5 MB; a message takes a multiple of its bytes in memory."""
_HEADER: Final = 12
_FOOTER: Final = 4


class RecordPlace(NamedTuple):
    """Where the data of one record lies in its file: byte offset and length."""

    offset: int
    length: int


def scan(path: str | Path) -> list[RecordPlace]:
    """Places of every record of a file; reads the lengths (and their check sums), not the data.

    Raises:
        ScenarioError: The file is not a TFRecord file, is damaged or cut off; names the record.
    """
    path = Path(path)
    try:
        with open_regular(path, error=ScenarioError) as file:
            return list(_scan(path, file, os.fstat(file.fileno()).st_size))
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error}") from error


def _scan(path: Path, file: BinaryIO, size: int) -> Iterator[RecordPlace]:
    offset = 0
    while offset < size:
        header = file.read(_HEADER)
        number = f"at byte {offset}"
        if len(header) < _HEADER:
            raise _broken(path, number, f"only {len(header)} of {_HEADER} header bytes are there: the file is cut off")
        length, check = struct.unpack("<QI", header)
        if masked_crc(header[:8]) != check:
            raise _broken(path, number, "the check sum of its length is wrong (no TFRecord file, or damaged)")
        end = offset + _HEADER + length + _FOOTER
        if end <= size and length > MAX_RECORD:
            raise _broken(path, number, f"it has {length:,} bytes; at most {MAX_RECORD:,} are read")
        if end > size:
            raise _broken(path, number, f"it claims {length} bytes, but the file ends {end - size} bytes short of it")
        yield RecordPlace(offset + _HEADER, length)
        file.seek(end)
        offset = end


def read(path: str | Path, record: RecordPlace) -> bytes:
    """The data of one record, its check sum verified.

    Raises:
        ScenarioError: It cannot be read or is damaged.
    """
    path = Path(path)
    try:
        with open_regular(path, error=ScenarioError) as file:
            file.seek(record.offset)
            data = file.read(record.length + _FOOTER)
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error}") from error
    number = f"at byte {record.offset - _HEADER}"
    if len(data) < record.length + _FOOTER:
        raise _broken(path, number, "the file is cut off")
    if masked_crc(data[:-_FOOTER]) != struct.unpack("<I", data[-_FOOTER:])[0]:
        raise _broken(path, number, "the check sum of its data is wrong: the file is damaged")
    return data[:-_FOOTER]


def write(path: str | Path, records: list[bytes]) -> None:
    """Write a TFRecord file (for tests and exports); not atomic."""
    with Path(path).open("wb") as file:
        for data in records:
            length = struct.pack("<Q", len(data))
            file.write(length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data)))


def masked_crc(data: bytes) -> int:
    """The check sum as TFRecord stores it."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C of `data`: 0xE3069283 for b"123456789".

    Long data is cut into lanes that numpy advances side by side; a lane's remainder is then carried over the
    lanes behind it, because the CRC register is linear over GF(2).
    """
    table = _table()
    register = np.uint32(0xFFFFFFFF)
    span = len(data) // _LANES
    if span >= 16:
        body = np.frombuffer(data, np.uint8, _LANES * span).reshape(_LANES, span)
        lanes = np.zeros(_LANES, np.uint32)
        lanes[0] = register
        for column in np.ascontiguousarray(body.T):
            lanes = table[(lanes ^ column) & 0xFF] ^ (lanes >> np.uint32(8))
        low, middle, high, top = _shift_tables(span)
        value = int(lanes[0])
        for lane in lanes[1:].tolist():
            # `value` passes over one lane of zero bytes; the lane's own remainder started from zero.
            value = low[value & 0xFF] ^ middle[value >> 8 & 0xFF] ^ high[value >> 16 & 0xFF] ^ top[value >> 24] ^ lane
        data, crc = data[_LANES * span :], value
    else:
        crc = int(register)
    small = _table_list()
    for byte in data:
        crc = small[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@cache
def _table() -> NDArray[np.uint32]:
    value = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        value = np.where(value & 1, (value >> np.uint32(1)) ^ np.uint32(_POLYNOMIAL), value >> np.uint32(1))
    return value.astype(np.uint32)


@cache
def _table_list() -> list[int]:
    return [int(value) for value in _table()]


@cache
def _shift_tables(count: int) -> list[list[int]]:
    """What each byte of the register becomes after `count` zero bytes: four tables of 256."""
    # Columns of the matrix that advances the register by one zero byte.
    step = [_table_list()[(1 << bit) & 0xFF] ^ ((1 << bit) >> 8) for bit in range(32)]
    total = [1 << bit for bit in range(32)]
    while count:
        if count & 1:
            total = [_apply(step, column) for column in total]
        step = [_apply(step, column) for column in step]
        count >>= 1
    return [[_apply(total, byte << (8 * place)) for byte in range(256)] for place in range(4)]


def _apply(matrix: list[int], vector: int) -> int:
    result = 0
    for column in matrix:
        if vector & 1:
            result ^= column
        vector >>= 1
    return result


def _broken(path: Path, number: str, reason: str) -> ScenarioError:
    return ScenarioError(f"{path}: record {number}: {reason}. Expected TFRecords; fetch the file again.")
