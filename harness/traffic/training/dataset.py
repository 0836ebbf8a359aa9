"""Tokenised scenes, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.caching import Lru
from harness.errors import RunError, ScenarioError
from harness.fitting.identity import digest
from harness.traffic.tokens.config import SceneOptions
from harness.traffic.tokens.scene import SceneTokens
from harness.traffic.tokens.stored import load_phases, save_phases
from harness.traffic.tokens.vocabulary import Vocabulary
from harness.traffic.training.config import ExampleOptions
from harness.traffic.training.examples import examples_of, simulated, starting_later
from scenarios.fresh_processes import outcomes, processors
from scenarios.indexing.facts import states_of
from scenarios.mirroring import mirrored
from scenarios.scenario import CURRENT_STEP, Scenario, ScenarioSource

log = logging.getLogger(__name__)

LAYOUT = 5
"""Raise when `examples_of` changes what it makes."""
_KEPT: Final = 600
"""Scenes in memory, with all of their phases: about 1 MB each. The others are read again, which takes a millisecond."""
_FEW: Final = 12
"""So many scenes are tokenised here: other processes take longer to start."""
_SCENE_FILE: Final = re.compile(r"([0-9a-f]+(?:-m)?)\.([1-9])\.safetensors")
"""Name of a scene's file: see `_numbered`."""
_LIMIT_S: Final = 300.0
"""Longest time to tokenise one scene, s; usual ones take half a second, mirrored and in five phases."""


def usable(scenario: Scenario) -> str | None:
    """Why a scene cannot be trained on, or None."""
    if scenario.num_steps <= CURRENT_STEP + 5:
        return f"only {scenario.num_steps} steps"
    if not scenario.valid[scenario.ego, CURRENT_STEP]:
        return "the ego is absent at the current step"
    if abs(scenario.dt - 0.1) > 5e-3:
        return f"dt is {scenario.dt} s; tokens need 0.1 s"
    return None


def fingerprint(vocabulary: Vocabulary, options: SceneOptions, examples: ExampleOptions) -> str:
    """Names the cache folder: tokens of one vocabulary mean nothing in another."""
    # A trained model's vocabulary was averaged with its weights, which takes the sign from zeros; so does the sum here.
    digest = hashlib.sha256((vocabulary.motions + 0).tobytes() + (vocabulary.pieces + 0).tobytes())
    digest.update(json.dumps([LAYOUT, asdict(options), asdict(examples)]).encode())
    return digest.hexdigest()[:12]


class TokenTask(NamedTuple):
    """A scene to tokenise: how, and the files to write, without their ending, of the scene and of the mirrored one."""

    number: int
    scenario: Scenario
    vocabulary: Vocabulary
    options: SceneOptions
    examples: ExampleOptions
    files: dict[bool, Path]


def tokenise_task(task: TokenTask) -> str:
    """Tokenise a scene into its files; returns why nobody can learn from it, or an empty text."""
    reason = usable(task.scenario)
    if reason is not None:
        return reason
    made = {}
    for flag in task.files:
        seen = mirrored(task.scenario) if flag else task.scenario
        made[flag] = examples_of(seen, task.vocabulary, task.options, task.examples)
        if not made[flag]:
            return "nobody to learn from is there after the current step"
    for flag, phases in made.items():
        save_phases(_numbered(task.files[flag], len(phases)), phases)
    return ""


def _numbered(file: Path, phases: int) -> Path:
    """The file of a scene in so many phases: its name tells them, so that none need be opened to count."""
    return file.with_name(f"{file.name}.{phases}.safetensors")


class ExampleEntry(NamedTuple):
    """One example: a scene of the source, whether it is mirrored, and the phase of the token grid."""

    scene: int
    mirrored: bool
    phase: int


class TokenisedScenes:
    """Training scenes: tokenised once into `folder`, several at a time, and read when they are used.

    Args:
        source: Scenes.
        vocabulary: Tokens.
        options: Sizes.
        folder: Cache; one file per scene, shared by runs with equal vocabulary and options. A scene whose file has
            changed is tokenised anew.
        examples: Whom to learn from, and the number of phases.
        mirror: Whether every scene comes a second time, mirrored.
        simulated: Whether only agents that are there at the current step are kept, for stages that roll out from it.
        workers: Processes that tokenise what is not in the cache; by default one per core, or this one alone where that
            takes no longer.
        progress: Called with scenes done and their number.

    Attributes:
        entries: Every example; the phases of a scene follow one another.

    Raises:
        RunError: No usable scene.
    """

    def __init__(
        self,
        source: ScenarioSource,
        vocabulary: Vocabulary,
        options: SceneOptions,
        folder: Path,
        *,
        examples: ExampleOptions | None = None,
        mirror: bool = False,
        simulated: bool = False,
        workers: int | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.source, self.vocabulary, self.options = source, vocabulary, options
        self.examples = examples or ExampleOptions()
        self.folder = folder / fingerprint(vocabulary, options, self.examples)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._rejected: dict[int, str] = {}
        self._simulated, self._wanted = simulated, [False, True] if mirror else [False]
        states = states_of(source, range(len(source)))
        names = ["\n".join(filter(None, about)) for about in zip(source.ids, states, strict=True)]
        self._names = [hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:20] for name in names]
        self._fill(workers, progress)
        known, pairs = self._known(), [(index, flag) for index in range(len(source)) for flag in self._wanted]
        self._phases = {pair: known.get(self._file(*pair).name, 0) for pair in pairs}
        self.entries = [ExampleEntry(*pair, phase) for pair in pairs for phase in range(self._phases[pair])]
        self._memory: Lru[tuple[int, bool], list[SceneTokens]] = Lru(_KEPT)
        if not self.entries:
            raise RunError(f"none of the {len(source)} scenes can be trained on: {self.rejected[:3]}.")

    def __getstate__(self) -> dict[str, Any]:
        """Without what is in memory: a worker reads the scenes that it needs."""
        return {**self.__dict__, "_memory": Lru(_KEPT)}

    def _file(self, index: int, mirror: bool) -> Path:
        return self.folder / f"{self._names[index]}{'-m' if mirror else ''}"

    def _known(self) -> dict[str, int]:
        """Phases of every scene in the cache by the name of its file, without the ending.

        Others may be writing there: what is not yet a scene has another name.
        """
        found = (_SCENE_FILE.fullmatch(path.name) for path in self.folder.iterdir())
        return {match[1]: int(match[2]) for match in found if match}

    def _fill(self, workers: int | None, progress: Callable[[int, int], None]) -> None:
        """Tokenise what is not in the cache."""
        known, done = self._known(), 0
        count = len(self.source)

        def missing() -> Iterator[TokenTask]:
            nonlocal done
            for index in range(count):
                files = {flag: file for flag in self._wanted if (file := self._file(index, flag)).name not in known}
                try:
                    scenario = self.source[index] if files else None
                except ScenarioError as error:
                    self._reject(index, str(error))
                    scenario = None
                if scenario is not None:
                    yield TokenTask(index, scenario, self.vocabulary, self.options, self.examples, files)
                else:
                    done += 1
                    progress(done, count)

        for task, reason in _carried_out(missing(), workers):
            done += 1
            progress(done, count)
            if reason:
                self._reject(task.number, reason)

    @property
    def rejected(self) -> list[tuple[str, str]]:
        """Scenes that are left out, with reasons."""
        return [(self.source.ids[index], self._rejected[index]) for index in sorted(self._rejected)]

    def _reject(self, index: int, reason: str) -> None:
        self._rejected[index] = reason
        log.warning("scene %s is left out: %s", self.source.ids[index], reason)

    def digest(self) -> str:
        """Identifies the entries, in their order."""
        return digest(f"{self.source.ids[scene]} {flag} {phase}" for scene, flag, phase in self.entries)

    def __len__(self) -> int:
        """Number of entries, mirrored ones and all phases included."""
        return len(self.entries)

    def __getitem__(self, entry: int) -> SceneTokens:
        """Tokens of an entry."""
        scene, flag, phase = self.entries[entry]
        return self._memory.get((scene, flag), lambda: self._read(scene, flag))[phase]

    def _read(self, scene: int, flag: bool) -> list[SceneTokens]:
        read = load_phases(_numbered(self._file(scene, flag), self._phases[scene, flag]), self.vocabulary)
        return [simulated(tokens) for tokens in read] if self._simulated else read

    def scenario(self, entry: int) -> Scenario:
        """The scene behind an entry, as the entry sees it."""
        scene, flag, phase = self.entries[entry]
        seen = starting_later(self.source[scene], phase)
        return mirrored(seen) if flag else seen

    def order(self, rng: np.random.Generator, epoch: int) -> NDArray[np.int64]:
        """Entries of an epoch in random order: every scene (and every mirrored one) in one phase.

        In as many epochs as there are phases each of them has its turn, in every epoch for another share of the scenes.
        """
        begins = np.flatnonzero([entry.phase == 0 for entry in self.entries])
        counts = np.diff(begins, append=len(self.entries))
        phase = (np.arange(len(begins)) + epoch) % counts
        return np.asarray(rng.permutation(begins + phase), dtype=np.int64)

    @property
    def per_epoch(self) -> int:
        """Number of entries of an epoch: scenes, mirrored ones included, whatever the number of phases."""
        return sum(entry.phase == 0 for entry in self.entries)

    def batches(self, order: np.ndarray, size: int) -> Iterator[list[int]]:
        """Entries in groups of `size`."""
        for begin in range(0, len(order), size):
            yield [int(k) for k in order[begin : begin + size]]


def _carried_out(tasks: Iterator[TokenTask], workers: int | None) -> Iterator[tuple[TokenTask, str]]:
    """Tasks with what became of them, in processes of their own where there are many and several processors."""
    first = list(islice(tasks, _FEW + 1))
    count = workers or (processors() if len(first) > _FEW else 1)
    if count == 1:
        for task in chain(first, tasks):
            yield task, tokenise_task(task)
        return
    function = f"{tokenise_task.__module__}:{tokenise_task.__name__}"
    for task, reason, failure in outcomes(function, chain(first, tasks), count, _LIMIT_S, ahead=1):
        yield task, f"its tokenising {failure}" if failure else reason
