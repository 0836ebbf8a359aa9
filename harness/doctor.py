"""Report what is installed, what is missing, and what to do about it; there are no options."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from harness.commands.scaffold import Session, command
from harness.registry import BUILTIN, RegistryKind, names, resolve
from harness.report.command_tables import findings_table

DISTRIBUTION: Final = "gauntlet-drive"
INSTALL: Final = "pip install -c constraints.txt -e ."
FREE_SPACE_GB: Final = 2.0  # What procedural scenes and one run with its replay buffer need.
_REQUIREMENT: Final = re.compile(r"""(?P<name>[\w.-]+)[^;]*(?:;.*\bextra == ['"](?P<extra>[\w-]+)['"])?""")


@dataclass(frozen=True)
class Diagnosis:
    """One line of the report; `optional` things may be missing."""

    name: str
    found: str
    ok: bool
    remedy: str = ""
    optional: bool = False

    def as_row(self) -> dict[str, str]:
        """As a row of the table: `check`, `found`, `state` and what to do."""
        state = "ok" if self.ok else ("optional" if self.optional else "FIX")
        return {"check": self.name, "found": self.found, "state": state, "remedy": "" if self.ok else self.remedy}


def check_python() -> Diagnosis:
    """The interpreter's version."""
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    return Diagnosis("python", platform.python_version(), fits, "use Python 3.11 to 3.13")


def check_packages() -> list[Diagnosis]:
    """Whether what the distribution requires is installed, its extras for users included, and in which version."""
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return [Diagnosis(DISTRIBUTION, "not installed", False, INSTALL)]
    return [_package(m["name"], m["extra"]) for m in map(_REQUIREMENT.match, requirements) if m and m["extra"] != "dev"]


def _package(name: str, extra: str | None) -> Diagnosis:
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        remedy = f"for the extra: pip install '{DISTRIBUTION}[{extra}]'" if extra else INSTALL
        return Diagnosis(name, "missing", False, remedy, optional=extra is not None)
    # panda3d-gltf finds its loader through `pkg_resources`, which setuptools 81 removed.
    return Diagnosis(name, found, name != "setuptools" or int(found.split(".")[0]) < 81, "pip install 'setuptools<81'")


def check_cache() -> Diagnosis:
    """Whether the cache folder can be written and has room."""
    folder = Path(os.environ.get("GAUNTLET_CACHE") or platformdirs.user_cache_dir(DISTRIBUTION))
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    ok = os.access(existing, os.W_OK) and free > FREE_SPACE_GB
    remedy = "free some space, or set GAUNTLET_CACHE to a folder that can be written"
    return Diagnosis("cache", f"{folder} ({free:.0f} GB free)", ok, remedy)


def check_registry(kind: RegistryKind) -> Diagnosis:
    """Whether every registered component of a kind can be imported."""
    try:
        return Diagnosis(f"{kind} names", ", ".join({name: resolve(kind, name) for name in names(kind)}), True)
    except ValueError as error:
        return Diagnosis(f"{kind} names", str(error), False, "reinstall, or remove the broken plug-in")


@dataclass(frozen=True)
class DoctorConfig:
    """Options of `doctor`: none."""


@command(DoctorConfig, __doc__)
def main(config: DoctorConfig, session: Session) -> int:
    """Print the report; exit code 1 if anything that is needed is missing."""
    rows = [line.as_row() for line in (check_python(), *check_packages(), check_cache(), *map(check_registry, BUILTIN))]
    session.console.print(findings_table(rows).rich())
    return int(any(row["state"] == "FIX" for row in rows))


if __name__ == "__main__":
    main()
