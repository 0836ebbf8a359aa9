"""Who is in whose way, computed by hand on two roads that cross at 100 m, and on two that merge.

Vehicles are 4.5 m long: the front is 3.6 m ahead of the rear axle and the rear 0.9 m behind it. The zone of the
crossing reaches from 98 m to 102 m on either road.
"""

import numpy as np
import pytest

from scenarios.procedural.encounters import FAR, crossing_limit, followed, ratio, seen, seen_from, settle, yielding
from scenarios.procedural.routes import find_routes, speed_profile
from scenarios.procedural.traffic import Traffic
from tests.unit.scenarios.procedural.hand_made import crossing_roads, drivers, merging_roads


def traffic(roads, along, speed, same=False):
    """Two vehicles on the two roads, or both on the first one."""
    routes = find_routes(roads, np.random.default_rng(0))
    first, second = (int(np.flatnonzero(routes.entry == entry)[0]) for entry in (0, 1))
    if roads.kind == "intersection":
        routes.zones[[first, second], [second, first], 0] = 98, 102, 98, 102
    who = drivers([first, first if same else second])
    found = Traffic(routes, speed_profile(routes, 13.0), 10.0, who, np.zeros(2), np.array(along, dtype=float))
    found.speed[:] = speed
    return found


def state(of):
    return of.along, of.speed, of.traits, of.network


WHO = np.arange(2)


def test_the_free_gap_ends_at_the_rear_of_whoever_is_ahead():
    case = traffic(crossing_roads(), [40, 60], [8, 7], same=True)
    assert seen(0, 1, *state(case)) == pytest.approx((60 - 0.9 - 43.6, 7, 1))
    assert seen(1, 0, *state(case)) == (FAR, 0, 0)
    gap, other, near = seen_from(WHO, WHO[1:], *state(case))
    assert gap[:, 0].tolist()[0] == pytest.approx(15.5)
    assert other[0, 0] == pytest.approx(7)
    assert near[:, 0].tolist() == [True, False]


def test_crossing_traffic_is_in_the_way_where_it_stands_or_is_near():
    # The other one's front is 0.5 m behind the crossing: half its width (0.95 m) sticks out towards us.
    for start, speed, near in ((80, 0.5, 1), (80, 5, 0), (93, 5, 1)):
        case = traffic(crossing_roads(), [start, 95.9], [8, speed])
        gap, other, found = seen(0, 1, *state(case))
        assert found == near
        assert other == pytest.approx(0, abs=1e-6)
        assert gap == pytest.approx(100 - 0.95 - (start + 3.6) if near else FAR, abs=0.1)


def test_the_largest_ratio_counts_and_nobody_follows_itself():
    case = traffic(crossing_roads(), [40, 60], [8, 8], same=True)
    wanted = 2.2 + 1.2 * 8
    assert ratio(0, 15.5, 8.0, case.speed, case.traits) == pytest.approx(wanted / 15.5)
    assert ratio(0, 0.1, 8.0, case.speed, case.traits) == pytest.approx(wanted / 0.3)
    first, second = followed(WHO, *state(case))
    assert first == pytest.approx(wanted / 15.5)
    assert second < 1e-4


@pytest.mark.parametrize(
    ("along", "held", "order"),
    [
        ([80, 70], 0, 1),  # the earlier one
        ([70, 80], 0, -1),
        ([80, 80], 0, 1),  # of two at once the first one, from both sides
        ([71, 70], -1, -1),  # an advantage of 0.1 s changes nothing
        ([85, 70], -1, 1),  # one of 1.5 s does
        ([94, 80], -1, -1),  # unless the other could not stop any more
        ([95, 80], -1, 1),  # the one inside goes first
        ([80, 20], 1, 0),  # the other one is further than 70 m away
        ([110, 90], 1, 0),  # passed
    ],
)
def test_the_order_at_a_crossing(along, held, order):
    case = traffic(crossing_roads(), along, [10, 10])
    case.first[0, 1, 0], case.first[1, 0, 0] = held, -held
    settle(WHO, case.along, case.speed, np.full(2, 10.0), case.stopped, case.traits, case.network, case.first)
    assert (case.first[0, 1, 0], case.first[1, 0, 0]) == (order, -order)
    assert not case.first[..., 1:].any()
    assert not np.diagonal(case.first).any()


def test_waiting_earns_precedence():
    case = traffic(crossing_roads(), [80, 75], [10, 10])
    case.stopped[1] = 2.0  # worth a second; the way is half a second longer
    settle(WHO, case.along, case.speed, np.full(2, 10.0), case.stopped, case.traits, case.network, case.first)
    assert case.first[0, 1, 0] == -1


@pytest.mark.parametrize(
    ("along", "speed", "pace", "limit"),
    [
        # The other one is gone in 12.9 / 10 s and half a second; 13.4 m in that time are 7.486 m/s.
        ([80, 90], 10, 10.0, (13.4 / 1.79 - 10) / 1.2),
        ([80, 90], 5, 10.0, FAR),  # arrives later anyhow
        ([90.4, 90], 2, 2.0, 0.3 * 1.5),  # too slow to roll, and far from having to brake
        ([90.4, 90], 4, 2.0, -(4**2) / (2 * 2.5)),
        ([94, 90], 0.1, 2.0, -1.0),  # stands at the line
        ([99, 90], 5, 2.0, FAR),  # is in it
    ],
)
def test_whoever_yields_at_a_crossing_rolls_up_or_stops(along, speed, pace, limit):
    case = traffic(crossing_roads(), along, [speed, 5])
    assert crossing_limit(0, 1, 0, pace, *state(case)) == pytest.approx(limit, rel=1e-3)
    case.first[0, 1, 0] = -1
    _, limits = yielding(WHO, case.along, case.speed, np.array([1.0, pace]), case.traits, case.network, case.first)
    assert limits.tolist() == [pytest.approx(limit, rel=1e-3), FAR]


def test_whoever_yields_at_a_merge_follows_as_if_on_one_road():
    for start, easiest in ((104.0, 1.45), (112.0, 2.0)):  # nearer than 25 m from the zone, braking may be harder
        case = traffic(merging_roads(), [start, 90], [8, 8])
        main, slip = case.traits.route
        to_i, to_j = (case.network.zones[main, slip, 0, k] - (case.along[v] + 3.6) for v, k in ((0, 0), (1, 2)))
        assert (to_i > 25) == (easiest == 1.45)
        case.first[0, 1, 0] = -1
        found, limits = yielding(WHO, case.along, case.speed, np.ones(2), case.traits, case.network, case.first)
        gap = to_i - to_j - 4.5
        assert found[0] == pytest.approx(min((2.2 + 1.2 * 8) / max(gap, 1), easiest))
        assert limits.tolist() == [FAR, FAR]


def test_whoever_has_no_room_before_a_merge_stops_there():
    case = traffic(merging_roads(), [130.0, 122.0], [8, 8])
    main, slip = case.traits.route
    case.along[1] = case.network.zones[main, slip, 0, 2] - 3.6 - 10
    close = case.network.zones[main, slip, 0, 0] - (130.0 + 3.6)
    assert 0.5 < close < 10
    case.first[0, 1, 0] = -1
    found, _ = yielding(WHO, case.along, case.speed, np.ones(2), case.traits, case.network, case.first)
    # IDM towards a wall half a metre before the zone.
    wanted = 2.2 + 1.2 * 8 + 8 * 8 / (2 * np.sqrt(1.5 * 2.0))
    assert found[0] == pytest.approx(wanted / (close - 0.5))


def test_whoever_is_within_a_merge_has_nobody_to_let_in():
    case = traffic(merging_roads(), [150.0, 122.0], [8, 8])
    main, slip = case.traits.route
    assert case.network.zones[main, slip, 0, 0] - (150.0 + 3.6) < 0
    case.first[0, 1, 0] = -1
    found, limits = yielding(WHO, case.along, case.speed, np.ones(2), case.traits, case.network, case.first)
    assert found[0] < 1e-4
    assert limits[0] == FAR
