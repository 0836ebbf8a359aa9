"""A scene as ASAM OpenSCENARIO XML 1.2: everybody follows a timed polyline on OpenDRIVE roads.

Positions are relative to the scene's origin (the ego's first position); the file's header says where that lies.
Reference points are as the standard asks: the middle of the rear axle for vehicles, the middle of the box for
people and objects, all on the ground (z = 0). Whoever appears later is added, and whoever leaves is deleted, by
events at that time; a gap in a track is a departure and a return.

Limits: traffic lights and heights are left out; axles are placed by rule (no recording says where they are); the
ego is scripted like everybody else: to test a driver of your own, take the maneuver group `Ego` away.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.exports.library import library
from harness.exports.opendrive import road_network, write_xml
from harness.files import explained
from scenarios.scenario import Kind, Scenario

Floats = NDArray[np.float64]

MINOR: Final = 2
"""OpenSCENARIO 1.2: read by esmini, CARLA's ScenarioRunner and the commercial tools."""
EGO: Final = "Ego"
OPPONENT: Final = "Opponent"
OVERHANG: Final = 0.2
"""Share of a vehicle's length behind its rear axle, and before its front axle: usual for cars."""
TRUCK: Final = 7.0
"""Vehicles from this length on are called trucks, m."""
LIMITS: Final = (70.0, 12.0, 12.0)
"""Top speed (m/s), acceleration and deceleration (m/s²) that vehicles are declared with: no recording exceeds them."""
HEIGHTS: Final = {Kind.PEDESTRIAN: 1.75, Kind.CYCLIST: 1.75}
"""Heights where the scene has none, m; 1.5 for the rest."""


@dataclass(frozen=True, slots=True)
class ExportedBody:
    """One agent as the standard describes it.

    Attributes:
        name: Entity name.
        agent: Row in the scenario.
        size: [3] length, width, height, m.
        ahead: From the reference point to the middle of the box, m.
    """

    name: str
    agent: int
    size: tuple[float, float, float]
    ahead: float


def write_openscenario(scenario: Scenario, folder: Path, name: str) -> tuple[Path, Path]:
    """Write `NAME.xosc` and the roads it drives on, `NAME.xodr`.

    Args:
        scenario: The scene (an attacked one, usually).
        folder: Made if missing.
        name: Stem of both files.

    Returns:
        The two files.

    Raises:
        ConfigError: The library is missing.
        RunError: The folder cannot be written.
    """
    with explained(folder, "make"):
        folder.mkdir(parents=True, exist_ok=True)
    roads = write_xml(road_network(scenario, scenario.origin), folder / f"{name}.xodr")
    return write_xml(scenario_element(scenario, roads.name), folder / f"{name}.xosc"), roads


def bodies(scenario: Scenario) -> list[ExportedBody]:
    """Everybody who is present at some step: ego first, then opponent, then the rest by row."""
    first = [agent for agent in (scenario.ego, scenario.opponent) if agent is not None]
    rows = first + [agent for agent in range(scenario.num_agents) if agent not in first]
    found = []
    for agent in rows:
        if not scenario.valid[agent].any():
            continue
        length, width = (max(value, 0.1) for value in scenario.box(agent))
        kind = Kind(int(scenario.kinds[agent]))
        height = float(np.median(scenario.size[agent, scenario.valid[agent], 2]))
        height = height if height > 0.1 else HEIGHTS.get(kind, 1.5)
        driven = kind in (Kind.VEHICLE, Kind.CYCLIST)
        ahead = (0.5 - OVERHANG) * length if driven else 0.0
        found.append(ExportedBody(_name(scenario, agent), agent, (length, width, height), ahead))
    return found


def scenario_element(scenario: Scenario, roads: str) -> ET.Element:
    """The `OpenSCENARIO` element of a scene.

    Args:
        scenario: The scene.
        roads: File name of the road network, relative to the scenario's.

    Raises:
        ConfigError: The library is missing.
    """
    xosc = library().xosc
    entities, init = xosc.Entities(), xosc.Init()
    end = (scenario.num_steps - 1) * scenario.dt
    story = xosc.Story("Recorded")
    act = xosc.Act("Drive", _at(xosc, "begin", 0.0))
    for body in bodies(scenario):
        entities.add_scenario_object(body.name, _entity(xosc, scenario, body))
        group = xosc.ManeuverGroup(body.name)
        group.add_actor(body.name)
        maneuver = xosc.Maneuver(f"{body.name} track")
        for number, (first, last) in enumerate(_spans(scenario.valid[body.agent])):
            for event in _events(xosc, scenario, body, number, first, last):
                maneuver.add_event(event)
            if first == 0:
                init.add_init_action(body.name, xosc.TeleportAction(_positions(xosc, scenario, body, first, first)[0]))
        if maneuver.events:
            group.add_maneuver(maneuver)
            act.add_maneuver_group(group)
    story.add_act(act)
    board = xosc.StoryBoard(init, _at(xosc, "end", end, "stop"))
    board.add_story(story)
    x, y = scenario.origin
    document = xosc.Scenario(
        f"Gauntlet scene {scenario.id}; (0, 0) is ({x:.4f}, {y:.4f}) m of the source",
        "Gauntlet",
        xosc.ParameterDeclarations(),
        entities,
        board,
        xosc.RoadNetwork(roadfile=roads),
        xosc.Catalog(),
        osc_minor_version=MINOR,
    )
    return document.get_element()


def _name(scenario: Scenario, agent: int) -> str:
    if agent == scenario.ego:
        return EGO
    return OPPONENT if agent == scenario.opponent else f"agent {scenario.agent_ids[agent]}"


def _entity(xosc: Any, scenario: Scenario, body: ExportedBody) -> Any:
    length, width, height = body.size
    box = xosc.BoundingBox(width, length, height, body.ahead, 0.0, height / 2)
    kind = Kind(int(scenario.kinds[body.agent]))
    if kind == Kind.PEDESTRIAN:
        return xosc.Pedestrian("pedestrian", 75, xosc.PedestrianCategory.pedestrian, box)
    if kind in (Kind.VEHICLE, Kind.CYCLIST):
        base = (1 - 2 * OVERHANG) * length
        wheel = min(0.7, height, length / 4)
        truck = xosc.VehicleCategory.truck if length >= TRUCK else xosc.VehicleCategory.car
        category = xosc.VehicleCategory.bicycle if kind == Kind.CYCLIST else truck
        axles = [xosc.Axle(0.6, wheel, 0.8 * width, x, wheel / 2) for x in (base, 0.0)]
        entity = xosc.Vehicle(category.get_name(), category, box, *axles, *LIMITS)
        entity.add_property("source id", scenario.agent_ids[body.agent])
        return entity
    category = xosc.MiscObjectCategory.barrier if kind == Kind.BARRIER else xosc.MiscObjectCategory.obstacle
    return xosc.MiscObject(category.get_name(), 10, category, box)


def _spans(valid: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First and last step of every stretch without a gap."""
    padded = np.concatenate([[False], valid, [False]])
    changes = np.flatnonzero(padded[1:] != padded[:-1])
    for first, after in changes.reshape(-1, 2).tolist():
        yield first, after - 1


def _positions(xosc: Any, scenario: Scenario, body: ExportedBody, first: int, last: int) -> list[Any]:
    """Reference points over a stretch, to a tenth of a millimetre."""
    states = scenario.states(body.agent)[first : last + 1]
    heading = states[:, 2]
    back = body.ahead * np.stack([np.cos(heading), np.sin(heading)], -1)
    places = np.round(states[:, :2] - scenario.origin - back, 4)
    return [
        xosc.WorldPosition(x, y, 0.0, h, 0.0, 0.0)
        for (x, y), h in zip(places.tolist(), np.round(heading, 6).tolist(), strict=True)
    ]


def _events(xosc: Any, scenario: Scenario, body: ExportedBody, number: int, first: int, last: int) -> Iterator[Any]:
    """What happens in one stretch of a track: appear, drive, leave."""
    positions = _positions(xosc, scenario, body, first, last)
    times = [round(step * scenario.dt, 6) for step in range(first, last + 1)]
    if first > 0:
        yield _event(xosc, body, f"appear {number}", times[0], xosc.AddEntityAction(body.name, positions[0]))
    if len(positions) > 1:
        trajectory = xosc.Trajectory(f"{body.name} {number}", False)
        trajectory.add_shape(xosc.Polyline(times, positions))
        follow = xosc.FollowTrajectoryAction(
            trajectory, xosc.FollowingMode.position, xosc.ReferenceContext.absolute, 1, 0
        )
        yield _event(xosc, body, f"drive {number}", times[0], follow)
    if last < scenario.num_steps - 1:
        # Present at its last step, gone at the next one.
        gone = round((last + 1) * scenario.dt, 6)
        yield _event(xosc, body, f"leave {number}", gone, xosc.DeleteEntityAction(body.name))


def _event(xosc: Any, body: ExportedBody, name: str, time: float, action: Any) -> Any:
    event = xosc.Event(f"{body.name} {name}", xosc.Priority.parallel)
    event.add_action(f"{body.name} {name}", action)
    event.add_trigger(_at(xosc, f"{body.name} {name}", time))
    return event


def _at(xosc: Any, name: str, time: float, point: str = "start") -> Any:
    condition = xosc.SimulationTimeCondition(time, xosc.Rule.greaterOrEqual)
    return xosc.ValueTrigger(f"{name} at {time:g} s", 0, xosc.ConditionEdge.none, condition, point)
