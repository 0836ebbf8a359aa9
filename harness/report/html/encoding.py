"""Numbers for the page: whole centimetres, base64, and JSON that may stand inside a script element."""

from __future__ import annotations

import base64
import json
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.files import plain
from harness.geometry import wrap_angle

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CENTIMETRE: Final = 0.01
"""Unit of places, m."""
ANGLE: Final = 1e-4
"""Unit of headings, rad."""
_SAFE: Final = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}


def safe_json(value: object) -> str:
    """Compact JSON in which no character can end or open an element: safe inside `<script type="application/json">`."""
    text = json.dumps(plain(value), allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    # Halves of surrogate pairs become escapes, which JSON has.
    return text.translate(_SAFE).encode(errors="backslashreplace").decode()


def pack(values: Floats, unit: float | Floats = CENTIMETRE) -> dict[str, str]:
    """Rounded multiples of `unit` as little-endian integers in base64; NaN becomes the smallest integer.

    Args:
        values: An array; written in C order.
        unit: Broadcasts against `values`.

    Returns:
        `t`: `i2` or `i4` (where 16 bits are too few); `d`: the data.
    """
    scaled = np.round(np.asarray(values, dtype=np.float64) / unit)
    known = np.isfinite(scaled)
    wide = bool((np.abs(scaled[known]) > np.iinfo(np.int16).max).any())
    kind = np.int32 if wide else np.int16
    limit = np.iinfo(kind)
    whole = np.where(known, np.clip(np.nan_to_num(scaled), -limit.max, limit.max), limit.min)
    data = whole.astype(np.dtype(kind).newbyteorder("<")).tobytes()
    return {"t": "i4" if wide else "i2", "d": base64.b64encode(data).decode("ascii")}


def unpack(packed: dict[str, str], unit: float | Floats = CENTIMETRE, columns: int = 1) -> Floats:
    """Inverse of `pack`: [N, columns], NaN where there was none (what the page does, for tests and readers)."""
    kind = np.dtype("<i2" if packed["t"] == "i2" else "<i4")
    whole = np.frombuffer(base64.b64decode(packed["d"]), dtype=kind)
    values = np.where(whole == np.iinfo(kind).min, np.nan, whole.astype(np.float64))
    return values.reshape(-1, columns) * unit


POSE_UNITS: Final = np.array([CENTIMETRE, CENTIMETRE, ANGLE])


def pack_track(states: Floats, valid: Bools, origin: Floats, steps: int | None = None) -> dict[str, object] | None:
    """A track from its first to its last valid step: `s` the first step, the rest as `pack` of x, y, heading.

    Args:
        states: [T, ≥3]; x, y (m) and heading (rad) first.
        valid: [T].
        origin: [2], subtracted, m.
        steps: Only so many steps; None: all.

    Returns:
        None where no step is valid.
    """
    valid = valid[:steps]
    rows = np.flatnonzero(valid)
    if len(rows) == 0:
        return None
    first, last = int(rows[0]), int(rows[-1])
    poses = np.array(states[first : last + 1, :3], dtype=np.float64)
    poses[:, :2] -= origin
    poses[:, 2] = wrap_angle(poses[:, 2])
    poses[~valid[first : last + 1]] = np.nan
    return {"s": first, **pack(poses, POSE_UNITS)}
