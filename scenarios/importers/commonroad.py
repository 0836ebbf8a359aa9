"""Importer of CommonRoad 2020a scenarios (XML): lanelets, obstacles, lights, and an ego by rule.

A scenario has no ego. Of its vehicles (motorcycles are none), in this order of importance,

1. one that gets `FAR` metres from where it begins counts more than one that does not,
2. one that is there for `LONG` seconds more than one that is not,
3. one from whose place a planning problem starts, at the same time step, more than any other,
4. and the longest path wins; of equal ones, the first in the file.

A scene lasts as long as its ego is there: a file without a vehicle that is there throughout becomes a shorter scene.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from harness.errors import ScenarioError, reading
from scenarios.bounds import MAX_AGENTS, refuse_excess
from scenarios.description import from_description
from scenarios.importers.commonroad_agents import Track, read_obstacle
from scenarios.importers.commonroad_roads import LaneletMap
from scenarios.importers.commonroad_xml import children, number, step
from scenarios.scenario import Scenario
from scenarios.source_format import Description

SHORTEST_EGO: Final = 2.0
"""An ego that may leave is there for so long at least, s: the second of history, and one after it."""
LONG: Final = 9.0
"""Time that an ego should be there, s: the 91 steps of most scenes."""
FAR: Final = 10.0
"""How far an ego should get, m: about two lengths of a car."""
SAME_PLACE: Final = 0.5
"""A planning problem that starts nearer to a vehicle starts from it, m."""
VERSIONS: Final = ("2018b", "2020a")
MIN_DT: Final = 0.001
MAX_DT: Final = 10.0
"""Seconds between time steps; published scenarios have 0.04 to 0.2."""
OBSTACLES: Final = ("dynamicObstacle", "staticObstacle", "obstacle")


@dataclass(frozen=True, slots=True)
class Window:
    """What a file holds.

    Attributes:
        name: Its `benchmarkID`.
        dt: Seconds between time steps.
        roads: What does not move.
        tracks: The obstacles.
        starts: Time step, x and y (m) of each planning problem.
    """

    name: str
    dt: float
    roads: LaneletMap
    tracks: Sequence[Track]
    starts: Sequence[tuple[int, float, float]]


def load(path: str | Path) -> Scenario:
    """The scene of one file.

    Raises:
        ScenarioError: The file cannot be read, is no CommonRoad scenario, or has no vehicle; one clear line.
    """
    try:
        with reading(path, "a CommonRoad scenario"):
            return from_description(to_description(read(path)), str(path))
    except (ScenarioError, shapely.errors.GEOSException) as error:
        raise _broken(path, error) from error


def read(path: str | Path) -> Window:
    """Parse a file.

    Raises:
        ScenarioError: It cannot be read or is no CommonRoad scenario.
    """
    try:
        return _window(path)
    except ScenarioError as error:
        raise _broken(path, error) from error


def _window(path: str | Path) -> Window:
    with reading(path, "a CommonRoad scenario"):
        parts = children(path)
        about = dict(next(parts).attrib)
        if about.get("commonRoadVersion") not in VERSIONS:
            version = about.get("commonRoadVersion")
            raise ScenarioError(f"commonRoadVersion is {version!r}. Expected {' or '.join(VERSIONS)}.")
        dt = _seconds(about)
        roads, tracks, starts = LaneletMap(), list[Track](), []
        for part in parts:
            if part.tag in OBSTACLES:
                if len(tracks) == MAX_AGENTS:
                    raise ScenarioError(f"more than {MAX_AGENTS:,} obstacles. Cut the scene to a smaller part.")
                tracks.append(read_obstacle(part, dt))
            elif part.tag == "planningProblem" and part.find("initialState/position/point") is not None:
                begin = part.find("initialState")
                assert begin is not None
                starts.append((step(begin), number(begin, "position/point/x"), number(begin, "position/point/y")))
            else:
                roads.add(part)
        if not any(track.kind == "VEHICLE" and not track.static for track in tracks):
            raise ScenarioError("has no dynamic obstacle that is a vehicle, so no ego.")
        if len({track.id for track in tracks}) < len(tracks):
            raise ScenarioError("two obstacles have the same id.")
        return Window(about.get("benchmarkID") or Path(path).stem, dt, roads, tracks, starts)


def to_description(window: Window, span: tuple[int, int] | None = None, ego_may_leave: bool = False) -> Description:
    """`ScenarioDescription` dictionary of a window.

    Args:
        window: What a file holds, or several that were joined.
        span: First and last time step of the scene, in which its ego must be there throughout; by default those of the
            ego.
        ego_may_leave: With `span`, the ego must only be there for its first `SHORTEST_EGO` seconds; of several that
            are it is one that stays longest.

    Raises:
        ScenarioError: No vehicle can be the ego, or the scene is larger than can be used.
    """
    vehicles = [track for track in window.tracks if track.kind == "VEHICLE" and not track.static]
    if span is not None:
        needed = min(span[0] + math.ceil(SHORTEST_EGO / window.dt), span[1]) if ego_may_leave else span[1]
        vehicles = [
            track.between(*span) for track in vehicles if track.steps[0] <= span[0] and track.steps[-1] >= needed
        ]
        vehicles = _longest(vehicles) if ego_may_leave else vehicles
    ego = choose_ego(vehicles, window.starts, window.dt)
    if ego is None:
        when = "" if span is None else f" from step {span[0]} to step {needed}"
        raise ScenarioError(f"no vehicle is there throughout{when}, so there is no ego.")
    first, last = span or (int(ego.steps[0]), int(ego.steps[-1]))
    steps = last - first + 1
    parts = [track if track.static else track.between(first, last) for track in window.tracks]
    parts = [track for track in parts if len(track.steps)]
    refuse_excess(window.name, len(parts), steps)
    metadata = {
        "coordinate": "commonroad",
        "ts": np.arange(steps) * window.dt,
        "metadrive_processed": False,
        "sdc_id": ego.id,
        "dataset": "commonroad",
        "scenario_id": window.name if span is None else f"{window.name}_{first}-{last}",
        "track_length": steps,
        "current_time_index": 0,
        "sdc_track_index": [track.id for track in parts].index(ego.id),
        "objects_of_interest": [],
        "tracks_to_predict": {},
        "first_time_step": first,
    }
    return {
        "id": metadata["scenario_id"],
        "version": "gauntlet import",
        "length": steps,
        "metadata": metadata,
        "tracks": {track.id: _track(track, first, steps) for track in parts},
        "dynamic_map_states": window.roads.lights(steps, first),
        "map_features": window.roads.features(),
    }


def choose_ego(vehicles: Sequence[Track], starts: Sequence[tuple[int, float, float]], dt: float) -> Track | None:
    """The ego among vehicles by the rule of this module; None where none is there without a gap.

    Args:
        vehicles: Who may be the ego.
        starts: Time step, x and y (m) of each planning problem.
        dt: Seconds between time steps.
    """
    whole = [track for track in vehicles if _is_whole(track)]
    begins = np.array(starts, dtype=np.float64).reshape(-1, 3)
    return max(whole, key=lambda track: _rank(track, begins, dt), default=None)


def _longest(vehicles: Sequence[Track]) -> list[Track]:
    """Vehicles without a gap that are there for longest; parked ones only where nobody drives."""
    whole = [track for track in vehicles if _is_whole(track)]
    driven = [track for track in whole if _reach(track) >= FAR] or whole
    longest = max((len(track.steps) for track in driven), default=0)
    return [track for track in driven if len(track.steps) == longest]


def _is_whole(track: Track) -> bool:
    return len(track.steps) == track.steps[-1] - track.steps[0] + 1


def _reach(track: Track) -> float:
    """Largest distance from where a track begins, m."""
    return float(np.hypot(*(track.rows[:, :2] - track.rows[0, :2]).T).max())


def _rank(track: Track, starts: NDArray[np.float64], dt: float) -> tuple[bool, bool, bool, float]:
    place = track.rows[:, :2]
    path = np.hypot(*np.diff(place, axis=0).T).sum()
    during = starts[(starts[:, 0] >= track.steps[0]) & (starts[:, 0] <= track.steps[-1])]
    there = place[during[:, 0].astype(np.int64) - track.steps[0]]
    named = (np.hypot(*(there - during[:, 1:]).T) < SAME_PLACE).any()
    return _reach(track) >= FAR, bool((len(place) - 1) * dt >= LONG - dt / 2), bool(named), float(path)


def _track(track: Track, first: int, steps: int) -> Description:
    rows = np.zeros((steps, 5))
    valid = np.zeros(steps, dtype=bool)
    when = slice(None) if track.static else track.steps - first
    rows[when], valid[when] = track.rows, True
    position = np.concatenate([rows[:, :2], np.where(valid, track.size[2] / 2, 0.0)[:, None]], -1)
    sizes = zip(("length", "width", "height"), track.size, strict=True)
    state = {
        "position": position,
        **{key: np.where(valid, value, 0.0) for key, value in sizes},
        "heading": rows[:, 2],
        "velocity": rows[:, 3:],
        "valid": valid,
    }
    metadata = {"track_length": steps, "type": track.kind, "object_id": track.id, "dataset": "commonroad"}
    return {"type": track.kind, "state": state, "metadata": metadata}


def _seconds(about: Mapping[str, str]) -> float:
    """The time step of a file, s."""
    text = about.get("timeStepSize", "")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not MIN_DT <= seconds <= MAX_DT:
        raise ScenarioError(f"timeStepSize is {text[:40]!r}. Expected {MIN_DT} to {MAX_DT} s.")
    return seconds


def _broken(path: str | Path, error: Exception) -> ScenarioError:
    """The error with the file's name, which most of its sources do not know."""
    text = str(error)
    return ScenarioError(text if text.startswith(str(path)) else f"{path}: {text}")
