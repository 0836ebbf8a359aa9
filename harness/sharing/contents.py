"""What may be shared: kinds of files, their names and their sizes; the same rules for sending and for receiving."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from harness.errors import ConfigError
from harness.files import MEGABYTE

WEIGHTS: Final = ".safetensors"
TEXTS: Final = (".json", ".jsonl", ".csv", ".html", ".md")
SHARED: Final = (WEIGHTS, *TEXTS)
"""How names of shared files end."""
CODE: Final = frozenset(
    ".pkl .pickle .pt .pth .bin .ckpt .joblib .dill .zip .tar .gz .tgz .xz .bz2 .7z .whl .egg .py .pyc .so .dll .dylib "
    ".exe .sh .bat .ps1 .js .ipynb .h5 .keras .onnx .ts".split()
)
"""How names of files end that can run code, or that hold files unseen."""
KEPT_BY_HUB: Final = (".gitattributes",)
"""Files that the hub makes by itself, and that are not fetched."""
MAX_FILE: Final = 4_000 * MEGABYTE
"""Bytes of a shared file."""
MAX_ALL: Final = 20_000 * MEGABYTE
"""Bytes of all files together."""
MAX_FILES: Final = 10_000
MAX_DEPTH: Final = 8
"""Most folders within one another."""
_PART: Final = re.compile(r"[\w@+=~,%-][\w@+=~,%. -]{0,179}")
_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


class SharedFile(NamedTuple):
    """A file of a shared folder.

    Attributes:
        path: Within the folder, with `/` between its parts.
        size: Bytes.
        digest: What the hub says of its content: `sha256:…` of a large file, `blob:…` (git's SHA-1) of a small one,
            or empty.
    """

    path: str
    size: int
    digest: str = ""


def check_contents(files: Iterable[SharedFile], where: str) -> list[SharedFile]:
    """The files of a folder, all of which may be shared.

    Args:
        files: Names and sizes. What the hub makes by itself is left out.
        where: What holds them, for messages.

    Raises:
        ConfigError: A file can run code, is of another kind, has a name that is no plain one, or is too large; there
            are too many, two are the same but for capitals, or there is none. One message names up to three.
    """
    kept = [file for file in files if file.path not in KEPT_BY_HUB]
    _refuse(where, "can run code when they are opened", [file.path for file in kept if runs_code(file.path)])
    other = [file.path for file in kept if not file.path.lower().endswith(SHARED)]
    _refuse(where, f"are none of {', '.join(SHARED)}", other)
    _refuse(where, "have names that are not plain paths", [file.path for file in kept if not plain_path(file.path)])
    _refuse(where, f"have more than {MAX_FILE:,} bytes", [file.path for file in kept if not 0 <= file.size <= MAX_FILE])
    lower = [file.path.lower() for file in kept]
    _refuse(where, "are the same but for capitals", sorted({path for path in lower if lower.count(path) > 1}))
    if not kept or len(kept) > MAX_FILES:
        raise ConfigError(f"{where} holds {len(kept):,} files to share; expected 1 to {MAX_FILES:,}.")
    if (total := sum(file.size for file in kept)) > MAX_ALL:
        raise ConfigError(f"{where} has {total:,} bytes; up to {MAX_ALL:,} are shared. Share a part of it.")
    return kept


def runs_code(path: str) -> bool:
    """Whether a file can run code, or holds others unseen, by its name."""
    return any(suffix in CODE for suffix in PurePosixPath(path.lower()).suffixes[-2:])


def plain_path(path: str) -> bool:
    """Whether a path stays below its folder, on every system, and hides nothing."""
    parts = path.split("/")
    return len(parts) <= MAX_DEPTH and all(
        _PART.fullmatch(part) and not _RESERVED.fullmatch(part) and not part.endswith((".", " ")) for part in parts
    )


def _refuse(where: str, fault: str, paths: list[str]) -> None:
    if paths:
        named = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
        raise ConfigError(
            f"{where} holds files that {fault}: {named}. Only {', '.join(SHARED)} are shared: weights as safetensors, "
            "everything else as text. Name the weights alone, or take the others out of the folder."
        )
