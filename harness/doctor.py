"""`python -m harness.doctor`: what is installed, what is missing, what to do about it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs
import tyro
from rich.console import Console

from harness.report.command_tables import findings_table

REQUIRED: Final = (
    "metadrive-simulator",
    "gymnasium",
    "numpy",
    "scipy",
    "shapely",
    "torch",
    "safetensors",
    "stable-baselines3",
    "tensorboard",
    "tyro",
    "rich",
    "matplotlib",
    "imageio",
)
OPTIONAL: Final = {"onnxruntime": "to test ONNX policies: pip install 'gauntlet-drive[onnx]'"}
FREE_SPACE_GB: Final = 2.0
"""Procedural scenes and one run with its replay buffer need about this much."""


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    found: str
    ok: bool
    remedy: str = ""

    def as_row(self) -> dict[str, str]:
        """As a row of the table: `check`, `found`, `state` and what to do."""
        state = "ok" if self.ok else ("optional" if self.name in OPTIONAL else "FIX")
        return {"check": self.name, "found": self.found, "state": state, "remedy": "" if self.ok else self.remedy}


def check_python() -> Finding:
    """The interpreter's version."""
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", found, (3, 11) <= sys.version_info[:2] < (3, 14), "use Python 3.11 to 3.13")


def check_package(name: str, remedy: str) -> Finding:
    """Whether a distribution is installed, and which version."""
    try:
        return Finding(name, importlib.metadata.version(name), True)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "missing", False, remedy)


def check_setuptools() -> Finding:
    """`pkg_resources` must exist: panda3d-gltf registers its loader through it (gone from setuptools 81)."""
    try:
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        return Finding("setuptools", "missing", False, "pip install 'setuptools<81'")
    return Finding("setuptools", version, int(version.split(".")[0]) < 81, "pip install 'setuptools<81'")


def check_cache() -> Finding:
    """Whether the cache folder can be written and has room."""
    folder = Path(os.environ.get("GAUNTLET_CACHE") or platformdirs.user_cache_dir("gauntlet-drive"))
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if not os.access(existing, os.W_OK):
        return Finding("cache", f"{folder} is not writable", False, "set GAUNTLET_CACHE to a folder that is")
    return Finding("cache", f"{folder} ({free:.0f} GB free)", free > FREE_SPACE_GB, "free some space")


def check_registry() -> list[Finding]:
    """Whether every registered component can be imported."""
    from harness.registry import BUILTIN, names, resolve

    findings = []
    for kind in BUILTIN:
        broken = []
        for name in names(kind):
            try:
                resolve(kind, name)
            except ValueError as error:
                broken.append(f"{name}: {error}")
        found = "; ".join(broken) or ", ".join(names(kind))
        findings.append(Finding(f"{kind} names", found, not broken, "reinstall, or remove the broken plug-in"))
    return findings


def diagnose() -> list[Finding]:
    """Every check, in order."""
    findings = [check_python(), check_setuptools()]
    findings += [check_package(name, "pip install -c constraints.txt -e .") for name in REQUIRED]
    optional = [check_package(name, remedy) for name, remedy in OPTIONAL.items()]
    return [*findings, *optional, check_cache(), *check_registry()]


@dataclass(frozen=True)
class DoctorConfig:
    """Report what is installed, what is missing, and what to do about it; takes no options."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the report; exit code 1 if anything that is needed is missing."""
    tyro.cli(DoctorConfig, args=argv)
    console = Console()
    findings = diagnose()
    console.print(findings_table([finding.as_row() for finding in findings]).rich())
    sys.exit(any(not finding.ok and finding.name not in OPTIONAL for finding in findings))


if __name__ == "__main__":
    main()
