"""The first test scenes of the default generator, which come with the package: a first attack waits for no generator.

They are byte for byte what the generator makes (`scripts/ship_scenes.py` made the archive), so that nobody can tell
whether a cache began with them.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Final, cast

from harness.files import write_bytes
from scenarios import safe_pickle
from scenarios.procedural.config import ProceduralConfig
from scenarios.procedural.pool import SimulationResult, SimulationTask, file_name, task_of

ARCHIVE: Final = Path(__file__).with_name("shipped.tar.xz")
"""Scene files under a folder that is called after the generator's digest."""


def shipped(config: ProceduralConfig, archive: Path = ARCHIVE) -> dict[SimulationTask, SimulationResult]:
    """What the first simulations of a generator give, as far as it is shipped; empty for other generators."""
    return _read(archive).get(config.digest, {})


@cache
def _read(archive: Path) -> dict[str, dict[SimulationTask, SimulationResult]]:
    if not archive.is_file():
        return {}
    with tarfile.open(archive, "r:xz") as held:
        files = {member.name: held.extractfile(member).read() for member in held if member.isfile()}  # type: ignore[union-attr]
    found: dict[str, dict[SimulationTask, SimulationResult]] = {}
    for (digest, task), names in groupby(sorted(files), lambda name: (name.split("/")[0], task_of(Path(name).name))):
        scenes = [(Path(name).name, files[name], _metadata(files[name])) for name in names]
        found.setdefault(digest, {})[task] = SimulationResult(task, scenes, "")
    return found


def _metadata(scene: bytes) -> dict[str, object]:
    return cast("dict[str, dict[str, object]]", safe_pickle.loads(scene))["metadata"]


def ship(config: ProceduralConfig, results: Iterable[SimulationResult], archive: Path = ARCHIVE) -> None:
    """Write the archive; equal scenes give equal bytes.

    Args:
        config: The generator.
        results: What its first simulations gave, all of each.
        archive: Written anew.

    Raises:
        GauntletError: It cannot be written.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=9) as held:
        for result in results:
            for number, (_, scene, _) in enumerate(result.scenes):
                member = tarfile.TarInfo(f"{config.digest}/{file_name(result.task.split, result.task.number, number)}")
                member.size = len(scene)
                held.addfile(member, io.BytesIO(scene))
    write_bytes(archive, buffer.getvalue())
