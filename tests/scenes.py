"""Tiny scenes whose every number can be worked out by hand: 91 steps of 0.1 s, constant velocities.

All builders return a `Scenario`; `scenarios.description.to_description` turns it into something that
MetaDrive's `ScenarioEnv` loads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.geometry import interpolate_polyline
from scenarios.scenario import Kind, MapFeature, Scenario

STEPS = 91
DT = 0.1
LANE_WIDTH = 3.5
CAR = (4.5, 2.0, 1.5)
"""Length, width, height of every car, m."""
EDGE_GAP = 2.0
"""Distance from an outer lane's centre line to the road edge, m: a centred car clears it by 1 m."""


@dataclass(frozen=True)
class Agent:
    """One agent at constant velocity: start pose at step 0 (even if it appears later), speed along its heading."""

    id: str
    x: float
    y: float
    heading: float = 0.0
    speed: float = 10.0
    kind: Kind = Kind.VEHICLE
    size: tuple[float, float, float] = CAR
    first: int = 0
    last: int = STEPS - 1


def make_scene(
    agents: Sequence[Agent],
    features: Sequence[MapFeature],
    *,
    scene_id: str = "scene",
    steps: int = STEPS,
    dt: float = DT,
    opponent: str | None = "opponent",
    interest: Sequence[str] = (),
    origin: tuple[float, float] = (0.0, 0.0),
    rotation: float = 0.0,
) -> Scenario:
    """Assemble a scene; agent 0 is the ego; rows outside `first..last` are invalid and zero.

    `rotation` (rad) turns the whole scene about (0, 0), then `origin` (m) shifts it.
    """
    count = len(agents)
    time = np.arange(steps) * dt
    position = np.zeros((count, steps, 3))
    heading = np.zeros((count, steps))
    velocity = np.zeros((count, steps, 2))
    size = np.zeros((count, steps, 3))
    valid = np.zeros((count, steps), dtype=bool)
    for row, agent in enumerate(agents):
        live = slice(agent.first, agent.last + 1)
        direction = np.array([np.cos(agent.heading), np.sin(agent.heading)])
        xy = np.array([agent.x, agent.y]) + agent.speed * time[live, None] * direction
        position[row, live, :2] = _move(xy, origin, rotation)
        heading[row, live] = agent.heading + rotation
        velocity[row, live] = _move(agent.speed * direction, (0.0, 0.0), rotation)
        size[row, live] = agent.size
        valid[row, live] = True
    names = tuple(agent.id for agent in agents)
    return Scenario(
        id=scene_id,
        dt=dt,
        agent_ids=names,
        kinds=np.array([agent.kind for agent in agents], dtype=np.int8),
        position=position,
        heading=heading,
        velocity=velocity,
        size=size,
        valid=valid,
        features=tuple(_move_feature(feature, origin, rotation) for feature in features),
        ego=0,
        opponent=names.index(opponent) if opponent in names else None,
        objects_of_interest=tuple(interest),
    )


def moved_aside(scenario: Scenario, agent: str, first: int, last: int, offset: float) -> Scenario:
    """The scene in which an agent of a road along +x moves `offset` m to the left, evenly, from step first to last."""
    row, position, velocity = scenario.index_of(agent), scenario.position.copy(), scenario.velocity.copy()
    share = np.clip((np.arange(scenario.num_steps) - first) / (last - first), 0.0, 1.0)
    position[row, :, 1] += offset * share
    velocity[row, first:last, 1] += offset / ((last - first) * scenario.dt)
    return replace(scenario, position=position, velocity=velocity)


def driven_along(scenario: Scenario, agent: str, line: np.ndarray, speeds: np.ndarray | float) -> Scenario:
    """The scene in which an agent drives along a line [N, 2] from its beginning, at speeds [T] or one, m/s."""
    row, steps = scenario.index_of(agent), scenario.num_steps
    speeds = np.broadcast_to(speeds, steps)
    along = np.concatenate([[0.0], np.cumsum(speeds[:-1] * scenario.dt)])
    places, headings = interpolate_polyline(line, along)
    position, heading, velocity = (getattr(scenario, name).copy() for name in ("position", "heading", "velocity"))
    position[row, :, :2], heading[row] = places, headings
    velocity[row] = speeds[:, None] * np.stack([np.cos(headings), np.sin(headings)], -1)
    return replace(scenario, position=position, heading=heading, velocity=velocity)


def lasting(scenario: Scenario, steps: int) -> Scenario:
    """The scene cut after `steps` steps, or prolonged: whoever is there in its last row goes on at that velocity."""
    rows = np.minimum(np.arange(steps), scenario.num_steps - 1)
    time = scenario.dt * (np.arange(steps) - rows)
    moved = scenario.velocity[:, rows] * time[:, None]
    position = scenario.position[:, rows] + np.concatenate([moved, np.zeros_like(moved[..., :1])], -1)
    arrays = {name: getattr(scenario, name)[:, rows] for name in ("heading", "velocity", "size", "valid")}
    metadata = {**scenario.metadata, "ts": scenario.dt * np.arange(steps)}
    return replace(scenario, position=position, metadata=metadata, **arrays)


def straight_road(
    *,
    ego_speed: float = 10.0,
    opponent_speed: float = 10.0,
    opponent_gap: float = 20.0,
    opponent_offset: float = LANE_WIDTH,
    opponent_from: int = 0,
    opponent_to: int = STEPS - 1,
    extra: Sequence[Agent] = (),
    edges: bool = True,
    median: bool = False,
    with_opponent: bool = True,
    steps: int = STEPS,
    origin: tuple[float, float] = (0.0, 0.0),
    rotation: float = 0.0,
    scene_id: str = "straight_road",
    interest: Sequence[str] = (),
) -> Scenario:
    """A road along +x with two lanes in the same direction, x from -100 to 300 m.

    Lane "right" has its centre at y = 0, lane "left" at y = 3.5; road edges lie at y = -2 and y = 5.5
    (type ROAD_EDGE_MEDIAN for the upper one with `median`). The ego starts at (0, 0).

    Args:
        ego_speed, opponent_speed: m/s.
        opponent_gap: Opponent centre ahead of the ego's at step 0, m.
        opponent_offset: Opponent centre left of the ego's, m.
        opponent_from, opponent_to: First and last valid step of the opponent.
        extra: More agents.
        edges: Whether there are road edges.
        median: Whether the upper road edge is a median.
        with_opponent: Whether there is an opponent at all.
        steps: Length of the scene.
        origin, rotation: Where the scene lies in the world, m and rad.
        scene_id: Name.
        interest: Objects of interest.
    """
    x = np.arange(-100.0, 300.1, 2.0)
    features = [
        _line("right", "LANE_SURFACE_STREET", x, 0.0, left=("left",)),
        _line("left", "LANE_SURFACE_STREET", x, LANE_WIDTH, right=("right",)),
        _line("divider", "ROAD_LINE_BROKEN_SINGLE_WHITE", x, LANE_WIDTH / 2),
    ]
    if edges:
        upper = "ROAD_EDGE_MEDIAN" if median else "ROAD_EDGE_BOUNDARY"
        features.append(_line("edge_right", "ROAD_EDGE_BOUNDARY", x, -EDGE_GAP))
        features.append(_line("edge_left", upper, x, LANE_WIDTH + EDGE_GAP))
    agents = [Agent("ego", 0.0, 0.0, 0.0, ego_speed, last=steps - 1)]
    if with_opponent:
        agents.append(
            Agent(
                "opponent",
                opponent_gap,
                opponent_offset,
                0.0,
                opponent_speed,
                first=opponent_from,
                last=min(opponent_to, steps - 1),
            )
        )
    return make_scene(
        [*agents, *extra],
        features,
        scene_id=scene_id,
        steps=steps,
        origin=origin,
        rotation=rotation,
        interest=interest,
    )


def crossing(
    *,
    ego_speed: float = 10.0,
    opponent_speed: float = 10.0,
    meet_time: float = 5.0,
    opponent_delay: float = 2.0,
    opponent_from: int = 0,
    extra: Sequence[Agent] = (),
    origin: tuple[float, float] = (0.0, 0.0),
    rotation: float = 0.0,
    scene_id: str = "crossing",
    interest: Sequence[str] = (),
) -> Scenario:
    """Two one-lane roads crossing at right angles at (0, 0); ego eastbound on y = 0, opponent northbound on x = 0.

    The ego's centre is at (0, 0) after `meet_time` s, the opponent's `opponent_delay` s later (negative: before).
    Lanes: "west" → "through" → "east" for the ego, "south" → "up" → "north" for the opponent, and the left
    turn "west" → "turn" → "north" (radius 10 m about (-10, 10)). Approaches end 10 m before the crossing point.
    Four L-shaped road edges run 2 m from the centre lines.
    """
    out = np.arange(-200.0, -9.9, 2.0)
    middle = np.arange(-10.0, 10.1, 2.0)
    back = -out[::-1]
    angle = np.linspace(-np.pi / 2, 0.0, 16)
    turn = np.stack([-10.0 + 10.0 * np.cos(angle), 10.0 + 10.0 * np.sin(angle)], -1)

    def lane(name: str, points: np.ndarray, entry: Sequence[str] = (), exit_: Sequence[str] = ()) -> MapFeature:
        return MapFeature(name, "LANE_SURFACE_STREET", _flat(points), entry=tuple(entry), exit=tuple(exit_))

    def along_x(x: np.ndarray) -> np.ndarray:
        return np.stack([x, np.zeros_like(x)], -1)

    def along_y(y: np.ndarray) -> np.ndarray:
        return np.stack([np.zeros_like(y), y], -1)

    features = [
        lane("west", along_x(out), exit_=("through", "turn")),
        lane("through", along_x(middle), ("west",), ("east",)),
        lane("east", along_x(back), ("through",)),
        lane("south", along_y(out), exit_=("up",)),
        lane("up", along_y(middle), ("south",), ("north",)),
        lane("north", along_y(back), ("up", "turn")),
        lane("turn", turn, ("west",), ("north",)),
    ]
    for sign_x in (-1.0, 1.0):
        for sign_y in (-1.0, 1.0):
            corner = np.array([sign_x, sign_y]) * EDGE_GAP
            far_x, far_y = np.array([sign_x * 200.0, corner[1]]), np.array([corner[0], sign_y * 200.0])
            name = f"edge_{'w' if sign_x < 0 else 'e'}{'s' if sign_y < 0 else 'n'}"
            features.append(MapFeature(name, "ROAD_EDGE_BOUNDARY", _flat(np.stack([far_x, corner, far_y]))))
    agents = [
        Agent("ego", -ego_speed * meet_time, 0.0, 0.0, ego_speed),
        Agent(
            "opponent",
            0.0,
            -opponent_speed * (meet_time + opponent_delay),
            np.pi / 2,
            opponent_speed,
            first=opponent_from,
        ),
        *extra,
    ]
    return make_scene(agents, features, scene_id=scene_id, origin=origin, rotation=rotation, interest=interest)


def kerbside(
    *,
    kind: Kind = Kind.PEDESTRIAN,
    x: float = 40.0,
    y: float = -6.0,
    heading: float = np.pi / 2,
    speed: float = 0.0,
    ego_speed: float = 10.0,
    extra: Sequence[Agent] = (),
    origin: tuple[float, float] = (0.0, 0.0),
    rotation: float = 0.0,
    scene_id: str = "kerbside",
) -> Scenario:
    """`straight_road` without a car ahead; the opponent is somebody beside it, a pedestrian who stands and faces it.

    The ego drives along y = 0 and passes `x` = 40 after 4 s; the road ends at y = -2.
    """
    size = (0.8, 0.8, 1.75) if kind == Kind.PEDESTRIAN else (1.8, 0.6, 1.75)
    who = Agent("opponent", x, y, heading, speed, kind, size)
    scene = straight_road(
        ego_speed=ego_speed,
        with_opponent=False,
        extra=[who, *extra],
        origin=origin,
        rotation=rotation,
        scene_id=scene_id,
    )
    return scene.with_opponent(scene.index_of("opponent"))


def _move(xy: np.ndarray, origin: tuple[float, float], rotation: float) -> np.ndarray:
    cos, sin = np.cos(rotation), np.sin(rotation)
    return xy @ np.array([[cos, sin], [-sin, cos]]) + np.asarray(origin)


def _move_feature(feature: MapFeature, origin: tuple[float, float], rotation: float) -> MapFeature:
    points = feature.points.copy()
    points[:, :2] = _move(points[:, :2], origin, rotation)
    return MapFeature(
        feature.id,
        feature.type,
        points,
        feature.closed,
        feature.entry,
        feature.exit,
        feature.left,
        feature.right,
        feature.extras,
    )


def _flat(points: np.ndarray) -> np.ndarray:
    """Points [N, 2] with z = 0: [N, 3]."""
    return np.concatenate([points, np.zeros((len(points), 1))], axis=-1)


def _line(
    name: str, kind: str, x: np.ndarray, y: float, left: tuple[str, ...] = (), right: tuple[str, ...] = ()
) -> MapFeature:
    return MapFeature(name, kind, _flat(np.stack([x, np.full_like(x, y)], -1)), left=left, right=right)
