"""Everything about a scene that does not change between episodes, computed once and kept within a bound."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from metadrive.type import MetaDriveType
from numpy.typing import NDArray

from harness.engine.lines import LineWorld
from harness.engine.route import Route
from harness.episodes.long_routes import MARGIN, TOP_SPEED, beyond_the_log
from harness.errors import ScenarioError
from scenarios.scenario import DT, Kind, Scenario

Floats = NDArray[np.float64]

_STATIC_STD: Final = 3.0
"""A vehicle whose position varies less than this (standard deviation, m) never moves (`STATIC_THRESHOLD`)."""
_MIN_OBJECT_STEPS: Final = 20
"""A cone or barrier seen for fewer steps is noise (`MIN_VALID_FRAME_LEN`)."""


class Body(IntEnum):
    """Which of MetaDrive's bodies stands for an agent."""

    SMALL = 0
    MEDIUM = 1
    LARGE = 2
    TRUCK = 3
    PEDESTRIAN = 4
    CYCLIST = 5
    CONE = 6
    BARRIER = 7


class BodySpec(NamedTuple):
    """Dimensions of a body as Bullet sees it.

    Attributes:
        length, width, height: Extents, m (a cylinder where `cylinder`).
        mass: kg.
        base: Height (m) of the node's origin once settled.
        lift: Height (m) of the shape's centre above the node's origin.
        turn: Degrees from the agent's heading to the node's (a vehicle's node faces +y).
        name: Type name that contacts report.
    """

    length: float
    width: float
    height: float
    mass: float
    base: float
    lift: float
    turn: float
    name: str
    cylinder: bool = False
    pitch: float = 0.0


# Dimensions and masses: DEFAULT_* and MASS of vehicle_type.py, pedestrian.py, cyclist.py and traffic_object.py of
# MetaDrive 0.4.3. `base` and `pitch` (degrees) of the vehicles: where they come to rest there, measured.
BODIES: Final[dict[Body, BodySpec]] = {
    Body.SMALL: BodySpec(4.3, 1.7, 1.7, 800, 0.5374, 0.85, -90, MetaDriveType.VEHICLE, pitch=0.255),
    Body.MEDIUM: BodySpec(4.6, 1.85, 1.37, 1200, 0.5383, 0.685, -90, MetaDriveType.VEHICLE, pitch=0.0528),
    Body.LARGE: BodySpec(4.87, 2.046, 1.85, 1300, 0.5377, 0.925, -90, MetaDriveType.VEHICLE, pitch=0.2646),
    Body.TRUCK: BodySpec(5.74, 2.3, 2.8, 1600, 0.6347, 1.4, -90, MetaDriveType.VEHICLE, pitch=0.577),
    Body.PEDESTRIAN: BodySpec(0.7, 0.7, 1.75, 70, 0.875, 0, 0, MetaDriveType.PEDESTRIAN, cylinder=True),
    Body.CYCLIST: BodySpec(1.75, 0.4, 1.75, 80, 0.875, 0, 0, MetaDriveType.CYCLIST),
    Body.CONE: BodySpec(0.4, 0.4, 2.0, 2, 1.0, 0, 0, MetaDriveType.TRAFFIC_CONE, cylinder=True),
    Body.BARRIER: BodySpec(2.0, 0.3, 2.0, 10, 1.0, 0, 0, MetaDriveType.TRAFFIC_BARRIER),
}
IS_VEHICLE: Final = np.array([body <= Body.TRUCK for body in Body])
_FIXED: Final = {
    Kind.PEDESTRIAN: Body.PEDESTRIAN,
    Kind.CYCLIST: Body.CYCLIST,
    Kind.CONE: Body.CONE,
    Kind.BARRIER: Body.BARRIER,
}
HALF_SPAN: Final = np.array([np.hypot(BODIES[body].length, BODIES[body].width) / 2 for body in Body])


@dataclass(slots=True, eq=False)
class Scene:
    """One parsed scene.

    Attributes:
        scenario: What it was made from.
        origin: Ego start [2], m; everything below is relative to it.
        lines: Lane lines and road edges.
        route: The ego's logged path.
        xy: [A, T, 2] positions, m, rounded to float32 as the engine holds them.
        theta: [A, T] headings, rad, as the engine holds them.
        node_heading: [A, T] headings of the engine's nodes, degrees.
        velocity: [A, T, 2], m/s.
        spin: [A, T] angular velocities, rad/s.
        motion: [A, T, 3] velocity (m/s) and turn rate (rad/s) of bodies on the way to the next step, where they may
            touch the ego: logged, or what wheel physics leaves of it.
        body: [A, T] `Body` that the agent gets if it appears at that step.
        may_appear: [A, T] whether the agent may be present, before anything that depends on the ego.
        sizes: [A, 2] logged length and width, m.
        is_vehicle: [A].
        tilt: [A, T, 3] height (m), pitch and roll (degrees) of the agents' bodies.
        reserve: Number of slots: so many of the last agents are rows in which nobody is recorded.
        bounds: Per (agent, step): pose, velocity and angular velocity in the last physics tick, for bodies that the
            log then moves out of the bounds that rays search.
    """

    scenario: Scenario
    origin: Floats
    lines: LineWorld
    route: Route
    xy: Floats
    theta: Floats
    node_heading: Floats
    velocity: Floats
    spin: Floats
    motion: Floats
    body: NDArray[np.int8]
    may_appear: NDArray[np.bool_]
    sizes: Floats
    is_vehicle: NDArray[np.bool_]
    tilt: Floats
    reserve: int = 0
    bounds: dict[tuple[int, int], tuple[list[float], list[float], list[float]]] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Number of logged steps."""
        return self.scenario.num_steps

    def close(self) -> None:
        """Release the bodies."""
        self.lines.close()


def parse_scene(scenario: Scenario, *, static_vehicles: bool, reserve: int = 0) -> Scene:
    """Compute a scene's arrays and line bodies, with `reserve` slots for agents that may enter.

    Raises:
        ScenarioError: Its steps are not 0.1 s, or the ego is missing at step 0, or has no path.
    """
    if not scenario.valid[scenario.ego, 0]:
        raise ScenarioError(f"{scenario.source or scenario.id}: the ego (agent {scenario.ego}) is not valid at step 0")
    if abs(scenario.dt - DT) > 1e-6:
        raise ScenarioError(
            f"{scenario.source or scenario.id}: steps of {scenario.dt:g} s, but the simulator plays one every {DT} s. "
            "Resample it: scenarios.resampling.resampled (loaders do)."
        )
    if scenario.num_steps < 2:
        raise ScenarioError(f"{scenario.source or scenario.id}: {scenario.num_steps} step; an episode needs at least 2")
    scenario = scenario.with_reserve(reserve)
    position = source_precision(scenario.position[..., :2])
    origin = position[scenario.ego, 0].copy()
    if abs(np.sum(origin)) < 1e-3:
        # Stock leaves scenes alone that already start at their origin.
        origin[:] = 0
    local = position - origin
    heading = source_precision(scenario.heading)
    body = _bodies(scenario)
    turn = np.where(IS_VEHICLE[body], heading.dtype.type(np.pi / 2), heading.dtype.type(0))
    base = np.array([(BODIES[kind].base, BODIES[kind].pitch, 0.0) for kind in Body])
    velocity = source_precision(scenario.velocity).astype(np.float32).astype(np.float64)
    spin = _spin(heading, scenario.valid)
    return Scene(
        scenario=scenario,
        origin=origin.astype(np.float64),
        lines=LineWorld(scenario.features, origin),
        route=Route(local[scenario.ego]),
        xy=local.astype(np.float32).astype(np.float64),
        theta=heading.astype(np.float64),
        node_heading=((heading - turn) * 180 / np.pi).astype(np.float64),
        velocity=velocity,
        spin=spin,
        motion=np.concatenate([velocity, spin[..., None]], axis=-1),
        body=body,
        may_appear=_may_appear(scenario, static_vehicles=static_vehicles),
        sizes=np.array([scenario.box(agent) for agent in range(scenario.num_agents)]).reshape(-1, 2),
        is_vehicle=scenario.kinds == Kind.VEHICLE,
        tilt=base[body],
        reserve=reserve,
    )


def with_long_route(scene: Scene, horizon: int, rng: np.random.Generator) -> Scene:
    """The scene for an episode of `horizon` steps beyond the log: the ego's route goes on along lanes that `rng` draws.

    Everything else is shared with the scene, whose bodies it lives by. An ego that is parked where no lane is has no
    way that could end: it gets the scene as it is.
    """
    # An ego may be far ahead of its log, so that all of the time counts.
    beyond = beyond_the_log(scene.scenario, horizon * DT * TOP_SPEED + MARGIN, rng) - scene.origin
    if not len(beyond) and not scene.route.leads_somewhere:
        return scene
    ego, scenario = scene.scenario.ego, scene.scenario
    logged = source_precision(scenario.position[ego, scenario.valid[ego], :2]) - scene.origin
    return replace(scene, route=Route(logged, beyond))


def source_precision(values: Floats) -> NDArray[np.floating]:
    """Values as float32 where that loses nothing: a file's float32 arithmetic is then repeated exactly."""
    narrow = values.astype(np.float32)
    return narrow if np.array_equal(narrow, values, equal_nan=True) else values


def _bodies(scenario: Scenario) -> NDArray[np.int8]:
    usual = np.array([scenario.box(agent)[0] for agent in range(scenario.num_agents)])
    # Rows that the log does not have may still be driven by a plan.
    return body_of(scenario.kinds[:, None], np.where(scenario.valid, scenario.size[..., 0], usual[:, None]))


def body_of(kinds: NDArray[np.int8], length: Floats) -> NDArray[np.int8]:
    """`Body` of agents by kind and length (m); both broadcast."""
    body = np.select([length <= 4, length <= 5.2, length <= 6.2], [Body.SMALL, Body.MEDIUM, Body.LARGE], Body.TRUCK)
    for kind, replacement in _FIXED.items():
        body = np.where(kinds == kind, replacement, body)
    return body.astype(np.int8)


def _spin(heading: NDArray[np.floating], valid: NDArray[np.bool_]) -> Floats:
    """Forward differences of the heading, rad/s, 0 where either end is invalid (`compute_angular_velocity`).

    In the file's precision, as stock: float32 wrapping costs 1e-6 rad/s, and the suspension shows it.
    """
    kind = heading.dtype.type
    spin = np.zeros(heading.shape)
    turn = (np.diff(heading, axis=1) + kind(np.pi)) % kind(2 * np.pi) - kind(np.pi)
    spin[:, :-1] = np.where(valid[:, :-1] & valid[:, 1:], turn / kind(0.1), 0.0)
    return spin


def _may_appear(scenario: Scenario, *, static_vehicles: bool) -> NDArray[np.bool_]:
    """Stock's rules on who is simulated at all (`ScenarioTrafficManager.spawn_*`)."""
    allowed = scenario.valid.copy()
    allowed[scenario.ego] = False
    for agent in range(scenario.num_agents):
        kind, valid = scenario.kinds[agent], scenario.valid[agent]
        if kind == Kind.OTHER or not valid.any():
            allowed[agent] = False
        elif kind == Kind.VEHICLE and not static_vehicles:
            spread = np.std(source_precision(scenario.position[agent])[valid], axis=0)[:2]
            allowed[agent] &= bool(np.max(spread) > _STATIC_STD)
        elif kind in (Kind.CONE, Kind.BARRIER):
            # Objects stay once seen, wherever the log loses them.
            seen = np.maximum.accumulate(valid)
            allowed[agent] = seen if valid.sum() >= _MIN_OBJECT_STEPS else False
    return allowed
