"""CommonRoad windows that follow one another, joined to logs and cut again into scenes of any length.

Converted recordings come as windows named by their first and last time step: `C-DEU_MONAEast-2_1040_T-1119.xml`.
Windows of one recording that have the same map and time step, and of which one begins where the other ends, are one
log. An obstacle goes on across a border where the next window has its id at its first step, within reach; else it is
another agent. A scene must have a vehicle that is there throughout: its ego, chosen by the rule of `commonroad`. Where
the observer is a camera that stands, an ego that is there at the beginning may do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from harness.errors import ConfigError, ScenarioError
from scenarios.description import from_description
from scenarios.importers.commonroad import Window, read, to_description
from scenarios.importers.commonroad_agents import Track
from scenarios.importers.commonroad_roads import LaneletMap
from scenarios.importers.files import complete, rename
from scenarios.importers.layouts import find_scenes
from scenarios.resampling import resampled
from scenarios.scenario import Scenario, SceneList

SLACK: Final = 3.0
"""How much farther than its speed explains an obstacle may get across a border, m."""
MOVES: Final = 2.0
"""An agent that stays within a square of this side is parked: that it is known from another scene tells nothing, m."""
SHORTEST: Final = 2.0
"""Shortest scene that logs are cut into, s: the second of history, and one after it."""
_NAME: Final = re.compile(r"^(?P<log>.*)_(?P<digits>[0-9]{1,12})_T-(?P<last>[0-9]{1,9})$")

_SPAN: Final = re.compile(r"(?P<log>.+)_(?P<first>[0-9]{1,9})-(?P<last>[0-9]{1,9})")

Watch = Callable[[Iterable[Path]], Iterable[Path]]
"""Passes files on, and may count them for whoever waits."""


class LogSpan(NamedTuple):
    """Where in which log a scene lies: first and last time step of the recording."""

    log: str
    first: int
    last: int

    def overlaps(self, other: LogSpan) -> bool:
        """Whether both lie in one log and have a step in common."""
        return self.log == other.log and self.first <= other.last and other.first <= self.last


def span_of(scene_id: str) -> LogSpan | None:
    """Which part of which log a scene is by its id, as `cut` names them; None for a scene that was not cut from one."""
    found = _SPAN.fullmatch(scene_id)
    span = None if found is None else LogSpan(found["log"], int(found["first"]), int(found["last"]))
    return None if span is None or span.last <= span.first else span


@dataclass
class Log:
    """Joined windows.

    Attributes:
        window: Everything, with time steps of the recording.
        first, last: First and last time step.
        joined: How many tracks were continued across a border.
        files: The windows' files.
    """

    window: Window
    first: int
    last: int
    joined: int = 0
    files: list[Path] = field(default_factory=list)


class LogPart(NamedTuple):
    """A scene of a log: its name, and its first and last time step."""

    name: str
    log: Log
    first: int
    last: int


class LogScenes(SceneList):
    """The scenes that logs are cut into; a `ScenarioSource`. One without an ego raises when it is asked for.

    Attributes:
        parts: Where they lie in which log.
    """

    def __init__(self, cuts: Sequence[LogPart], ego_may_leave: bool = False) -> None:
        """Take the scenes of `cut`.

        Args:
            cuts: The scenes.
            ego_may_leave: Whether an ego need not be there to the end; see `to_description`.
        """
        self.parts = tuple(cuts)
        self._ego_may_leave = ego_may_leave
        self._ids = tuple(part.name for part in cuts)

    def _load(self, index: int) -> Scenario:
        name, log, first, last = self.parts[index]
        try:
            description = to_description(log.window, (first, last), self._ego_may_leave)
        except ScenarioError as error:
            raise ScenarioError(f"{name}: {error}") from error
        return complete(rename(resampled(from_description(description, name)), name))


def read_logs(root: Path, watch: Watch = iter, bad: dict[str, str] | None = None) -> list[Log]:
    """The logs below a folder, by the names of their windows.

    Args:
        root: A folder of CommonRoad files, or one file.
        watch: Sees the files go by.
        bad: Takes the names of broken files, and of those whose names have no first and last step, with reasons; these
            files are left out then. Without it the first one raises.

    Raises:
        ScenarioError: There are none, or one is broken and `bad` is not given.
    """
    paths = [Path(found.path) for found in find_scenes(root) if found.kind == "commonroad"]
    if not paths:
        raise ScenarioError(f"{root}: no CommonRoad files. Only these are joined.")
    parts: dict[tuple[Path, str], list[tuple[int, int, Window, Path]]] = {}
    for path in watch([*paths, *_unread(root, paths)]):
        try:
            name, first, last, window = _placed(path)
        except ScenarioError as error:
            if bad is None:
                raise
            bad[path.name] = str(error)
            continue
        parts.setdefault((path.parent, name), []).append((first, last, window, path))
    logs: list[Log] = []
    for (_, name), windows in parts.items():
        logs += _joined(name, sorted(windows, key=lambda part: part[:2]))
    return logs


def _unread(root: Path, paths: Sequence[Path]) -> list[Path]:
    """Files that are named like windows and hold none: a log would end before such a one without a word."""
    known = set(paths)
    return sorted(path for path in root.rglob("*.xml") if _NAME.match(path.stem) and path not in known)


def cut(logs: Sequence[Log], seconds: float) -> list[LogPart]:
    """Disjoint scenes of a length, from the beginning of each log on; what is left at its end is dropped.

    Args:
        logs: The logs.
        seconds: Time from the first to the last step of a scene.

    Raises:
        ConfigError: The scenes would be shorter than `SHORTEST`, or longer than every log.
    """
    if not SHORTEST <= seconds < math.inf:
        raise ConfigError(f"join: {seconds} s. Expected scenes of at least {SHORTEST} s.")
    cuts = []
    for log in logs:
        steps = round(seconds / log.window.dt)
        for first in range(log.first, log.last - steps + 1, steps + 1):
            cuts.append(LogPart(f"{log.window.name}_{first}-{first + steps}", log, first, first + steps))
    if not cuts:
        longest = max(((log.last - log.first) * log.window.dt for log in logs), default=0.0)
        raise ConfigError(f"join: no log has {seconds} s; the longest has {longest:.1f} s.")
    return cuts


def held_out_by_time(parts: Sequence[LogPart], seconds: float) -> dict[str, str | None]:
    """Split of scenes by time: `test` for those in the last seconds of their log, `train` for those before.

    A scene before that has a moving agent in common with one of the `test` scenes, or lies on both sides, is in no
    split: None.

    Args:
        parts: Scenes of `cut`.
        seconds: How much of the end of each log is held out.

    Raises:
        ConfigError: No scene lies within so many seconds of the end of its log.
    """
    if not 0 < seconds < math.inf:
        raise ConfigError(f"hold-out-last: {seconds} s. Expected a positive time.")
    splits: dict[str, str | None] = {}
    for part in parts:
        begin = part.log.last + 1 - round(seconds / part.log.window.dt)
        tests = [other.first for other in parts if other.log is part.log and other.first >= begin]
        if part.first >= begin:
            splits[part.name] = "test"
        else:
            known = part.last < begin and not (tests and _seen_by_both(part.log, part.first, part.last, min(tests)))
            splits[part.name] = "train" if known else None
    if "test" not in splits.values():
        raise ConfigError(
            f"hold-out-last: no scene lies within the last {seconds} s of its log, so that nothing would be held out. "
            "Hold out more, or cut shorter scenes."
        )
    return splits


def _seen_by_both(log: Log, first: int, last: int, begin: int) -> bool:
    """Whether a moving agent is there between two steps and from a later step on."""
    both = (
        track
        for track in log.window.tracks
        if not track.static and track.steps[0] <= last and track.steps[-1] >= max(first, begin)
    )
    return any(np.ptp(track.rows[:, :2], axis=0).max() > MOVES for track in both)


def _placed(path: Path) -> tuple[str, int, int, Window]:
    """Name of the log, first and last step of a window in it, and the window with the log's steps."""
    found = _NAME.match(path.stem)
    if found is None:
        raise ScenarioError(f"{path}: its name does not end in its first and last step, as in NAME_80_T-159.xml.")
    window = read(path)
    last, digits = int(found["last"]), found["digits"]
    steps = max(int(track.steps[-1]) for track in window.tracks)
    # Some names have a number of the map in front of the first step, without a mark between the two.
    starts = [digits[place:] for place in range(len(digits)) if digits[place] != "0" or place == len(digits) - 1]
    fitting = [start for start in starts if int(start) <= last]
    if not fitting or last < steps:
        raise ScenarioError(f"{path}: has steps up to {steps}, which its name does not allow.")
    first = min(fitting, key=lambda start: abs(int(start) - (last - steps)))
    # The first window of a recording may be named from step 1 on, although it begins with step 0.
    begin = min(int(first), last - steps)
    tracks = [track if track.static else track.shifted(begin) for track in window.tracks]
    starts_at = [(when + begin, x, y) for when, x, y in window.starts]
    name = f"{found['log']}_{digits[: len(digits) - len(first)]}".rstrip("_")
    return name, begin, last, replace(window, name=name, tracks=tracks, starts=starts_at)


def _joined(name: str, windows: Sequence[tuple[int, int, Window, Path]]) -> Iterator[Log]:
    log: Log | None = None
    for first, last, window, path in windows:
        if log is not None and first == log.last + 1 and _alike(log.window, window):
            log.joined += _append(log, window, first)
            log.last = last
        else:
            if log is not None:
                yield log
            log = Log(replace(window, name=name, tracks=list(window.tracks), starts=list(window.starts)), first, last)
        log.files.append(path)
    if log is not None:
        yield log


def _append(log: Log, window: Window, first: int) -> int:
    """Add a window's tracks to a log; return how many went on."""
    tracks, starts = log.window.tracks, log.window.starts
    assert isinstance(tracks, list)
    assert isinstance(starts, list)
    known = {track.id: row for row, track in enumerate(tracks)}
    went_on = 0
    for track in window.tracks:
        row = known.get(track.id)
        if row is None:
            tracks.append(track)
        elif track.static and tracks[row].static:
            continue
        elif _goes_on(tracks[row], track, first, window.dt):
            tracks[row] = tracks[row].followed_by(track)
            went_on += 1
        else:
            tracks.append(replace(track, id=f"{track.id}-{first}"))
    starts += window.starts
    return went_on


def _goes_on(before: Track, after: Track, first: int, dt: float) -> bool:
    if before.static or after.static or before.steps[-1] != first - 1 or after.steps[0] != first:
        return False
    gap = np.hypot(*(after.rows[0, :2] - before.rows[-1, :2]))
    speed = max(np.hypot(*before.rows[-1, 3:]), np.hypot(*after.rows[0, 3:]))
    return bool(gap <= speed * dt + SLACK)


def _alike(one: Window, other: Window) -> bool:
    return one.dt == other.dt and _bounds(one.roads) == _bounds(other.roads)


def _bounds(roads: LaneletMap) -> dict[str, tuple[bytes, bytes]]:
    return {name: (lanelet.left.tobytes(), lanelet.right.tobytes()) for name, lanelet in roads.lanelets.items()}
