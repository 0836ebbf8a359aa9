"""Everything that is wrong with scene files, file by file, and scenes that several files hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.errors import ScenarioError
from scenarios.store import ScenarioStore, examine
from scenarios.validate import Finding, Needs, duplicates


class FileReport(NamedTuple):
    """What is wrong with a file, or with several that hold the same scene.

    Attributes:
        name: Name of the file, or names of all with commas.
        findings: What is wrong; empty if nothing is.
    """

    name: str
    findings: Sequence[Finding]

    @property
    def worst(self) -> str:
        """`error`, `warning`, or empty where all is well."""
        return min((finding.level for finding in self.findings), default="")


def scene_files(path: Path) -> Sequence[Path]:
    """A scene file, or those of a folder.

    Raises:
        ScenarioError: There is no such file or folder, or the folder holds no scenes.
    """
    if not path.exists():
        raise ScenarioError(f"{path}: no such file or folder.")
    return ScenarioStore(path).paths if path.is_dir() else (path,)


def examine_files(paths: Iterable[Path], needs: Needs) -> Iterator[FileReport]:
    """A report per file, then one per scene that several files hold.

    Args:
        paths: Scene files.
        needs: What every scene must have.
    """
    ids: list[tuple[str, str]] = []
    for path in paths:
        scenario, findings = examine(path, needs)
        if scenario is not None:
            ids.append((path.name, str(scenario.metadata.get("scenario_id", scenario.id))))
        yield FileReport(path.name, findings)
    for scene, names in duplicates(ids).items():
        yield FileReport(", ".join(names), (Finding("warning", "id", f"all hold scene {scene}"),))
