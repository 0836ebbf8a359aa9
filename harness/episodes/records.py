"""Durable records of a benchmark: one file per episode, written beside and renamed, never a pickle.

`episodes/<policy>/<adversary>/<scene>.npz` holds the arrays of the `Episode` and one JSON text with everything else.
Adversary `none` is stage 1: the undisturbed drive. Failures are records too (`Episode.error`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.errors import RunError, reading
from harness.files import (
    MEGABYTE,
    coded_name,
    decoded_name,
    explained,
    open_regular,
    parsed_json,
    plain,
    read_arrays,
    write_arrays,
)
from harness.interfaces import STATE, AttackPlan, Episode, Newcomer, Trajectory
from harness.traffic.slots import ENTERING
from scenarios.scenario import Kind

FOLDER: Final = "episodes"
META: Final = "meta"
"""Name of the array that holds the JSON text, as bytes."""
ARRAY: Final = "array_"
"""What the names of further arrays begin with."""
_LARGEST: Final = 1e15
"""Larger than any score; what is smaller can be added up and squared."""
END: Final = 22
"""Bytes at the end of a zip file that numpy writes; a file that was cut lacks them."""
MAX_RECORD: Final = 300 * MEGABYTE
"""Bytes of a record, packed or not. One has 20 to 300 kB, and 50 MB with hundreds of candidates of a long scene."""
UNDISTURBED: Final = "none"
"""Adversary of stage 1."""
Meta = Mapping[str, Any]
Score = float | bool | str | None
"""A number of an episode; NaN is written as null and read as None."""

Content = TypeVar("Content")

_ARRAY_FIELDS: Final = ("ego", "opponent", "agents", "agents_valid", "plan", "newcomers", "route")
_NUMBERS: Final = ("reward", "cost", "route_completion", "mean_speed", "mean_jerk", "engine_force", "brake_force")
_TYPES: Final = {"str": str, "int": int, "bool": bool, "float": int | float, "int | None": int | None}
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
        """File of a key, in names that no file system objects to."""
        return self._root / coded_name(key.policy) / coded_name(key.adversary) / f"{coded_name(key.scenario_id)}.npz"

    def __contains__(self, key: CellKey) -> bool:
        return self.path(key).is_file()

    def keys(self) -> Iterator[CellKey]:
        """Every key that has a record, in a fixed order; half-written files of a killed process do not count."""
        for file in sorted(self._root.glob("*/*/*.npz")):
            if file.name.startswith("."):
                continue
            names = [decoded_name(name) for name in (file.stem, file.parent.parent.name, file.parent.name)]
            known = [name for name in names if name is not None]
            yield CellKey(*known) if len(known) == len(names) else _key_in(file)

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
        return _read(self.path(key), key, _unpack, lambda name: True)

    def read_scores(self, key: CellKey) -> Scored:
        """The numbers of one record; its trajectories stay unread.

        Raises:
            RunError: There is none, or it is damaged.
        """
        return _read(self.path(key), key, _unpack_scores, lambda name: name == META or name.startswith(ARRAY))

    def cut(self) -> list[Path]:
        """Records that have been cut, or never were; reads the end of every file alone."""
        return [path for path in self._root.glob("*/*/*.npz") if not _is_whole(path)]

    def remove(self, key: CellKey) -> None:
        """Forget one record, if there is one (it is run again on resumption)."""
        self.path(key).unlink(missing_ok=True)

    def sweep(self) -> int:
        """Delete what killed processes left half written; return how many files. Call only while nobody writes."""
        torn = list(self._root.glob("*/*/.*.part*"))
        for file in torn:
            file.unlink(missing_ok=True)
        return len(torn)


def _read(
    path: Path,
    key: CellKey | None,
    unpack: Callable[[Mapping[str, NDArray[Any]], Meta], Content],
    wanted: Callable[[str], bool],
) -> Content:
    try:
        with reading(f"record {path}", "an episode", RunError):
            found = read_arrays(path, MAX_RECORD, wanted=wanted)
            meta = parsed_json(found[META].tobytes())
            names = meta["key"]
            if len(names) != len(CellKey._fields) or not all(isinstance(name, str) for name in names):
                raise RunError(f"record {path} does not say of which episode it is.")
            if key is not None and tuple(names) != key:
                raise RunError(f"record {path} is that of another episode, {CellKey(*names)}.")
            return unpack(found, meta)
    except RunError as error:
        raise RunError(f"{error} Delete that file and go on with --resume: the episode is run again.") from error


def _is_whole(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.seek(-END, os.SEEK_END) >= 0 and file.read(4) == b"PK\x05\x06"
    except (OSError, RunError):
        return False


def _key_in(file: Path) -> CellKey:
    """The key of a record whose name does not hold all of it."""
    return _read(file, None, lambda found, meta: CellKey(*meta["key"]), lambda name: name == META)


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
    if episode.newcomers:
        packed["newcomers"] = np.array([[who.slot, who.kind, *who.size] for who in episode.newcomers], np.float64)
    if episode.route is not None:
        packed["route"] = episode.route
    packed |= {f"{ARRAY}{name}": np.asarray(value) for name, value in arrays.items()}
    text = json.dumps(plain(meta), allow_nan=False)
    return {META: np.frombuffer(text.encode(), dtype=np.uint8), **packed}


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


def _unpack(found: Mapping[str, NDArray[Any]], meta: Meta) -> Record:
    scalars = {name: meta["episode"].get(name) for name in _SCALAR_FIELDS if name in meta["episode"]}
    for name in _NUMBERS:
        scalars[name] = float("nan") if scalars.get(name) is None else float(scalars[name])
    for item in fields(Episode):
        if item.name in scalars and not isinstance(scalars[item.name], _TYPES[str(item.type)]):
            raise TypeError(f"{item.name} is {type(scalars[item.name]).__name__}, expected {item.type}")
    valid = found["agents_valid"]
    agents = np.zeros((*valid.shape, STATE))
    agents[valid] = found["agents"]
    if not np.isfinite(agents).all():
        raise ValueError("the state of an agent is NaN or infinite")
    episode = Episode(
        ego=_trajectory(found, "ego"),
        opponent=_trajectory(found, "opponent") if "opponent_states" in found else None,
        agents=agents,
        agents_valid=valid,
        plan=_unpack_plan(found, meta["plan"]) if "plan" in meta else None,
        newcomers=_newcomers(found["newcomers"], len(valid)) if "newcomers" in found else (),
        route=_route(found["route"]) if "route" in found else None,
        **scalars,
    )
    return Record(CellKey(*meta["key"]), episode, _scores(meta), _arrays(found))


def _trajectory(found: Mapping[str, NDArray[Any]], name: str) -> Trajectory:
    states, valid = found[f"{name}_states"], found[f"{name}_valid"]
    if valid.ndim != 1 or valid.dtype != np.bool_ or states.shape != (len(valid), STATE):
        raise ValueError(f"{name}: states {states.shape} with {valid.dtype} {valid.shape}")
    if not np.isfinite(states[valid]).all():
        raise ValueError(f"{name}: a state is NaN or infinite")
    return Trajectory(states, valid)


def _newcomers(rows: NDArray[Any], agents: int) -> tuple[Newcomer, ...]:
    """Out of [N, 5]: row, kind, length, width, height; they are the last of the agents."""
    known = rows.ndim == 2 and rows.shape[1] == 5 and rows.dtype.kind == "f" and len(rows) <= agents
    if not known or not (rows[:, 0] == np.arange(agents - len(rows), agents)).all():
        raise ValueError(f"newcomers {rows.shape} are not the last of {agents} agents")
    if not (np.isfinite(rows).all() and (rows[:, 2:] > 0).all()):
        raise ValueError("the size of a newcomer is no length")
    if not np.isin(rows[:, 1], ENTERING).all():
        raise ValueError("a newcomer is neither vehicle, pedestrian nor cyclist")
    return tuple(Newcomer(int(row), Kind(int(kind)), (x, y, z)) for row, kind, x, y, z in rows.tolist())


def _route(points: NDArray[Any]) -> NDArray[np.float64]:
    if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind != "f" or not np.isfinite(points).all():
        raise ValueError(f"the route is {points.dtype} {points.shape}, or NaN")
    return points


def _unpack_scores(found: Mapping[str, NDArray[Any]], meta: Meta) -> Scored:
    return Scored(str(meta["episode"]["error"]), _scores(meta), _arrays(found))


def _scores(meta: Meta) -> dict[str, Score]:
    scores = meta["scores"]
    if not isinstance(scores, dict) or not all(isinstance(value, Score | int) for value in scores.values()):
        raise TypeError("the scores are no numbers, truths and texts by name")
    if any(isinstance(value, int | float) and not abs(value) < _LARGEST for value in scores.values()):
        raise ValueError("a score is larger than any that an episode gives")
    return scores


def _arrays(found: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    arrays = {name.removeprefix(ARRAY): value for name, value in found.items() if name.startswith(ARRAY)}
    if wrong := [name for name, value in arrays.items() if value.ndim != 1 or value.dtype.kind not in "bif"]:
        raise ValueError(f"{wrong[0]} is no row of numbers")
    return arrays


def _unpack_plan(found: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]) -> AttackPlan:
    states, valid = _trajectory(found, "plan")
    if not all(meta[name] is None or type(meta[name]) is int for name in ("chosen", "takeover_step")):
        raise TypeError("chosen or takeover_step is no whole number")
    plan = AttackPlan(
        states=states,
        valid=valid,
        scores={name.removeprefix("score_"): value for name, value in found.items() if name.startswith("score_")},
        chosen=meta["chosen"],
        takeover_step=meta["takeover_step"],
        info=meta["info"],
    )
    if "plan_candidates" in found:
        candidates = found["plan_candidates"].astype(np.float64) + found["plan_origin"]
        plan = replace(plan, candidates=np.nan_to_num(candidates, nan=0.0))
    return plan
