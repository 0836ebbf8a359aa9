"""Everything that is wrong with scenes of any format, file by file, and scenes that several files hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.errors import ScenarioError
from scenarios.importers.files import entries, examine
from scenarios.importers.layouts import SceneFound, find_scenes
from scenarios.validate import Finding, Needs, duplicates


class FileReport(NamedTuple):
    """What is wrong with a scene, with a file, or with several that hold the same scene.

    Attributes:
        name: Name of the file (with the scene's, where it holds several), or names of all with commas.
        findings: What is wrong; empty if nothing is.
    """

    name: str
    findings: Sequence[Finding]

    @property
    def worst(self) -> str:
        """`error`, `warning`, or empty where all is well."""
        return min((finding.level for finding in self.findings), default="")


def scene_files(path: Path) -> Sequence[SceneFound]:
    """A scene file, or those below a folder, by the rules of `scenarios.importers.layouts`.

    Raises:
        ScenarioError: There is no such file or folder, or the folder holds no scenes.
    """
    return tuple(find_scenes(path))


def examine_files(files: Iterable[SceneFound], needs: Needs) -> Iterator[FileReport]:
    """A report per scene, one per file that cannot be read, then one per scene that occurs several times.

    Args:
        files: Scene files.
        needs: What every scene must have.

    Raises:
        ConfigError: A format needs a package that is not installed.
    """
    ids: list[tuple[str, str]] = []
    for found in files:
        path = Path(found.path)
        try:
            scenes = entries(path, found.kind)
        except ScenarioError as error:
            yield FileReport(path.name, (Finding("error", "file", str(error).removeprefix(f"{path}: ")),))
            continue
        for entry in scenes:
            scenario, findings = examine(entry, needs)
            # Of a record that cannot be read, the number is all that is known.
            name = path.name if len(scenes) == 1 else f"{path.name}[{scenario.id if scenario else entry.record}]"
            if scenario is not None:
                ids.append((name, str(scenario.metadata.get("scenario_id") or scenario.id)))
            yield FileReport(name, findings)
    for scene, names in duplicates(ids).items():
        yield FileReport(", ".join(names), (Finding("warning", "id", f"all hold scene {scene}"),))
