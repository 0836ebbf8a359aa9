"""Durable records of a benchmark: one file per episode, written beside and renamed, never a pickle.

`episodes/<policy>/<adversary>/<scene>.npz` holds the arrays of the `Episode` and one JSON text with everything else.
Adversary `none` is stage 1: the undisturbed drive. Failures are records too (`Episode.error`).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from harness.errors import RunError
from harness.files import explained, plain, write_arrays
from harness.interfaces import STATE, AttackPlan, Episode, Trajectory

FOLDER: Final = "episodes"
UNDISTURBED: Final = "none"
"""Adversary of stage 1."""
Score = float | bool | str | None
"""A number of an episode; NaN is written as null and read as None."""

Content = TypeVar("Content")

_ARRAY_FIELDS: Final = ("ego", "opponent", "agents", "agents_valid", "plan")
_NUMBERS: Final = ("reward", "cost", "route_completion", "mean_speed", "mean_jerk", "engine_force", "brake_force")
_SCALAR_FIELDS: Final = tuple(item.name for item in fields(Episode) if item.name not in _ARRAY_FIELDS)


class CellKey(NamedTuple):
    """One cell of the benchmark in one scene. `adversary` is `none` for stage 1."""

    scenario_id: str
    policy: str
    adversary: str


@dataclass(frozen=True, slots=True)
class Record:
    """What the store gives back.

    Attributes:
        key: Which episode.
        episode: As written. Its plan has no controller, and its candidates are rounded to float32 (under 0.1 mm
            within 1 km of the plan), because they are for pictures; all else is exact.
        scores: Numbers of the episode.
        arrays: Further arrays (profiles for pooled distributions).
    """

    key: CellKey
    episode: Episode
    scores: Mapping[str, Score]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scored:
    """The numbers of an episode, or why it failed. Attributes as in `Record` and `Episode`."""

    error: str
    scores: Mapping[str, Score]
    arrays: Mapping[str, NDArray[Any]]


class EpisodeStore:
    """Episodes of a run folder. Any number of processes may write (different keys) and read at once."""

    def __init__(self, folder: Path) -> None:
        """Use `folder` (a run folder); nothing is made before the first write."""
        self.folder = folder
        self._root = folder / FOLDER

    def path(self, key: CellKey) -> Path:
        """File of a key. Names are percent-encoded where a file system could object."""
        return self._root / _encode(key.policy) / _encode(key.adversary) / f"{_encode(key.scenario_id)}.npz"

    def __contains__(self, key: CellKey) -> bool:
        return self.path(key).is_file()

    def keys(self) -> Iterator[CellKey]:
        """Every key that has a record, in a fixed order; half-written files of a killed process do not count."""
        for file in sorted(self._root.glob("*/*/*.npz")):
            if not file.name.startswith("."):
                yield CellKey(unquote(file.stem), unquote(file.parent.parent.name), unquote(file.parent.name))

    def write(
        self,
        key: CellKey,
        episode: Episode,
        scores: Mapping[str, Score],
        arrays: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Write (or replace) one record; it is on disk when this returns.

        Raises:
            RunError: The folder cannot be written, or the disk is full.
        """
        path = self.path(key)
        packed = _pack(key, episode, scores, arrays or {})
        with explained(path.parent, "make"):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(path, packed)

    def read(self, key: CellKey) -> Record:
        """One record.

        Raises:
            RunError: There is none, or it is damaged.
        """
        return self._load(key, lambda archive: _unpack({name: archive[name] for name in archive.files}))

    def read_scores(self, key: CellKey) -> Scored:
        """The numbers of one record; its trajectories stay unread.

        Raises:
            RunError: There is none, or it is damaged.
        """
        return self._load(key, _unpack_scores)

    def _load(self, key: CellKey, unpack: Callable[[Any], Content]) -> Content:
        path = self.path(key)
        with explained(path, "read"):
            data = path.read_bytes()
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                return unpack(archive)
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(
                f"record {path} is damaged ({error}). Delete it and go on with --resume: it is run again."
            ) from error

    def remove(self, key: CellKey) -> None:
        """Forget one record, if there is one (it is run again on resumption)."""
        self.path(key).unlink(missing_ok=True)

    def sweep(self) -> int:
        """Delete what killed processes left half written; return how many files. Call only while nobody writes."""
        torn = list(self._root.glob("*/*/.*.part*"))
        for file in torn:
            file.unlink(missing_ok=True)
        return len(torn)


def _encode(name: str) -> str:
    """`name` as one path component that is neither hidden nor special."""
    text = quote(name, safe=" +=,@()[]")
    return f"%2E{text[1:]}" if text.startswith(".") else text


def _pack(
    key: CellKey, episode: Episode, scores: Mapping[str, Score], arrays: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    meta: dict[str, Any] = {
        "key": list(key),
        "episode": {name: getattr(episode, name) for name in _SCALAR_FIELDS},
        "scores": dict(scores),
    }
    packed: dict[str, NDArray[Any]] = {
        "ego_states": episode.ego.states,
        "ego_valid": episode.ego.valid,
        # Rows at which an agent is absent are zero: only the others are written.
        "agents_valid": episode.agents_valid,
        "agents": episode.agents[episode.agents_valid],
    }
    if episode.opponent is not None:
        packed |= {"opponent_states": episode.opponent.states, "opponent_valid": episode.opponent.valid}
    if episode.plan is not None:
        meta["plan"] = _pack_plan(episode.plan, packed)
    packed |= {f"array_{name}": np.asarray(value) for name, value in arrays.items()}
    text = json.dumps(plain(meta), allow_nan=False)
    return {"meta": np.frombuffer(text.encode(), dtype=np.uint8), **packed}


def _pack_plan(plan: AttackPlan, packed: dict[str, NDArray[Any]]) -> dict[str, Any]:
    packed |= {"plan_states": plan.states, "plan_valid": plan.valid}
    if plan.candidates is not None:
        packed["plan_origin"] = _origin(plan)
        near = plan.candidates - packed["plan_origin"]
        near[~plan.candidates.any(-1)] = np.nan  # absent rows are zero, and must come back as zero
        packed["plan_candidates"] = near.astype(np.float32)
    packed |= {f"score_{name}": np.asarray(value, dtype=np.float64) for name, value in plan.scores.items()}
    return {"chosen": plan.chosen, "takeover_step": plan.takeover_step, "info": dict(plan.info)}


def _origin(plan: AttackPlan) -> NDArray[np.float64]:
    """[STATE] what candidates are stored relative to: a place near the plan, so that float32 suffices."""
    origin = np.zeros(STATE)
    if plan.valid.any():
        origin[:2] = plan.states[int(plan.valid.argmax()), :2]
    return origin


def _unpack(found: Mapping[str, NDArray[Any]]) -> Record:
    meta = json.loads(found["meta"].tobytes().decode())
    scalars = meta["episode"]
    for name in _NUMBERS:
        scalars[name] = float("nan") if scalars.get(name) is None else float(scalars[name])
    valid = found["agents_valid"]
    agents = np.zeros((*valid.shape, STATE))
    agents[valid] = found["agents"]
    opponent = None
    if "opponent_states" in found:
        opponent = Trajectory(found["opponent_states"], found["opponent_valid"])
    episode = Episode(
        ego=Trajectory(found["ego_states"], found["ego_valid"]),
        opponent=opponent,
        agents=agents,
        agents_valid=valid,
        plan=_unpack_plan(found, meta["plan"]) if "plan" in meta else None,
        **scalars,
    )
    return Record(CellKey(*meta["key"]), episode, meta["scores"], _arrays(found, found))


def _unpack_scores(archive: Any) -> Scored:
    meta = json.loads(archive["meta"].tobytes().decode())
    return Scored(meta["episode"]["error"], meta["scores"], _arrays(archive, archive.files))


def _arrays(found: Mapping[str, NDArray[Any]], names: Iterable[str]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix("array_"): found[name] for name in names if name.startswith("array_")}


def _unpack_plan(found: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> AttackPlan:
    plan = AttackPlan(
        states=found["plan_states"],
        valid=found["plan_valid"],
        scores={name.removeprefix("score_"): value for name, value in found.items() if name.startswith("score_")},
        chosen=meta["chosen"],
        takeover_step=meta["takeover_step"],
        info=meta["info"],
    )
    if "plan_candidates" in found:
        candidates = found["plan_candidates"].astype(np.float64) + found["plan_origin"]
        plan = replace(plan, candidates=np.nan_to_num(candidates, nan=0.0))
    return plan
