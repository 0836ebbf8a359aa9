"""Checkpoints: everything that a resumed run needs to go on exactly, in files that cannot run code.

`checkpoint/manifest.json` names the other files and is replaced last, by a rename: whatever moment a kill comes,
the manifest names files that are complete. Networks and optimisers are safetensors, arrays are npz without pickle.
The replay memory is written in segments: each checkpoint adds only the rows since the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file

from harness.errors import RunError, WeightsError, reading
from harness.files import MEGABYTE, read_arrays, read_json, write_atomically, write_json
from harness.fitting.weights import read_tensors
from harness.training.learner import Learner
from harness.training.replay import COLUMNS

FOLDER: Final = "checkpoint"
MANIFEST: Final = "manifest.json"
MODEL_ZIP: Final = "policy.zip"
MAX_SEGMENT: Final = 16_000 * MEGABYTE
"""Bytes of a file of replay rows: ten million of the widest observations."""
_MANY: Final = 2**53
"""More steps than any run has: JSON holds whole numbers up to here."""


@dataclass
class TrainingProgress:
    """Where a run stands, at the end of an episode.

    Attributes:
        step: Environment steps so far.
        episode: Training episodes so far.
        updates: TD3 updates so far.
        next_eval, next_checkpoint: Steps at or after which they are due.
        evaluated: Step of the last evaluation, or -1.
        seconds: Wall time of training so far, s, evaluations included.
        curriculum: State dict of the curriculum.
        segments: Replay rows [start, end) of each segment file.
        failed_episodes: Training episodes that could not be played.
        refused_attacks: Attacks that failed the precondition (`--attacks`), so that their scenes were played as
            recorded.
        chosen, score: Step and score of the best policy so far on validation scenes; -1 before the first.
    """

    step: int = 0
    episode: int = 0
    updates: int = 0
    next_eval: int = 0
    next_checkpoint: int = 0
    evaluated: int = -1
    seconds: float = 0.0
    curriculum: dict[str, object] = field(default_factory=dict)
    segments: list[list[int]] = field(default_factory=list)
    failed_episodes: int = 0
    refused_attacks: int = 0
    chosen: int = -1
    score: float = -1.0


def model_file(step: int) -> str:
    """Name of the file of networks and optimisers."""
    return f"model-{step}.safetensors"


def ego_file(step: int) -> str:
    """Name of the file of remembered ego trajectories."""
    return f"ego-{step}.npz"


def env_file(step: int) -> str:
    """Name of the file of the environments' state."""
    return f"env-{step}.npz"


def adversary_file(step: int) -> str:
    """Name of the file of what an adversary has learnt beside the ego."""
    return f"adversary-{step}.safetensors"


def _segment_file(start: int, end: int) -> str:
    return f"replay-{start}-{end}.npz"


def save_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write arrays, all or nothing."""
    write_atomically(path, lambda beside: np.savez(beside, allow_pickle=False, **arrays))


def save(run: Path, progress: TrainingProgress, learner: Learner, ego: Mapping[str, NDArray[np.generic]]) -> None:
    """Write a checkpoint, between episodes.

    Args:
        run: Run folder.
        progress: How far the run is; `updates` and `segments` are brought up to date here.
        learner: Networks and memory.
        ego: State of the buffer of ego trajectories.

    Raises:
        RunError: The disk is full, or the folder cannot be written. The last checkpoint stays intact.
    """
    folder = make_folder(run)
    tensors = {name: tensor.clone() for name, tensor in learner.state().items()}
    memory = learner.memory
    # Rows that newer ones have overwritten are of no use any more.
    oldest = max(memory.written - memory.capacity, 0)
    segments = [list(segment) for segment in progress.segments if segment[1] > oldest]
    start = max(segments[-1][1] if segments else oldest, oldest)
    if memory.written > start:
        save_arrays(folder / _segment_file(start, memory.written), memory.rows(start, memory.written))
        segments.append([start, memory.written])
    progress.segments, progress.updates = segments, learner.updates
    write_atomically(folder / model_file(progress.step), lambda beside: save_file(tensors, beside))
    save_arrays(folder / ego_file(progress.step), ego)
    write_atomically(run / MODEL_ZIP, learner.save_zip)
    write_json(folder / MANIFEST, asdict(progress))
    remove_others(folder, progress)


def make_folder(run: Path) -> Path:
    """The folder of checkpoints within a run folder.

    Raises:
        RunError: It cannot be made.
    """
    folder = run / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make {folder}: {error}. Make the run folder writable.") from error
    return folder


def remove_others(folder: Path, progress: TrainingProgress) -> None:
    """Delete files that the manifest does not name: older checkpoints, and what a kill left half-written."""
    named = {MANIFEST, *(name(progress.step) for name in (model_file, ego_file, env_file, adversary_file))}
    named |= {_segment_file(start, end) for start, end in progress.segments}
    for path in folder.iterdir():
        if path.name not in named:
            path.unlink(missing_ok=True)


def exists(run: Path) -> bool:
    """Whether the run has a checkpoint to go on from."""
    return (run / FOLDER / MANIFEST).is_file()


def complete(run: Path, steps: int) -> bool:
    """Whether the checkpoint of a run has spent `steps`, with an evaluation at its end.

    Raises:
        RunError: Its manifest is damaged.
    """
    if not exists(run):
        return False
    progress = read_progress(run / FOLDER)
    return progress.step >= steps and progress.evaluated == progress.step


def load(run: Path, learner: Learner) -> tuple[TrainingProgress, dict[str, NDArray[np.generic]]]:
    """Restore `learner`, and return progress and the state of the buffer of ego trajectories.

    Raises:
        RunError: A file is missing or damaged.
        WeightsError: The networks have another architecture.
    """
    folder = run / FOLDER
    progress = read_progress(folder)
    try:
        with reading(folder, "a checkpoint of this training", RunError):
            tensors, _ = read_tensors(folder / model_file(progress.step), None, "{file} is missing.")
            for start, end in progress.segments:
                learner.memory.restore(start, _rows(folder / _segment_file(start, end), end - start))
            ego = finite_arrays(folder / ego_file(progress.step))
        memory = learner.memory
        first = progress.segments[0][0] if progress.segments else memory.written
        if (progress.step and not len(memory)) or first > max(memory.written - memory.capacity, 0):
            raise RunError(f"{folder / MANIFEST} does not name all rows of the replay memory.")
    except (RunError, WeightsError) as error:
        raise RunError(f"the checkpoint in {folder} cannot be read: {error} Start anew in another folder.") from error
    learner.load(tensors, progress.updates)
    return progress, ego


def restoring(run: Path) -> AbstractContextManager[None]:
    """Turns what a damaged checkpoint raises while it is being put in place into a `RunError`."""
    return reading(run / FOLDER, "a checkpoint of this run. Start anew in another folder", RunError)


def read_progress(folder: Path) -> TrainingProgress:
    """What the manifest says; its numbers become names of files, and so they are numbers."""
    file = folder / MANIFEST
    with reading(file, "the manifest of a checkpoint", RunError):
        progress = TrainingProgress(**read_json(file))
        counts = (progress.step, progress.episode, progress.updates, progress.next_eval, progress.next_checkpoint)
        segments = [number for start, end in progress.segments for number in (start, end)]
        whole = (*counts, *segments, progress.evaluated + 1, progress.failed_episodes, progress.chosen + 1)
        whole = (*whole, progress.refused_attacks)
        if not all(type(number) is int and 0 <= number < _MANY for number in whole):
            raise ValueError("a number of steps, episodes or rows is none")
        if any(last[1] != first[0] for last, first in pairwise(progress.segments)):
            raise ValueError("its segments of the replay memory do not follow one another")
        if not isinstance(progress.seconds, int | float) or not 0 <= progress.seconds < _MANY:
            raise ValueError("the seconds are no number of seconds")
        if not isinstance(progress.score, int | float) or not -1 <= progress.score <= 1:
            raise ValueError("the score is no share")
        if not isinstance(progress.curriculum, dict):
            raise TypeError("the curriculum is of another kind")
        return progress


def finite_arrays(file: Path) -> dict[str, NDArray[np.generic]]:
    """Arrays that `save` wrote: not packed, and so of no more bytes than the file has, and finite."""
    arrays = read_arrays(file, MAX_SEGMENT, ratio=1.0)
    if bad := [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]:
        raise ValueError(f"{bad[0]} in {file.name} holds NaN or infinite numbers")
    return arrays


def _rows(file: Path, count: int) -> dict[str, NDArray[np.generic]]:
    """The rows of a segment of the replay memory."""
    rows = finite_arrays(file)
    if set(rows) != set(COLUMNS) or any(len(column) != count for column in rows.values()):
        raise ValueError(f"{file.name} does not hold {count} rows of {', '.join(COLUMNS)}")
    return rows
