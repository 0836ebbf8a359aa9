"""How the kernels are compiled: one set of options for all of them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

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
_UNSEEN: Final[dict[str, Any]] = _OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
kernel: Final = njit(**_OPTIONS)
"""Compile a function with numba, once per machine.

Divisions by zero give infinity instead of an error, and sums may be reordered. NaN and infinity keep their meaning: a
state that is no longer finite is noticed. Threads may run kernels side by side.

In inner loops, rows are read by index, and small functions are given the few arrays that they need: a view of a row
costs two atomic counts, and a call that is not inlined copies every array's description.
"""

inner: Final = njit(**_UNSEEN)
"""As `kernel`, for what kernels alone call: to take arguments from Python is much of what a small function compiles."""

inlined: Final = njit(**_UNSEEN, forceinline=True)
"""As `inner`, for what an innermost loop calls."""
