"""A stranger's TorchScript file, checked and copied before torch sees it.

`torch.jit.load` would run a file's `__setstate__` while loading, and some operators write files or read memory that is
not theirs. So the archive is taken apart here: its code is held against a list of tensor operators, its pickles are
walked without being run, its sizes are compared with the bytes that are there. Torch then loads a new archive, in
memory, that holds what was checked and nothing else.
"""

from __future__ import annotations

import ast
import io
import re
import warnings
import zipfile
from pathlib import Path
from typing import Final

import torch

from ego_policies.torch_archives import DAMAGE, TorchArchive
from ego_policies.torch_archives import MAX_BYTES as MAX_BYTES
from ego_policies.torchscript_calls import MAX_OPERATIONS, CallCount
from ego_policies.torchscript_code import MAX_SOURCE, ForbiddenCodeError, Source
from ego_policies.torchscript_types import DeclaredTypes
from harness.errors import PolicyError
from harness.files import read_bounded

_CODE: Final = re.compile(r"code/__torch__(/\w+)*\.py", re.ASCII)
_VERSION: Final = re.compile(rb"\d{1,3}\n?")


def load_checked(path: Path) -> tuple[torch.jit.ScriptModule, bool]:
    """The module of a file, and whether it draws random numbers.

    Raises:
        PolicyError: The file is none that `torch.jit.save` wrote, or asks for more than tensor operators; the message
            names what.
    """
    data = read_bounded(path, MAX_BYTES, PolicyError)
    try:
        checked, random = rewrite(data)
    except ForbiddenCodeError as error:
        raise PolicyError(
            f"{path}: refused, because its code asks for {error}. A TorchScript file may use tensor operators only, "
            "so that loading and running it changes nothing on this machine. Export the policy without it, or, if you "
            f"made the file yourself, write torchscript:{path}?trust=true."
        ) from error
    except DAMAGE as error:
        raise not_torchscript(path, error) from error
    return _load(io.BytesIO(checked), path), random


def load_trusted(path: Path) -> torch.jit.ScriptModule:
    """The module of a file as torch loads it: whatever its code asks for is run.

    Raises:
        PolicyError: It cannot be loaded.
    """
    return _load(str(path), path)


def _load(source: io.BytesIO | str, path: Path) -> torch.jit.ScriptModule:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(source, map_location="cpu").eval()
    except DAMAGE as error:
        raise not_torchscript(path, error) from error


def not_torchscript(path: Path, error: Exception) -> PolicyError:
    """What is said of a file that is damaged or of another kind."""
    reason = str(error).strip() or type(error).__name__
    return PolicyError(
        f"{path} is not a TorchScript file: {reason.splitlines()[0][:200]}. Write one with "
        "torch.jit.save(torch.jit.trace(module, example), path); a plain state dict is not enough."
    )


def rewrite(data: bytes) -> tuple[bytes, bool]:
    """A new archive with what was checked of this one, and whether its code draws random numbers.

    Raises:
        ForbiddenCodeError: The code asks for something that is not on the list.
        ValueError: The archive is damaged, or of another kind (and the other errors of `DAMAGE`).
    """
    archive = TorchArchive(data)
    sources = [name for name in archive.names if name.startswith("code/") and name.endswith(".py")]
    if not sources or "data.pkl" not in archive.names:
        raise ValueError("it has no code and no data.pkl, which torch.jit.save writes")
    members: dict[str, bytes] = {}
    random, left, trees = False, MAX_SOURCE, dict[str, ast.Module]()
    for name in sources:
        if not _CODE.fullmatch(name):
            raise ValueError(f"its code has the unknown member {name[:80]!r}")
        left -= archive.size(name)
        if left < 0:
            raise ForbiddenCodeError(f"more than {MAX_SOURCE:,} bytes of code")
        source = Source(archive.read(name).decode("utf-8"))
        random |= source.random
        trees[name.removeprefix("code/").removesuffix(".py").replace("/", ".")] = source.tree
        members[name] = source.text.encode()
    calls = CallCount(trees)
    if (count := calls.largest()) > MAX_OPERATIONS:
        raise ForbiddenCodeError(f"{count:,} operations or more in one function, more than {MAX_OPERATIONS:,}")
    types = DeclaredTypes(calls.classes)
    for name, folder in (("data.pkl", "data"), ("constants.pkl", "constants")):
        if name in archive.names:
            _, storages = archive.unpickle(name, folder, script=True, check=types.check)
            members[name] = archive.read(name)
            members |= {member: archive.read(member) for member in storages}
    version = archive.read("version", 8) if "version" in archive.names else archive.read(".data/version", 8)
    if not _VERSION.fullmatch(version):
        raise ValueError("its version is no number")
    return _pack({**members, "version": version, "byteorder": b"little"}), random


def _pack(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(f"policy/{name}"), content)
    return packed.getvalue()
