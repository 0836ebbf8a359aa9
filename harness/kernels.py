"""How the kernels are compiled: one set of options for all of them, and a cache that knows what they were made of."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np
from numba import njit
from numpy.typing import NDArray

from harness.caching import cache_folder, remove_unused

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Cells = NDArray[np.int32]
Bools = NDArray[np.bool_]
Numbers = tuple[float, ...]
"""A few numbers whose meaning the function says; kernels return these instead of arrays, which would cost memory."""

_OPTIONS: Final[dict[str, Any]] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "arcp", "nsz", "reassoc"},
}
_EXACT: Final[dict[str, Any]] = {key: value for key, value in _OPTIONS.items() if key != "fastmath"}
_UNSEEN: Final[dict[str, Any]] = _OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_ROOT: Final = Path(__file__).parent
_SOURCES: Final = (
    *(
        "fast/*.py",
        "engine/*.py",
        "traffic/lane_*.py",
        "traffic/model/*.py",
        "interfaces.py",
        "metrics/meeting.py",
        "training/ppo.py",
    ),
    *("../scenarios/idm.py", "../scenarios/scenario.py", "../scenarios/procedural/*.py"),
)
"""What kernels are made of."""
_SETTINGS: Final[Any] = numba.config


@cache
def kernel_cache() -> Path:
    """Where compiled kernels of the present sources are kept.

    Numba compiles a function anew when its own file changes, not when a number that it imports does: a kernel would go
    on reading another column. So the folder's name is a digest of everything that kernels are made of.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for pattern in _SOURCES:
        for file in sorted(_ROOT.glob(pattern)):
            digest.update(file.read_bytes())
    name = digest.hexdigest()[:16]
    if _SETTINGS.CACHE_DIR:
        return Path(_SETTINGS.CACHE_DIR) / name
    root = cache_folder("kernels")
    remove_unused(root, root / name)
    return root / name


def _compiler(options: dict[str, Any]) -> Callable[..., Any]:
    """`njit` with these options, and with the cache of `kernel_cache`."""

    def compiled(function: Callable[..., Any]) -> Any:
        before = _SETTINGS.CACHE_DIR
        _SETTINGS.CACHE_DIR = str(kernel_cache())
        try:
            return _kept_apart(njit(**options)(function))
        finally:
            _SETTINGS.CACHE_DIR = before

    return compiled


def _kept_apart(compiled: Any) -> Any:
    """The same function, whose code every process keeps in files of its own.

    Numba numbers the files of a function in the order in which its signatures are compiled, and writes the list of them
    first. Two processes that compile it at the same time for different types take the same number, so that one finds
    the other's code in the file that the list names: it would read arrays of 8 bytes an element as if they had 4. With
    names of their own the worst is that an entry of the list is lost, and a signature compiled again.
    """
    # A folder that cannot be written to has no such file.
    if (file := getattr(compiled._cache, "_cache_file", None)) is not None:
        pattern = file._data_name_pattern
        file._data_name = lambda number: pattern.replace("{number:d}", f"{number}-{uuid.uuid4().hex[:16]}")
    return compiled


kernel: Final = _compiler(_OPTIONS)
"""Compile a function with numba, once per machine.

Divisions by zero give infinity instead of an error, and sums may be reordered. NaN and infinity keep their meaning: a
state that is no longer finite is noticed. Threads may run kernels side by side.

In inner loops, rows are read by index, and small functions are given the few arrays that they need: a view of a row
costs two atomic counts, and a call that is not inlined copies every array's description.
"""

exact: Final = _compiler(_EXACT)
"""As `kernel`, with every sum rounded as it is written: for what must equal NumPy's."""

inner: Final = _compiler(_UNSEEN)
"""As `kernel`, for what kernels alone call: to take arguments from Python is much of what a small function compiles."""

inlined: Final = _compiler(_UNSEEN | {"forceinline": True})
"""As `inner`, for what an innermost loop calls."""
