"""Tokenised scenes in one small file, to be trained on where the recordings are not.

The table of which pieces lie near which cell is nine tenths of a tokenised scene and follows from the rest. It is left
out, and made again by worker processes when the file is opened.
"""

from __future__ import annotations

import copy
import io
import json
import tarfile
from pathlib import Path
from typing import Any, Final

from harness.errors import RunError
from harness.executors import Executor, WorkerSetup, run_jobs
from harness.files import write_atomically
from harness.traffic.tokens.config import SceneOptions
from harness.traffic.tokens.scene import SceneTokens
from harness.traffic.tokens.stored import load_phases, phases_as_bytes, save_phases
from harness.traffic.tokens.vocabulary import Vocabulary
from harness.traffic.training.dataset import ExampleEntry, TokenisedScenes
from harness.traffic.training.examples import simulated
from scenarios.scenario import Scenario

_HEAD: Final = "head.json"
_MOST: Final = 1_000_000
"""Scenes of a file."""
_SCENE_BYTES: Final = 50_000_000
"""Bytes of one scene."""


def pack(scenes: TokenisedScenes, file: Path) -> None:
    """Write scenes without their tables to a compressed tar archive.

    Raises:
        RunError: It cannot be written.
    """

    def write(beside: Path) -> None:
        with tarfile.open(beside, "w:xz") as archive:
            _add(archive, _HEAD, json.dumps({"entries": scenes.entries, "digest": scenes.digest()}).encode())
            for entry in range(len(scenes)):
                _add(archive, f"{entry}.safetensors", phases_as_bytes([scenes[entry].without_table()]))

    write_atomically(file, write)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


class Tables:
    """What a worker does: make the table of a scene again, and write the scene where it is read from.

    Args:
        folder: Where scenes are written.
        vocabulary: Whose tokens they are.
        options: Sizes of the table.
    """

    def __init__(self, folder: Path, vocabulary: Vocabulary, options: SceneOptions) -> None:
        self._folder, self._vocabulary, self._options = folder, vocabulary, options

    def __call__(self, entry: int) -> None:
        """Complete a scene."""
        path = self._folder / f"{entry}.safetensors"
        (scene,) = load_phases(path, self._vocabulary)
        save_phases(path, [scene.with_table(self._options)])


class UnpackedScenes(TokenisedScenes):
    """Scenes of a packed file; there are no recordings, so nothing can be judged on them.

    Args:
        file: What `pack` has written.
        vocabulary: Whose tokens they are.
        options: Sizes, as when they were tokenised.
        folder: Where they are unpacked to; it is made.
        workers: How many processes make tables; None for one per processor, 0 for this process.

    Raises:
        RunError: The file is no packed scenes, or a table cannot be made.
    """

    def __init__(
        self, file: Path, vocabulary: Vocabulary, options: SceneOptions, folder: Path, workers: int | None = None
    ) -> None:
        self.vocabulary, self.folder, self._simulated = vocabulary, folder, False
        self._kept: dict[int, SceneTokens] = {}
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(file, "r:xz") as archive:
                head = json.loads(_read(archive, _HEAD))
                self._digest = str(head["digest"])
                self.entries = [
                    ExampleEntry(int(scene), bool(flag), int(phase)) for scene, flag, phase in head["entries"]
                ]
                if not 0 < len(self) < _MOST:
                    raise ValueError(f"it has {len(self)} scenes")
                for entry in range(len(self)):
                    self._path_of(entry).write_bytes(_read(archive, f"{entry}.safetensors"))
        except (tarfile.TarError, OSError, EOFError, LookupError, TypeError, ValueError) as error:
            raise RunError(f"{file} holds no packed scenes ({error}).") from error
        setup = WorkerSetup(f"{__name__}:Tables", {"folder": folder, "vocabulary": vocabulary, "options": options})
        executor: Executor = "serial" if workers == 0 else "process"
        for result in run_jobs(range(len(self)), setup, executor, workers or None):
            if result.error:
                raise RunError(f"scene {result.job} of {file}: {result.error}")

    def _path_of(self, entry: int) -> Path:
        return self.folder / f"{entry}.safetensors"

    def digest(self) -> str:
        """That of the scenes when they were packed."""
        return self._digest

    def of_those_there(self) -> UnpackedScenes:
        """The same for stages that roll out: with the agents alone that are there at the current step."""
        again = copy.copy(self)
        again._simulated, again._kept = True, {}
        return again

    def __getstate__(self) -> dict[str, Any]:
        """Without what is in memory."""
        return {**self.__dict__, "_kept": {}}

    def __getitem__(self, entry: int) -> SceneTokens:
        """Tokens of a scene."""
        if entry not in self._kept:
            (scene,) = load_phases(self._path_of(entry), self.vocabulary)
            self._kept[entry] = simulated(scene) if self._simulated else scene
        return self._kept[entry]

    def scenario(self, entry: int) -> Scenario:
        """There is none.

        Raises:
            RunError: Always.
        """
        raise RunError("packed scenes have no recordings: only cloning and fine-tuning towards the log need none.")


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.getmember(name)
    opened = archive.extractfile(member)
    if opened is None or member.size > _SCENE_BYTES:
        raise ValueError(f"{name} is no file of a scene")
    return opened.read()
