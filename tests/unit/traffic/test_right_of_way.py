"""Who waits for whom where ways cross or join, by hand, and drivers of `idm-flow` who do."""

import numpy as np
import pytest

from harness.geometry import boxes_overlap
from harness.traffic.lane_flow import LaneFlowTraffic, _entrances
from harness.traffic.right_of_way import Movers, circling, waits
from harness.traffic.rollouts import PolicySimulator
from scenarios.scenario import MapFeature
from tests.scenes import Agent, crossing, make_scene, straight_road
from tests.unit.traffic.test_slots import play

LOOK = np.arange(0.0, 41.0, 2.0)
EAST, NORTH = 0.0, np.pi / 2
Car = tuple[float, float, float, float]
"""x, y (m), heading (rad), speed (m/s)."""


def movers(*cars: Car, free: float = 1e6, gives: bool = True, ahead: tuple[int, ...] = ()) -> Movers:
    """Cars of 4.5 by 2 m that go straight on."""
    x, y, heading, speed = np.array(cars).T[:, :, None]
    ways = np.stack([x + LOOK * np.cos(heading), y + LOOK * np.sin(heading), heading + 0 * LOOK], -1)
    count = len(cars)
    half, first = np.tile([2.25, 1.0], (count, 1)), np.isin(np.arange(count), ahead)
    return Movers(ways, half, speed[:, 0], np.full(count, free), np.full(count, gives), first)


def found(cars: Movers) -> list[tuple[int, int, float, float]]:
    """Who waits for whom, how far it can go, and the other's speed along its way."""
    result = waits(cars, LOOK, margin=0.2, hardest=8.0)
    return [
        (who, other, pytest.approx(gap), pytest.approx(speed, abs=1e-6))
        for who, other, gap, speed in zip(*(part.tolist() for part in result), strict=True)
    ]


def test_who_is_there_later_waits_before_the_crossing():
    east, north = (-20.0, 0.0, EAST, 10.0), (0.0, -30.0, NORTH, 10.0)
    # Centres 2.2 m aside of one another touch: of the points 2 m apart that is first so at -2 m.
    assert found(movers(east, north)) == [(1, 0, 28.0 - 2.25, 0.0)]
    assert found(movers(north, east)) == [(0, 1, 28.0 - 2.25, 0.0)]


def test_who_passes_by_does_so_in_the_coordinates_of_a_map_projection():
    # 2.4 m aside of each other; in single precision that would be 2 m there, which is too close.
    cars = movers((0.0, 0.3, EAST, 10.0), (60.0, 2.7, np.pi, 10.0))
    assert found(cars) == []
    assert found(cars._replace(ways=cars.ways + np.array([690_431.0, 5_335_912.0, 0.0]))) == []


def test_drivers_pass_a_parked_car_in_the_coordinates_of_a_map_projection():
    places = []
    for origin in ((0.0, 0.0), (690_431.3, 5_335_912.7)):
        # 2.4 m aside, where 2.2 m would be in the way.
        cars = [Agent("car", 0.0, 0.0, speed=10.0), Agent("parked", 40.0, -2.4, speed=0.0)]
        scene = straight_road(with_opponent=False, ego_speed=20.0, extra=cars, origin=origin)
        states, _ = play(LaneFlowTraffic(inflow=0.0, spread=0.0), scene, 60)
        places.append(states[:, 1, 0] - origin[0])
    assert places[0][-1] > 50.0
    assert places[0] == pytest.approx(places[1], abs=0.05)


def test_entrances_are_found_in_one_pass(monkeypatch):
    lanes = [MapFeature(str(row), "LANE_SURFACE_STREET", _lane(3.5 * row)) for row in range(200)]
    twin = MapFeature("twin", "LANE_SURFACE_STREET", _lane(0.5))
    stub = MapFeature("stub", "LANE_SURFACE_STREET", np.array([[0.0, -50.0, 0.0], [9.0, -50.0, 0.0]]))
    scene = make_scene([Agent("ego", 0.0, 0.0)], [*lanes, twin, stub], opponent=None)
    calls, hypot = [], np.hypot
    monkeypatch.setattr(np, "hypot", lambda *parts: calls.append(1) or hypot(*parts))
    found = _entrances(scene, LaneFlowTraffic().config)
    assert [entrance.pose[1] for entrance in found] == [3.5 * row for row in range(200)]
    assert len(calls) < 200 * 20


def _lane(y: float) -> np.ndarray:
    return np.array([[0.0, y, 0.0], [50.0, y, 0.0]])


def test_who_stands_is_taken_to_come_slowly():
    # 1.75 m of its way are left, which it is taken to drive at 1 m/s; the other would be there after 2.6 s.
    assert found(movers((-6.0, 0.0, EAST, 0.0), (0.0, -30.0, NORTH, 10.0))) == [(1, 0, 25.75, 0.0)]


def test_who_comes_towards_one_has_no_speed_along_ones_way():
    towards = 2 * np.pi / 3
    cars = (-16.0, 0.0, EAST, 12.0), (-24 * np.cos(towards), -24 * np.sin(towards), towards, 12.0)
    ((_, _, _, speed),) = found(movers(*cars))
    assert speed == 0.0


def test_of_equally_early_ones_one_waits():
    assert found(movers((-20.0, 0.0, EAST, 10.0), (0.0, -20.0, NORTH, 10.0))) == [(1, 0, 15.75, 0.0)]


def test_who_cannot_stop_goes_first():
    near, fast = (-10.0, 0.0, EAST, 5.0), (0.0, -30.0, NORTH, 22.0)
    # 5.75 m at 5 m/s and 25.75 m at 22 m/s: the second is .02 s later, and would need 9.4 m/s² to stop.
    assert found(movers(near, fast)) == [(0, 1, 5.75, 0.0)]
    assert found(movers(near, (*fast[:3], 18.0))) == [(1, 0, 25.75, 0.0)]


def test_who_comes_when_the_other_has_gone_need_not_wait():
    # The first has gone after 1.03 s; the second is there after 2.6 s, or 1.9 s.
    assert found(movers((-6.0, 0.0, EAST, 10.0), (0.0, -30.0, NORTH, 10.0))) == []
    assert found(movers((-6.0, 0.0, EAST, 10.0), (0.0, -30.0, NORTH, 13.5))) == [(1, 0, 25.75, 0.0)]


def test_where_ways_join_the_other_is_followed():
    slip = np.pi / 6
    main, ramp = (-16.0, 0.0, EAST, 12.0), (-20 * np.cos(slip), -20 * np.sin(slip), slip, 12.0)
    ((who, other, _, speed),) = found(movers(main, ramp))
    assert (who, other) == (1, 0)
    assert speed == pytest.approx(12.0 * np.cos(slip))


@pytest.mark.parametrize(
    "cars",
    [
        [(0.0, 0.0, EAST, 10.0), (15.0, 0.0, EAST, 2.0)],  # One follows the other.
        [(0.0, 0.0, EAST, 10.0), (30.0, 3.5, np.pi, 10.0)],  # They pass each other.
        [(-20.0, 0.0, EAST, 10.0), (0.0, 1.0, NORTH, 1.0)],  # It is in the way already: seen as it is.
        [(-20.0, 0.0, EAST, 10.0), (0.0, -35.0, NORTH, 1.0)],  # Too slow to be there soon.
    ],
)
def test_what_is_no_matter_of_precedence(cars):
    assert found(movers(*cars)) == []


def test_nobody_waits_for_who_cannot_come():
    cars = (-20.0, 0.0, EAST, 10.0), (0.0, -30.0, NORTH, 10.0)
    assert found(movers(*cars, free=10.0)) == []
    assert found(movers(*cars, gives=False)) == []


def test_who_is_in_a_roundabout_goes_first():
    enters, circles = (-20.0, 0.0, EAST, 10.0), (0.0, -24.0, NORTH, 10.0)
    assert found(movers(enters, circles)) == [(1, 0, 19.75, 0.0)]
    assert found(movers(enters, circles, ahead=(1,))) == [(0, 1, 15.75, 0.0)]
    # Nobody drives in before who stands in a queue there; who can no longer stop does.
    assert found(movers(enters, circles, ahead=(1,), free=10.0)) == [(0, 1, 15.75, 0.0)]
    assert found(movers((-6.0, 0.0, EAST, 10.0), circles, ahead=(1,))) == [(1, 0, 19.75, 0.0)]


def test_lanes_of_a_roundabout():
    # 0 leads into the ring 1, 2, 3 and 4 out of it; 5 and 6 are a block that is too long.
    successors = [[1], [2], [3, 4], [1], [], [6], [5]]
    lengths = np.array([100.0, 20.0, 20.0, 20.0, 100.0, 150.0, 150.0])
    assert circling(successors, lengths, 250.0).tolist() == [False, True, True, True, False, False, False]
    assert circling(successors, lengths, 60.0).tolist() == [False, True, True, True, False, False, False]
    assert not circling(successors, lengths, 59.0).any()


def contacts(scene, policy, steps: int) -> int:
    """Pairs of vehicles whose boxes meet in a roll-out of the whole scene; everybody is there at its end."""
    simulated = PolicySimulator(policy, steps=steps).simulate(scene, 1, 0)
    poses, sizes = simulated.states[0][..., [0, 1, 3]], np.array([scene.box(agent) for agent in simulated.agents])
    one, two = np.triu_indices(len(sizes), 1)
    return int(boxes_overlap(poses[one], sizes[one, None], poses[two], sizes[two, None]).any(-1).sum())


@pytest.mark.parametrize("delay", [-0.5, 0.0, 0.5])
def test_drivers_give_way_at_a_crossing(delay):
    scene = crossing(opponent_delay=delay)
    assert contacts(scene, LaneFlowTraffic(inflow=0.0, spread=0.0), 120) == 0


def test_nobody_enters_before_somebody_who_comes_from_behind():
    behind = Agent("behind", -118.0, 0.0, speed=10.0)
    policy = LaneFlowTraffic(inflow=36000.0)
    states, valid = play(policy, straight_road(with_opponent=False, extra=[behind]), 60)
    entered = [
        step + 1
        for slot in range(2, valid.shape[1])
        for step in np.flatnonzero(np.diff(valid[:, slot].astype(int)) > 0)
        if abs(states[step + 1, slot, 1]) < 1
    ]
    assert entered
    assert all(states[step, 1, 0] > -98.0 for step in entered)


def test_whom_the_log_brings_where_somebody_stands_stays_away():
    agents = [
        Agent("parked", 50.0, -1.8, speed=0.0),
        Agent("into it", 53.0, -1.8, speed=0.0, first=30),
        Agent("beside it", 70.0, -1.8, speed=0.0, first=30),
    ]
    _, valid = play(LaneFlowTraffic(inflow=0.0), straight_road(with_opponent=False, extra=agents), 60)
    assert valid[:, 1].all()
    assert not valid[:, 2].any()
    assert valid[30:, 3].all()
