"""The some twenty-five instructions by which a pickle makes one array, recognised and carried out at once.

Most instructions of a scene belong to such sequences. What is left behind, on the stack and in the memory, is what the
instructions leave one by one; whatever deviates from the sequence is run that way.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import Any, Final

from scenarios.pickle_machine import Machine, as_tuple, got
from scenarios.pickle_values import Arguments, Global, reconstruct

# Each alternative begins with a byte of its own, so that there is one way to read the bytes: that of the machine.
_SEQUENCE: Final = re.compile(
    rb"(?:h(.)|j(.{4}))"  # The class `numpy.ndarray`, from the memory. `_reconstruct` has been found already.
    rb"K\x00\x85\x94"  # (0,), kept.
    rb"(?:h(.)|j(.{4})|C\x01b\x94)"  # b"b", from the memory, or made and kept.
    rb"\x87\x94R\x94"  # The tuple of these three, kept; the call, its result kept.
    rb"\(K\x01"  # The state begins with its version.
    rb"((?:K.|M.{2}|J.{4}){1,3})([\x85-\x87])\x94"  # The shape, kept.
    rb"(?:h(.)|j(.{4}))([\x88\x89])"  # The data type, from the memory; Fortran's order or not.
    rb"(?:C(.)|B(.{4}))",  # How many bytes follow. Then they are kept, and the state is made, kept and set.
    re.DOTALL,
)
_END: Final = b"\x94t\x94b"
_SIZES: Final = re.compile(rb"K(.)|M(.{2})|J(.{4})", re.DOTALL)
_KINDS: Final = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
_MADE: Final = 1_200
"""Most bytes that these instructions count one by one, besides the content."""
_UINT: Final = Struct("<I").unpack
_ZERO: Final = (0,)


def _number(short: bytes | None, long: bytes | None) -> int:
    return short[0] if short is not None else _UINT(long)[0]  # type: ignore[arg-type]


def whole_array(machine: Machine, function: Global, place: int) -> tuple[Any, int]:
    """The array that is made here, if one is.

    Args:
        machine: The machine; its memory gets what the instructions keep.
        function: What the instruction before took from the memory.
        place: Where the next instruction is.

    Returns:
        The array and the place after it; or the function and the same place, where other instructions follow.

    Raises:
        UnsafePickleError: It takes more memory than the file's size allows.
        ScenarioError: Shape, type and bytes do not fit.
    """
    found = _SEQUENCE.match(machine.data, place) if function.call is reconstruct else None
    if found is None:
        return function, place
    data, memo = machine.data, machine.memo
    kind, kind_long, code, code_long, sizes, count, dtype, dtype_long, fortran, size, size_long = found.groups()
    begin = found.end()
    end = begin + _number(size, size_long)
    subtype = memo.get(_number(kind, kind_long))
    known = code is not None or code_long is not None
    letter = memo.get(_number(code, code_long)) if known else b"b"
    shape = tuple([int.from_bytes(a or b or c, "little", signed=bool(c)) for a, b, c in _SIZES.findall(sizes)])
    odd = type(subtype) is not Global or type(letter) is not bytes or len(shape) != _KINDS[count]
    if odd or data[end : end + len(_END)] != _END:
        return function, place
    machine.charge(_MADE + end - begin)
    memo[len(memo)] = _ZERO
    if not known:
        memo[len(memo)] = letter
    array: Any = function.call(machine, subtype, _ZERO, letter)
    memo[len(memo)] = Arguments((subtype, _ZERO, letter))
    memo[len(memo)] = array
    memo[len(memo)] = shape
    memo[len(memo)] = raw = data[begin:end]
    state = (1, shape, got(memo, _number(dtype, dtype_long)), fortran == b"\x88", raw)
    memo[len(memo)] = as_tuple(state)
    return array.finish(machine, state), end + len(_END)
