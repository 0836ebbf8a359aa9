"""Which 9.1 s of a simulation become scenes: an ego that drives, and an opponent that truly interacts with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from scenarios.procedural.config import ProceduralConfig
from scenarios.scenario import CURRENT_STEP, DT

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

STRIDE: Final = 10
"""Windows start every this many steps."""
FIRST, LAST = 18, 80
"""Steps of a scene between which the interaction must happen."""
TOUCH: Final = 1.8
"""Paths this near count as meeting, m: about a car's width."""
MAX_GAP: Final = {"crossing": 3.0, "merge": 3.0, "cut_in": 2.5, "follow": 1.6}
"""Longest time between the two vehicles' passing the place where their paths meet, s."""
SHARE: Final = {"crossing": 1.0, "merge": 1.0, "cut_in": 0.6, "oncoming": 0.6, "follow": 0.35, "adjacent": 0.6}
"""Preference among interactions of equal strength: crossings and merges are what attacks are made of."""
WEAK: Final = ("oncoming", "adjacent")
"""Interactions in which nobody need give way."""
WEAK_SHARE: Final = 0.3
"""Share of simulations that may give a weak interaction, so that they do not crowd out the others."""
TURNING: Final = 1.3
"""Preference for egos that turn: most vehicles go straight on."""
HARDEST: Final = 4.0
"""An ego or opponent that brakes harder than this in the recorded window was pushed by the simulation, m/s²."""
SHARPEST: Final = 4.5
"""An ego or opponent with more lateral acceleration in the recorded window was pushed as well, m/s²."""
ONCOMING_DISTANCE: Final = 6.0
"""Largest distance of centres at which opposite vehicles pass and count as interacting, m."""
ADJACENT_DISTANCE: Final = 7.0
"""Largest distance of centres at which vehicles in neighbouring lanes count as interacting, m."""


@dataclass(frozen=True, slots=True)
class SimulatedMotion:
    """What V vehicles did in T steps: everything that is recorded."""

    position: Floats
    """[V, T, 2] m."""
    heading: Floats
    """[V, T] rad."""
    velocity: Floats
    """[V, T, 2] m/s."""
    speed: Floats
    """[V, T] m/s."""
    present: Bools
    """[V, T]."""
    size: Floats
    """[V, 3] length, width, height, m."""


@dataclass(frozen=True, slots=True)
class RecordedWindow:
    """One scene to be recorded."""

    start: int
    ego: int
    opponent: int
    interaction: str
    """`crossing`, `merge`, `cut_in`, `follow`, `oncoming` or `adjacent`."""
    gap: float
    """Time between the two at the place where their paths meet, s (for oncoming and adjacent: 0)."""
    step: int
    """Step of the scene at which the ego is there."""
    strength: float


def choose_windows(motion: SimulatedMotion, config: ProceduralConfig, rng: np.random.Generator) -> list[RecordedWindow]:
    """The strongest windows of a simulation, with distinct egos, at most `scenes_per_simulation` of them."""
    found: list[RecordedWindow] = []
    first = round(config.warm_up / DT)
    for start in range(first, motion.present.shape[1] - config.steps + 1, STRIDE):
        found += _candidates(motion, start, config)
    weak = bool(rng.random() < WEAK_SHARE)
    found = [window for window in found if weak or window.interaction not in WEAK]
    jitter = rng.uniform(0.5, 1.0, len(found))
    order = sorted(range(len(found)), key=lambda k: -found[k].strength * jitter[k])
    chosen: list[RecordedWindow] = []
    for k in order:
        window = found[k]
        if len(chosen) == config.scenes_per_simulation:
            break
        pairs = [{w.ego, w.opponent} for w in chosen]
        if any(w.ego == window.ego for w in chosen) or {window.ego, window.opponent} in pairs:
            continue
        if collides(motion, window.start, config.steps):
            continue
        chosen.append(window)
    return chosen


def _candidates(motion: SimulatedMotion, start: int, config: ProceduralConfig) -> list[RecordedWindow]:
    """Every acceptable pair of ego and opponent in one window."""
    steps = slice(start, start + config.steps)
    here = np.flatnonzero(motion.present[:, steps].all(1))
    if len(here) < 2:
        return []
    position, heading = motion.position[here, steps], motion.heading[here, steps]
    speed, size = motion.speed[here, steps], motion.size[here]
    path = np.hypot(*np.diff(position[:, CURRENT_STEP:], axis=1).transpose(2, 0, 1)).sum(1)
    swerve = np.abs(np.diff(np.unwrap(heading, axis=1), axis=1)) / DT * speed[:, 1:]
    sane = (np.abs(np.diff(speed, axis=1)).max(1) / DT < HARDEST) & (swerve.max(1) < SHARPEST)
    ego = sane & (path >= config.min_ego_path) & (size[:, 0] < 5.7) & (speed.mean(1) > 2.5)
    other = sane & (path >= 8.0)
    distance = np.hypot(*(position[:, None] - position[None]).transpose(3, 0, 1, 2))
    nearest = distance[:, :, FIRST:LAST].min(2)
    turns = np.abs(np.ptp(np.unwrap(heading, axis=1), axis=1)) > np.pi / 4
    windows: list[RecordedWindow] = []
    for i, j in zip(*np.nonzero(ego[:, None] & other[None] & (nearest < 25.0)), strict=True):
        if i != j:
            found = _interaction(position, heading, speed, distance, size, int(i), int(j))
            if found is not None:
                name, gap, step, strength = found
                strength *= SHARE[name] * (TURNING if turns[i] else 1.0)
                windows.append(RecordedWindow(start, int(here[i]), int(here[j]), name, gap, step, strength))
    return windows


def _interaction(
    position: Floats, heading: Floats, speed: Floats, distance: Floats, size: Floats, i: int, j: int
) -> tuple[str, float, int, float] | None:
    """How ego i and opponent j interact: name, time gap, ego's step, strength in (0, 1]; None if they do not."""
    early, late = position[i, FIRST:LAST:2], position[j, FIRST:LAST:2]
    meeting = np.hypot(*(early[:, None] - late[None]).transpose(2, 0, 1)) < TOUCH
    if not meeting.any():
        return _passing(heading, distance, i, j)
    mine, theirs = np.nonzero(meeting)
    lag = np.abs(mine - theirs)
    # Among the closest calls take the first: where the paths meet, not where they have long been one.
    best = int(np.flatnonzero(lag == lag.min())[0])
    step_i, step_j = FIRST + 2 * int(mine[best]), FIRST + 2 * int(theirs[best])
    gap = abs(step_i - step_j) * DT
    cosine = float(np.cos(heading[i, step_i] - heading[j, step_j]))
    name = _name(position, heading, i, j, cosine)
    if name == "follow":
        closest = float(distance[i, j, FIRST:LAST].min()) - (size[i, 0] + size[j, 0]) / 2
        change = float(np.ptp(speed[i, FIRST:LAST]) + np.ptp(speed[j, FIRST:LAST]))
        # Following at constant speed is no interaction; braking behind somebody is.
        if speed[i, FIRST:LAST].min() < 1.0 or change < 3.0 or closest > 12.0:
            return None
    if name == "oncoming" or gap > MAX_GAP[name]:
        return None
    return name, gap, step_i, float(np.exp(-gap / 1.5))


def _name(position: Floats, heading: Floats, i: int, j: int, cosine: float) -> str:
    """Name of the interaction of two whose paths meet at an angle with this cosine."""
    if cosine < -0.85:
        return "oncoming"
    if cosine < 0.75:
        return "crossing"
    # Same direction where they meet. Were they one behind the other from the start?
    offset = position[j, CURRENT_STEP] - position[i, CURRENT_STEP]
    angle = heading[i, CURRENT_STEP]
    across = abs(np.cos(angle) * offset[1] - np.sin(angle) * offset[0])
    trail_i = np.hypot(*(position[i, : LAST - 20] - position[j, CURRENT_STEP]).T).min()
    trail_j = np.hypot(*(position[j, : LAST - 20] - position[i, CURRENT_STEP]).T).min()
    aligned = np.cos(heading[i, CURRENT_STEP] - heading[j, CURRENT_STEP]) > 0.9
    if min(trail_i, trail_j) < TOUCH or (aligned and across < TOUCH):
        return "follow"
    return "cut_in" if aligned and across < 6.0 else "merge"


def _passing(heading: Floats, distance: Floats, i: int, j: int) -> tuple[str, float, int, float] | None:
    """Interactions of vehicles whose paths do not meet: opposite traffic, and neighbouring lanes."""
    step = FIRST + int(distance[i, j, FIRST:LAST].argmin())
    near = float(distance[i, j, step])
    cosine = float(np.cos(heading[i, step] - heading[j, step]))
    if cosine < -0.7 and near < ONCOMING_DISTANCE and 20 <= step <= 65:
        return "oncoming", 0.0, step, 0.9 - 0.05 * near
    beside = int((distance[i, j, FIRST:LAST] < ADJACENT_DISTANCE).sum())
    if cosine > 0.9 and beside >= 10:
        return "adjacent", 0.0, step, 0.9 - 0.05 * near
    return None


def collides(motion: SimulatedMotion, start: int, steps: int) -> bool:
    """Whether any two recorded boxes overlap in a window (a log must be free of collisions)."""
    rows = slice(start, start + steps)
    here = np.flatnonzero(motion.present[:, rows].any(1))
    position, heading = motion.position[here, rows], motion.heading[here, rows]
    present, size = motion.present[here, rows], motion.size[here]
    reach = np.hypot(size[:, 0], size[:, 1]) / 2
    distance = np.hypot(*(position[:, None] - position[None]).transpose(3, 0, 1, 2))
    close = distance < (reach[:, None] + reach[None])[..., None]
    close &= present[:, None] & present[None]
    close &= np.triu(np.ones((len(here), len(here)), dtype=bool), 1)[..., None]
    i, j, t = np.nonzero(close)
    if len(i) == 0:
        return False
    first = boxes(position[i, t], heading[i, t], size[i])
    second = boxes(position[j, t], heading[j, t], size[j])
    return bool(shapely.intersects(first, second).any())


def boxes(position: Floats, heading: Floats, size: Floats) -> NDArray[np.object_]:
    """Oriented boxes as shapely polygons [N] from centres [N, 2], headings [N] and sizes [N, ≥2]."""
    cos, sin = np.cos(heading)[:, None], np.sin(heading)[:, None]
    along = np.array([0.5, -0.5, -0.5, 0.5]) * size[:, :1]
    across = np.array([0.5, 0.5, -0.5, -0.5]) * size[:, 1:2]
    corners = np.stack([cos * along - sin * across, sin * along + cos * across], -1) + position[:, None]
    return shapely.polygons(corners)
