"""Report what is installed, what is missing, and what to do about it; there are no options."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from typing import Final

from harness.caching import cache_folder
from harness.commands.installed import Diagnosis, check_packages
from harness.commands.scaffold import Session, command
from harness.registry import BUILTIN, RegistryKind, names, resolve
from harness.report.command_tables import findings_table

FREE_SPACE_GB: Final = 2.0  # What procedural scenes and one run with its replay buffer need.


def check_python() -> Diagnosis:
    """The interpreter's version."""
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    return Diagnosis("python", platform.python_version(), fits, "use Python 3.11 to 3.13")


def check_cache() -> Diagnosis:
    """Whether the cache folder can be written and has room."""
    folder = cache_folder()
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
