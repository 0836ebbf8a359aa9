"""What a scene may measure, with the reason for each bound, and the checks of them.

The bounds lie far outside of what the published sets hold (their largest values are given) and inside of what the
engine and the metrics can compute with, so that a value beyond them is an error of the file: degrees for radians,
millimetres for metres, a sentinel for "unknown", or damage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ScenarioError, shown
from scenarios.findings import Finding, error, warning
from scenarios.scenario import Kind, MapFeature, Scenario
from scenarios.time_stamps import FASTEST, SLOWEST, time_stamps
from scenarios.values import brief

MAX_AGENTS: Final = 10_000
"""Agents of a scene. WOMD has up to 299; each costs the engine time at every step."""
MAX_STEPS: Final = 36_000
"""Steps of a scene: an hour at 10 Hz. Published scenes have up to 200, joined logs of fixed cameras 5,000."""
MAX_ROWS: Final = 6_000_000
"""Agents times steps: 0.4 GB of arrays, and as much again while they are checked. Published scenes have up to 50,000, a
log of eight minutes of a motorway (MONA) 4.5 million."""
MAX_FEATURES: Final = 50_000
"""Elements of a map. Published scenes have up to 1,600."""
MAX_RELATED: Final = 1_000_000
"""Ids of predecessors, successors and neighbours of all lanes together. Published scenes have up to 3,000."""
MAX_POINTS: Final = 2_000_000
"""Points of a map. Published scenes have up to 60,000."""
MAX_DISTANCE: Final = 100_000.0
"""Farthest that agents and map may lie from the ego's start, m. The engine holds positions in float32, whose steps are
8 mm there, and its map ends before. Published scenes reach 750 m."""
MAX_COORDINATE: Final = 1e7
"""Largest coordinate, m: that of UTM and of the Earth's quadrant. float64 still resolves nanometres there."""
MAX_ROAD: Final = 1_000_000.0
"""Length of all lanes, lines and edges of a map together, m. They are cut into pieces of 1 to 2 m: a million fit into
100 MB. Published scenes have up to 33 km of lanes."""
CROWD: Final = 10.0
"""Side of the squares in which the points of a map are counted, m."""
MAX_CROWD: Final = 10_000
"""Points of a map in one square: whoever is there is compared with all of them. Published scenes have up to 300."""
MAX_HEADING: Final = 8 * np.pi
"""Largest heading, rad. Unwrapped headings reach 5.5 π in WOMD (almost three turns); degrees pass 8 π at 25°."""
MAX_SPEED: Final = 70.0
"""A faster agent is a tracking error, m/s (250 km/h); WOMD has such of up to 125 m/s."""
MAX_ACTOR_SPEED: Final = 100.0
"""A faster ego or opponent is no car on a road, m/s (360 km/h); its way would leave the map within seconds."""
MAX_VELOCITY: Final = 1000.0
"""A velocity that no tracking error explains, m/s."""
MAX_JUMP: Final = 10.0
"""An agent that moves farther in one step than its recorded speed explains is teleported, m. WOMD has up to 1.6 m."""
ACTOR_SIZE: Final = (0.5, 40.0)
"""Length and width of an ego or opponent, m: a scooter is 0.5 m wide, the longest road trains are 36 m long. The
published sets lie within 0.7 and 20 m."""
OTHER_SIZE: Final = (0.05, 100.0)
"""Length and width of anyone else, m: a bottle on the road, the longest trams (75 m). Published: 0.2 to 20 m."""
DEGREES: Final = 15.0
"""Headings in degrees, read as degrees, agree with the direction of motion to this many degrees (median)."""
MOVING: Final = 2.0
"""A slower vehicle's direction of motion is noise, m/s."""
MIN_MOVING: Final = 10
"""Fewer steps of motion decide nothing."""
LIGHT_WORDS: Final = ("STOP", "CAUTION", "GO", "UNKNOWN", "RED", "YELLOW", "GREEN")
"""One of these occurs in every known state of a traffic light."""


def check_counts(scenario: Scenario) -> Iterable[Finding]:
    """Numbers of agents, steps, map elements and points."""
    agents, steps = scenario.valid.shape
    points = sum(len(feature.points) for feature in scenario.features)
    return excess(agents, steps, len(scenario.features), points)


def excess(agents: int, steps: int, features: int = 0, points: int = 0) -> Iterable[Finding]:
    """What is too much about a scene of so many agents, steps, map elements and map points."""
    for field, found, most, what in (
        ("tracks", agents, MAX_AGENTS, "agents"),
        ("length", steps, MAX_STEPS, "steps"),
        ("tracks", agents * steps, MAX_ROWS, "agents times steps"),
        ("map_features", features, MAX_FEATURES, "elements"),
        ("map_features", points, MAX_POINTS, "points"),
    ):
        if found > most:
            yield error(field, f"{found:,} {what}; at most {most:,} can be used. Cut the scene to a smaller part")


def refuse_excess(source: str, agents: int, steps: int, features: int = 0, points: int = 0) -> None:
    """Refuse a file by its counts, before anything is allocated for them.

    Raises:
        ScenarioError: It claims or holds more agents, steps, map elements or points than can be used.
    """
    for finding in excess(agents, steps, features, points):
        raise ScenarioError(f"{source}: {finding.field}: {finding.reason}.")


def refuse_length(lengths: NDArray[np.float64]) -> None:
    """Refuse lines of `lengths` [N] (m) that cannot be cut into pieces, before anything is allocated for these.

    Raises:
        ScenarioError: They are longer than `MAX_ROAD` together, or not finite.
    """
    total = float(np.sum(lengths))
    if not total <= MAX_ROAD:
        reason = f"{total / 1000:,.4g} km of lines; at most {MAX_ROAD / 1000:,.0f} km can be used"
        raise ScenarioError(f"map_features: {reason}. Cut the map to the surroundings of the agents.")


def refuse_crowd(points: NDArray[np.float64]) -> None:
    """Refuse `points` [N, 2] (m) of a map, or of its lines' ends, before anything compares each with those around it.

    Raises:
        ScenarioError: More than `MAX_CROWD` lie in one square.
    """
    for finding in _crowd(points):
        raise ScenarioError(f"{finding.field}: {finding.reason}")


def check_names(scenario: Scenario) -> Iterable[Finding]:
    """Whether the names of a scene can be shown, and written as UTF-8: no control characters, no half surrogates."""
    for field, names in (
        ("id", (scenario.id,)),
        ("tracks", scenario.agent_ids),
        ("map_features", (feature.id for feature in scenario.features)),
        ("map_features: type", (feature.type for feature in scenario.features)),
        ("dynamic_map_states", (name for name in scenario.lights if isinstance(name, str))),
    ):
        names = tuple(names)
        if "".join(names).isprintable():
            continue
        odd = [name for name in names if shown(name) != name]
        if odd:
            yield error(field, f"{brief(odd[0])} holds characters that cannot be shown ({len(odd)} such names)")


def check_times(scenario: Scenario) -> Iterable[Finding]:
    """The time step, and the time stamps of the file where it has any."""
    if not FASTEST <= scenario.dt <= SLOWEST:
        yield error("ts", f"the time step is {scenario.dt:g} s; {FASTEST:g} to {SLOWEST:g} s can be used")
    try:
        time_stamps(scenario.metadata, scenario.num_steps, "file")
    except ScenarioError as reason:
        yield error("ts", str(reason).removeprefix("file: metadata: "))


def check_places(scenario: Scenario) -> Iterable[Finding]:
    """How far agents and map lie from the ego's start, and how long the map's lines are."""
    start = scenario.position[scenario.ego, scenario.valid[scenario.ego].argmax(), :2]
    if not (np.abs(start) <= MAX_COORDINATE).all():
        yield error(
            "tracks (ego): position", f"begins at {_place(start)}; coordinates may reach ±{MAX_COORDINATE:.0e} m"
        )
        return
    away = _farthest(scenario.position - np.append(start, 0.0), scenario.valid)  # Heights count from sea level.
    for agent in np.flatnonzero(away > MAX_DISTANCE)[:3]:
        yield error(_track(scenario, agent, "position"), f"is {away[agent]:.3g} m from the ego's start; {_NEARER}")
    yield from _check_map_places([feature for feature in scenario.features if len(feature.points)], start)


def _check_map_places(features: Sequence[MapFeature], start: NDArray[np.float64]) -> Iterable[Finding]:
    """Map elements that have points: their distance from the ego's `start` [2], their length, their resolution."""
    if not features:
        return
    points = np.concatenate([feature.points[:, :2] for feature in features], dtype=np.float64)
    first = np.cumsum([0, *(len(feature.points) for feature in features[:-1])])
    reach = np.maximum.reduceat(_widest(points - start), first)
    far = np.flatnonzero(reach > MAX_DISTANCE)
    if len(far):
        most = f"is {reach[far[0]]:.3g} m from the ego's start ({len(far)} such elements in all)"
        yield error(f"map_features[{features[far[0]].id!r}]", f"{most}; {_NEARER}")
        return  # Their length says no more.
    step = np.diff(points, axis=0)
    step[first[1:] - 1] = 0.0  # From one element to the next.
    road = float(np.hypot(step[:, 0], step[:, 1]).sum())
    if road > MAX_ROAD:
        yield error("map_features", f"{road / 1000:,.0f} km of lines; at most {MAX_ROAD / 1000:,.0f} km can be used")
        return
    yield from _crowd(_sampled(points, step))
    largest = np.maximum.reduceat(_widest(points), first)
    fine = np.array([2.0 ** -_FRACTION.get(feature.points.dtype.itemsize, 52) for feature in features])
    coarse = np.flatnonzero(np.exp2(np.floor(np.log2(largest))) * fine > 0.1)
    if len(coarse):
        yield warning(
            f"map_features[{features[coarse[0]].id!r}]", "is in single precision, whose steps exceed 0.1 m that far out"
        )


def check_motion(scenario: Scenario) -> Iterable[Finding]:
    """Headings, speeds, jumps and sizes: errors for ego and opponent, warnings for others that the engine can take."""
    valid = scenario.valid
    actors = {scenario.ego, scenario.opponent}
    largest = {
        "heading": _farthest(scenario.heading[..., None], valid),
        "velocity": _farthest(scenario.velocity, valid),
        "position": jumps(scenario),
    }
    for agent in np.flatnonzero(largest["heading"] > MAX_HEADING):
        reason = f"reaches {largest['heading'][agent]:.4g} rad; {MAX_HEADING:.3g} is the most. Are these degrees?"
        yield (error if agent in actors else warning)(_track(scenario, agent, "heading"), reason)
    for agent in np.flatnonzero(largest["velocity"] > MAX_ACTOR_SPEED):
        if agent in actors or largest["velocity"][agent] > MAX_VELOCITY:
            yield error(_track(scenario, agent, "velocity"), f"reaches {largest['velocity'][agent]:.3g} m/s")
    for agent in np.flatnonzero(largest["position"] > MAX_JUMP):
        reason = f"jumps {largest['position'][agent]:.3g} m farther than its speed explains"
        yield (error if agent in actors else warning)(_track(scenario, agent, "position"), reason)
    yield from _check_sizes(scenario, actors)
    if _in_degrees(scenario, scenario.kinds == Kind.VEHICLE):
        yield error("tracks: heading", "degrees, by the directions of motion; expected radians")
        return
    for actor in actors - {None}:
        if _in_degrees(scenario, np.arange(scenario.num_agents) == actor):
            yield error(_track(scenario, int(actor or 0), "heading"), "degrees, by its direction of motion")


def check_lights(scenario: Scenario) -> Iterable[Finding]:
    """Traffic lights: what cannot be read is an error, what is read as unknown a warning."""
    if not isinstance(scenario.lights, Mapping):
        yield error("dynamic_map_states", f"found {type(scenario.lights).__name__} instead of a dictionary")
        return
    unknown: set[str] = set()
    count = 0
    for name, light in scenario.lights.items():
        reason = _unreadable(light, MAX_ROWS - count)
        if reason is not None:
            yield error(f"dynamic_map_states[{name!r}]", reason)
            return  # One says enough.
        states = light.get("state", {}).get("object_state", ())
        count += len(states)
        for state in set(states):
            if state is not None and not any(word in str(state).upper() for word in LIGHT_WORDS):
                unknown.add(str(state))
    if unknown:
        states = ", ".join(sorted(unknown)[:5])
        yield warning("dynamic_map_states", f"states without a known colour ({states}) are read as unknown")


def jumps(scenario: Scenario) -> NDArray[np.float64]:
    """How much farther each agent moves than its speed explains, at most, between two steps with it; [A], m."""
    valid, speed = scenario.valid, np.hypot(*np.moveaxis(scenario.velocity, -1, 0))
    both = valid[:, 1:] & valid[:, :-1]
    moved = np.hypot(*np.moveaxis(np.diff(scenario.position[..., :2], axis=1), -1, 0))
    excess = moved - np.maximum(speed[:, 1:], speed[:, :-1]) * scenario.dt
    most = np.nan_to_num(np.where(both, excess, 0.0)).max(1, initial=0.0)
    for agent in np.flatnonzero(valid.sum(1) > both.sum(1) + 1):  # Those with gaps.
        rows = np.flatnonzero(valid[agent])
        moved = np.hypot(*np.diff(scenario.position[agent, rows, :2], axis=0).T)
        fastest = np.maximum(speed[agent, rows[1:]], speed[agent, rows[:-1]])
        excess = moved - fastest * scenario.dt * np.diff(rows)
        most[agent] = np.nan_to_num(excess).max(initial=0.0)
    return most


_FRACTION: Final = {2: 10, 4: 23}
"""Bits of the fraction of floating-point numbers of so many bytes (IEEE 754); wider ones have at least 52."""
_NEARER: Final = f"at most {MAX_DISTANCE:.0e} m can be used"


def _track(scenario: Scenario, agent: np.intp | int, column: str) -> str:
    return f"tracks[{scenario.agent_ids[int(agent)]!r}]: {column}"


def _place(point: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in point) + ")"


def _farthest(values: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Largest length of the vectors [A, T, n] of each agent where they are valid; [A]."""
    length = np.sqrt((np.where(valid[..., None], values, 0.0) ** 2).sum(-1))
    return np.nan_to_num(length.max(1, initial=0.0), posinf=np.inf)


def _widest(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The larger one of both coordinates of vectors [N, 2], [N]; `max(1)` takes many times as long."""
    return np.maximum(np.abs(vectors[:, 0]), np.abs(vectors[:, 1]))


def _sampled(points: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points [N, 2] and places on the way to the next one, which is `step` [N - 1, 2] away: one in every square (m)."""
    length = _widest(step)
    long = np.flatnonzero(length > CROWD)
    count = (length[long] // CROWD).astype(np.int64)
    row = np.repeat(long, count)
    share = (np.arange(1, len(row) + 1) - np.repeat(np.cumsum(count) - count, count)) / np.repeat(count + 1, count)
    return np.concatenate([points, points[row] + share[:, None] * step[row]])


def _crowd(points: NDArray[np.float64]) -> Iterable[Finding]:
    """What is too much about points [N, 2] (m) that lie close together."""
    if len(points) <= MAX_CROWD or not np.isfinite(points).all():
        return
    square = np.floor(points / CROWD).astype(np.int64)
    # Several squares may share a number here, which is cheap; only where too many do are they told apart.
    if np.bincount((square[:, 0] * 40_503 ^ square[:, 1]) & 0xFFFF).max() <= MAX_CROWD:
        return
    _, first, count = np.unique(square[:, 0] * 2**32 + square[:, 1], return_index=True, return_counts=True)
    most = int(count.argmax())
    if count[most] > MAX_CROWD:
        reason = f"{count[most]:,} points of lines within {CROWD:g} m around {_place(points[first[most]])}"
        yield error("map_features", f"{reason}; at most {MAX_CROWD:,} can be used. Are elements repeated?")


def _check_sizes(scenario: Scenario, actors: set[int | None]) -> Iterable[Finding]:
    size = np.where(scenario.valid[..., None], scenario.size, 1.0)
    # Heights may be 0, where a file has none.
    small, large = size[..., :2].min((1, 2), initial=1.0), size.max((1, 2), initial=1.0)
    # What is not positive is reported by itself.
    odd = ((small < ACTOR_SIZE[0]) | (large > ACTOR_SIZE[1])) & (small > 0)
    for agent in np.flatnonzero(odd):
        low, high = ACTOR_SIZE if agent in actors else OTHER_SIZE
        if small[agent] >= low and large[agent] <= high:
            continue
        found = small[agent] if small[agent] < low else large[agent]
        reason = f"a side of {found:.3g} m; {low} to {high} m can be used. Are these metres?"
        # A box that is too large touches everything; one that is too small is never met.
        wrong = agent in actors or large[agent] > high
        yield (error if wrong else warning)(_track(scenario, agent, "size"), reason)


def _in_degrees(scenario: Scenario, agents: NDArray[np.bool_]) -> bool:
    """Whether the headings of moving `agents` [A] fit their directions of motion as degrees, and not as radians."""
    both = scenario.valid[:, 1:] & scenario.valid[:, :-1] & agents[:, None]
    step = np.diff(scenario.position[..., :2], axis=1)
    moving = both & (np.hypot(step[..., 0], step[..., 1]) > MOVING * scenario.dt)
    if moving.sum() < MIN_MOVING:
        return False
    course = np.degrees(np.arctan2(step[..., 1], step[..., 0])[moving])
    heading = scenario.heading[:, :-1][moving]

    def off(degrees: NDArray[np.float64]) -> float:
        return float(np.median(np.abs((degrees - course + 180) % 360 - 180)))

    # Due east headings are near 0, which is right in both units; and one who drives backwards is off by half a turn.
    as_radians = off(np.degrees(heading))
    return off(heading) < DEGREES and 2 * DEGREES < as_radians < 180 - DEGREES


def _unreadable(light: Any, most: int) -> str | None:
    """Why a traffic light cannot be read, or None; no more than `most` states are looked at."""
    if not isinstance(light, Mapping) or not isinstance(light.get("state", {}), Mapping):
        return "the light or its state is not a dictionary"
    states = light.get("state", {}).get("object_state", ())
    flat = isinstance(states, np.ndarray) and states.ndim == 1
    if isinstance(states, str) or not (flat or isinstance(states, Sequence)):
        return f"object_state is of type {type(states).__name__} instead of a list with one state per step"
    if len(states) > most:
        return f"with its {len(states):,} states the lights have more than {MAX_ROWS:,}"
    states = states.tolist() if isinstance(states, np.ndarray) else states
    if not all(state is None or isinstance(state, str) or _number(state) for state in states):
        return "object_state holds something other than names of states"
    lane = light.get("lane")
    if lane is not None and not isinstance(lane, str) and not _number(lane):
        return f"lane is of type {type(lane).__name__} instead of an id"
    return _misplaced(light.get("stop_point", light.get("position")))


def _number(value: Any) -> bool:
    """Whether a value is a number that fits into 64 bits."""
    return isinstance(value, int | float | np.integer | np.floating) and bool(-(2**63) < value < 2**63)


def _misplaced(point: Any) -> str | None:
    if point is None:
        return None
    try:
        place = np.asarray(point, dtype=np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        return "the stop point is not made of numbers"
    if len(place) not in (2, 3):
        return f"the stop point has {len(place)} coordinates instead of 2 or 3"
    return None if np.isfinite(place).all() else "the stop point is NaN or infinite"
