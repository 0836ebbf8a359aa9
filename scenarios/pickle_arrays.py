"""The some twenty-five instructions by which a pickle makes one array, recognised and carried out at once.

Most instructions of a scene belong to such sequences. What is left behind, on the stack and in the memory, is what the
instructions leave one by one; whatever deviates from the sequence is run that way.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import Any, Final

from scenarios.pickle_machine import Machine, as_tuple
from scenarios.pickle_values import Arguments, Global, reconstruct

# Each alternative begins with a byte of its own, so that there is one way to read the bytes: that of the machine.
_SEQUENCE: Final = re.compile(
    rb"(?:h(.)|j(.{4}))"  # The class `numpy.ndarray`, from the memory. `_reconstruct` has been found already.
    rb"K\x00\x85\x94"  # (0,), kept.
    rb"(?:h(.)|j(.{4}))"  # b"b", from the memory.
    rb"\x87\x94R\x94"  # The tuple of these three, kept; the call, its result kept.
    rb"\(K\x01"  # The state begins with its version.
    rb"((?:K.|M.{2}|J.{4}){1,3})([\x85-\x87])\x94"  # The shape, kept.
    rb"(?:h(.)|j(.{4}))([\x88\x89])"  # The data type, from the memory; Fortran's order or not.
    rb"(?:C(.)|B(.{4}))",  # How many bytes follow. Then they are kept, and the state is made, kept and set.
    re.DOTALL,
)
_END: Final = b"\x94t\x94b"
_WIDTH: Final = {ord("K"): 1, ord("M"): 2, ord("J"): 4}
_SIZES: Final = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
_MADE: Final = 1_200
"""Most bytes that these instructions count one by one, besides the content."""
_UINT: Final = Struct("<I").unpack
_ZERO: Final = (0,)


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
        IndexError: Nothing was kept under a number.
    """
    found = _SEQUENCE.match(machine.data, place) if function.call is reconstruct else None
    if found is None:
        return function, place
    data, memo = machine.data, machine.memo
    kind, kind_long, code, code_long, sizes, count, dtype, dtype_long, fortran, size, size_long = found.groups()
    begin = found.end()
    end = begin + (size[0] if size is not None else _UINT(size_long)[0])
    subtype = memo[kind[0] if kind is not None else _UINT(kind_long)[0]]
    letter = memo[code[0] if code is not None else _UINT(code_long)[0]]
    shape = _shape(sizes)
    odd = type(subtype) is not Global or type(letter) is not bytes or len(shape) != _SIZES[count]
    if odd or data[end : end + len(_END)] != _END:
        return function, place
    machine.charge(_MADE + end - begin)
    array: Any = function.call(machine, subtype, _ZERO, letter)
    raw = data[begin:end]
    memo += (_ZERO, Arguments((subtype, _ZERO, letter)), array, shape, raw)
    made_of = machine.get(dtype[0] if dtype is not None else _UINT(dtype_long)[0])
    state = as_tuple((1, shape, made_of, fortran == b"\x88", raw))
    memo.append(state)
    return array.finish(machine, state), end + len(_END)


def _shape(sizes: bytes) -> tuple[int, ...]:
    """The sizes that some instructions for small numbers put on the stack."""
    shape, place = [], 0
    while place < len(sizes):
        end = place + 1 + _WIDTH[sizes[place]]
        shape.append(int.from_bytes(sizes[place + 1 : end], "little", signed=sizes[place] == ord("J")))
        place = end
    return tuple(shape)
