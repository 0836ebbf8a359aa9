"""PyTorch's zip archives without PyTorch: a pickle of plain opcodes beside the raw numbers of its tensors.

`torch.save` and `torch.jit.save` write the same layout. The numbers that tensors need are compared with the bytes that
are there before any tensor is made.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ego_policies.torch_pickles import SIZES, Storage, StoredTensor, Tagged, tensors_in, unpickle
from harness.files import MEGABYTE, checked_zip

MAX_BYTES: Final = 512 * MEGABYTE
"""Bytes of an archive, packed or not. A driving policy has a few megabytes."""
MAX_RATIO: Final = 50.0
"""Most bytes of a member for each packed one: numbers of networks hardly pack."""
MAX_PICKLE: Final = 2 * MEGABYTE
"""Bytes of a pickle: about 150 for each tensor."""
MAX_VIEWS: Final = 8
"""Most tensors for each stored number, on average: layers may share their weights."""
DAMAGE: Final = (
    *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError, EOFError, RuntimeError, OSError),
    *(zipfile.BadZipFile, zlib.error, MemoryError),
)
"""What a damaged archive may raise while it is read."""


class TorchArchive:
    """The members of one archive, below its one folder."""

    def __init__(self, data: bytes) -> None:
        """Open it.

        Raises:
            ValueError: It is too large, its members do not lie in one folder, or its numbers are big-endian.
            BadZipFile: It is no zip.
        """
        self._zip = checked_zip(data, MAX_BYTES, ratio=MAX_RATIO)
        members = [member for member in self._zip.infolist() if not member.is_dir()]
        roots = {member.filename.partition("/")[0] for member in members}
        if len(roots) != 1:
            raise ValueError(f"its members do not lie in one folder, but in {sorted(roots)[:3]}")
        self._members = {member.filename.partition("/")[2]: member for member in members}
        if "byteorder" in self._members and self.read("byteorder", 8) != b"little":
            raise ValueError("its numbers are big-endian")

    @property
    def names(self) -> list[str]:
        """Names of members, in their order."""
        return list(self._members)

    def size(self, name: str) -> int:
        """Bytes of a member; errors as `read`."""
        if name not in self._members:
            raise ValueError(f"it has no member {name[:80]!r}")
        return self._members[name].file_size

    def read(self, name: str, limit: int = MAX_BYTES) -> bytes:
        """The content of a member.

        Raises:
            ValueError: There is none, it is too long, or has another length than it says.
        """
        if (size := self.size(name)) > limit:
            raise ValueError(f"{name[:80]!r} has {size:,} bytes, the limit is {limit:,}")
        member = self._members[name]
        with self._zip.open(member) as opened:
            data = opened.read(member.file_size)
            if len(data) != member.file_size or opened.read(1):
                raise ValueError(f"{name[:80]!r} has another length than the archive says")
        return data

    def unpickle(
        self, name: str, folder: str, *, script: bool, check: Callable[[object, Tagged], None] | None = None
    ) -> tuple[Any, dict[str, Storage]]:
        """The value of a pickle, and the storages that its tensors use, by the names of their members.

        Args:
            name: The pickle.
            folder: Folder of its tensors' numbers.
            script: Whether `torch.jit.save` wrote it: then it may make objects of the archive's own classes.
            check: What else is asked of the value; see `ego_policies/torch_pickles.py:unpickle`.

        Raises:
            ValueError: It asks for anything but tensors and plain values, or claims more numbers than there are.
        """
        value = unpickle(self.read(name, MAX_PICKLE), script=script, check=check)
        used: dict[str, Storage] = {}
        tensors = tensors_in(value)
        for tensor in tensors:
            member = f"{folder}/{tensor.storage.key}"
            if used.setdefault(member, tensor.storage) != tensor.storage:
                raise ValueError(f"{member!r} is used as two kinds of storage")
        for member, storage in used.items():
            size = self._members[member].file_size if member in self._members else -1
            if storage.count * SIZES[storage.kind][0] != size:
                raise ValueError(f"{member!r} has {size} bytes, expected {storage.count} numbers of {storage.kind}")
        if sum(math.prod(tensor.shape) for tensor in tensors) > MAX_VIEWS * sum(item.count for item in used.values()):
            raise ValueError(f"its tensors have more than {MAX_VIEWS} times the numbers that there are")
        return value, used

    def array(self, tensor: StoredTensor, folder: str) -> NDArray[Any]:
        """A tensor as an array that owns its memory; bfloat16 becomes float32."""
        kind = SIZES[tensor.storage.kind][1]
        data = self.read(f"{folder}/{tensor.storage.key}")
        if kind == "bfloat16":
            flat = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        else:
            flat = np.frombuffer(data, kind)
        size = flat.dtype.itemsize
        view = np.lib.stride_tricks.as_strided(
            flat[tensor.offset :], tensor.shape, [size * step for step in tensor.stride], writeable=False
        )
        return view.copy()
