"""Which of the distribution's requirements are installed, and what to do about those that are not."""

from __future__ import annotations

import importlib.metadata
import sys
from dataclasses import dataclass
from typing import Final

from packaging.requirements import Requirement

from harness.errors import METADRIVE

DISTRIBUTION: Final = "gauntlet-drive"
INSTALL: Final = "pip install -c constraints.txt -e ."
ENGINE: Final = "metadrive-simulator"
MAINTAINERS: Final = ("dev", "docs", "notebooks")
"""Extras whose packages no user misses."""


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


def check_packages() -> list[Diagnosis]:
    """Whether what the distribution requires is installed, its extras for users included, and in which version."""
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return [Diagnosis(DISTRIBUTION, "not installed", False, INSTALL)]
    extras = ["", *(importlib.metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or [])]
    found: dict[str, Diagnosis] = {}
    for item in map(Requirement, requirements):
        extra = next((name for name in extras if item.marker is None or item.marker.evaluate({"extra": name})), "dev")
        if extra not in MAINTAINERS:
            found.setdefault(item.name, _package(item.name, extra))
    # Where MetaDrive's metadata forbid the interpreter, no requirement names it.
    engine = found.pop(ENGINE) if ENGINE in found else _package(ENGINE, "")
    return [engine, *found.values()]


def _package(name: str, extra: str) -> Diagnosis:
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        needed = METADRIVE if name == ENGINE and sys.version_info >= (3, 12) else INSTALL
        remedy = f"for the extra: pip install '{DISTRIBUTION}[{extra}]'" if extra else needed
        return Diagnosis(name, "missing", False, remedy, optional=bool(extra))
    # panda3d-gltf finds its loader through `pkg_resources`, which setuptools 81 removed.
    return Diagnosis(name, found, name != "setuptools" or int(found.split(".")[0]) < 81, "pip install 'setuptools<81'")
