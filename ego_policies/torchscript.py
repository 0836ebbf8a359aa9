"""A stranger's TorchScript file, checked and copied before torch sees it.

`torch.jit.load` would run a file's `__setstate__` while loading, and some operators write files or read memory that is
not theirs. So the archive is taken apart here: its code is held against a list of tensor operators, its pickles are
walked without being run, its sizes are compared with the bytes that are there. Torch then loads a new archive, in
memory, that holds what was checked and nothing else, and what it made of the code is checked again before it is run.
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
from ego_policies.torchscript_graphs import check_graph
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
        archive = TorchArchive(data)
        if not _sources(archive) or "data.pkl" not in archive.names:
            raise ValueError("it has no code and no data.pkl, which torch.jit.save writes")
    except DAMAGE as error:
        raise not_torchscript(path, error) from error
    try:
        checked, random = rewrite(archive)
        module = _loaded(io.BytesIO(checked))
        check_graph(module)
    except ForbiddenCodeError as error:
        raise PolicyError(
            f"{path}: refused, because its code asks for {error}. A TorchScript file may use tensor operators only, "
            "so that loading and running it changes nothing on this machine. Export the policy without it, or, if you "
            f"made the file yourself, write torchscript:{path}?trust=true."
        ) from error
    except DAMAGE as error:
        raise PolicyError(
            f"{path}: refused, because this TorchScript file is damaged or was not written by torch.jit.save: "
            f"{reason_of(error)}. Export the policy again with torch.jit.save(torch.jit.trace(module, example), path)."
        ) from error
    return module, random


def load_trusted(path: Path) -> torch.jit.ScriptModule:
    """The module of a file as torch loads it: whatever its code asks for is run.

    Raises:
        PolicyError: It cannot be loaded.
    """
    try:
        return _loaded(str(path))
    except DAMAGE as error:
        raise not_torchscript(path, error) from error


def _loaded(source: io.BytesIO | str) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(source, map_location="cpu").eval()


def not_torchscript(path: Path, error: Exception) -> PolicyError:
    """What is said of a file that is damaged or of another kind."""
    return PolicyError(
        f"{path} cannot be loaded as TorchScript: {reason_of(error)}. Write one with "
        "torch.jit.save(torch.jit.trace(module, example), path); a plain state dict is not enough."
    )


def reason_of(error: Exception) -> str:
    """What an error says, in short: torch's own asks for reports of bugs, and shows lines of its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any("INTERNAL ASSERT" in line for line in lines):
        return "torch cannot make sense of it"
    return lines[0].rstrip(".:")[:200] if lines else type(error).__name__


def rewrite(archive: TorchArchive) -> tuple[bytes, bool]:
    """A new archive with what was checked of one, and whether its code draws random numbers.

    Raises:
        ForbiddenCodeError: The code asks for something that is not on the list.
        ValueError: The archive is damaged, or of another kind (and the other errors of `DAMAGE`).
    """
    members: dict[str, bytes] = {}
    random, left, trees = False, MAX_SOURCE, dict[str, ast.Module]()
    for name in _sources(archive):
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


def _sources(archive: TorchArchive) -> list[str]:
    return [name for name in archive.names if name.startswith("code/") and name.endswith(".py")]


def _pack(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(f"policy/{name}"), content)
    return packed.getvalue()
