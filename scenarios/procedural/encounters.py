"""Who is in whose way on a network of routes, compiled: car following, merges and the right of way at crossings.

Every sum is rounded as it is written, so that scenes are the same on every machine. Drivers' numbers come as rows of
one array, see `Traits`; pairs of vehicles are looked at one by one, as most of them have nothing to do with each other.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.kernels import Bools, Floats, Ints, Numbers, exact
from scenarios.idm import desired_gap
from scenarios.procedural.routes import CROSS, SPACING

Flags = NDArray[np.int8]

STANDSTILL: Final = 2.2
"""Gap that IDM keeps at standstill, m."""
LOOK_AHEAD: Final = 70.0
"""Conflicts are settled at most this far ahead of a zone, m."""
HYSTERESIS: Final = 1.0
"""An agreed order of passing changes only for an advantage of this much, s."""
REACTION: Final = 1.2
"""Time constant with which the speed is adapted to a gap in crossing traffic, s."""
SLOWEST_ROLL: Final = 1.2
"""Who would have to roll slower than this to let another pass stops instead, m/s."""
FAR: Final = 1e6
"""Gap to nobody, m."""
SHARES: Final = (-0.2, 0.3, 0.8)
"""Rear, middle and front of a body, as shares of its length before the arc length: that is where the rear axle is."""

_gap = exact(desired_gap)


class Traits(NamedTuple):
    """What the kernels know of V vehicles. All [V].

    Attributes:
        route: Number of the route.
        length: Length of the box, m.
        width: Width of the box, m.
        headway: Desired time gap, s.
        accel: IDM's maximal acceleration, m/s².
        brake: IDM's comfortable deceleration, m/s².
        margin: Time between another's leaving a crossing and the own entering it, s.
    """

    route: Ints
    length: Floats
    width: Floats
    headway: Floats
    accel: Floats
    brake: Floats
    margin: Floats


class Network(NamedTuple):
    """What the kernels know of R routes of at most N points; see `scenarios.procedural.routes.Routes`."""

    length: Floats
    along: Floats
    lateral: Floats
    facing: Floats
    penalty: Floats
    zones: Floats
    zone_kind: Flags


@exact
def seen(i: int, j: int, along: Floats, speed: Floats, traits: Traits, network: Network) -> Numbers:
    """Free gap ahead of i up to j (m), j's speed along i's route (m/s), and whether j is in i's way (1 or 0)."""
    a, b = traits.route[i], traits.route[j]
    length, width = traits.length[j], (traits.width[i] + traits.width[j]) / 2
    gap, facing, near = FAR, 0.0, 0.0
    for share in SHARES:
        at = min(max(along[j] + share * length, 0.0), network.length[b])
        index = int(at / SPACING)
        if not (network.along[a, b, index] >= 0 and network.lateral[a, b, index] < width + 0.25):
            continue
        cosine = network.facing[a, b, index]
        foot = network.along[a, b, index] + (at - index * SPACING) * cosine
        ahead = foot - (along[i] + 0.8 * traits.length[i])
        # Crossing vehicles stick out sideways by half their width.
        if abs(cosine) < 0.8:
            ahead -= traits.width[j] / 2
        if cosine > 0.7:
            # Of two vehicles side by side on one course, the one whose middle is ahead leads.
            here = foot - share * length + 0.3 * (length - traits.length[i]) > along[i]
        else:
            # Crossing traffic is a matter of right of way, unless it stands in the way.
            here = ahead > -2.0 and (speed[j] < 1.0 or ahead < 3.0)
        if here:
            near = 1.0
            if ahead < gap:
                gap, facing = ahead, cosine
    return gap, max(facing, 0.0) * speed[j], near


@exact
def seen_from(
    who: Ints, others: Ints, along: Floats, speed: Floats, traits: Traits, network: Network
) -> tuple[Floats, Floats, Bools]:
    """What `seen` says for vehicles `who` [I] and `others` [J]: three arrays [I, J]."""
    shape = (len(who), len(others))
    gap, other, near = np.empty(shape), np.empty(shape), np.empty(shape, dtype=np.bool_)
    for row in range(len(who)):
        for column in range(len(others)):
            found = seen(who[row], others[column], along, speed, traits, network)
            gap[row, column], other[row, column], near[row, column] = found[0], found[1], found[2] > 0
    return gap, other, near


@exact
def ratio(i: int, gap: float, other: float, speed: Floats, traits: Traits) -> float:
    """IDM's desired gap of vehicle i over the actual gap, with a leader at speed `other` (m/s)."""
    wanted = _gap(speed[i], other, traits.headway[i], STANDSTILL, traits.accel[i], traits.brake[i])
    return wanted / max(gap, 0.3)


@exact
def followed(who: Ints, along: Floats, speed: Floats, traits: Traits, network: Network) -> Floats:
    """Largest of the IDM ratios of each vehicle [W] towards those that are ahead on its route."""
    most = np.empty(len(who))
    for row in range(len(who)):
        i, found = who[row], 0.0
        for j in who:
            gap, other, near = seen(i, j, along, speed, traits, network)
            found = max(found, ratio(i, gap if near > 0 and i != j else FAR, other, speed, traits))
        most[row] = found
    return most


@exact
def approach(i: int, j: int, k: int, along: Floats, traits: Traits, network: Network) -> tuple[float, float]:
    """Way of the front bumpers of i and j to the start of zone k of their routes, m; negative within it."""
    a, b = traits.route[i], traits.route[j]
    return (
        network.zones[a, b, k, 0] - (along[i] + 0.8 * traits.length[i]),
        network.zones[a, b, k, 2] - (along[j] + 0.8 * traits.length[j]),
    )


@exact
def is_open(i: int, j: int, k: int, along: Floats, traits: Traits, network: Network) -> bool:
    """Whether neither of two vehicles has left zone k of their routes, and both are near it."""
    a, b = traits.route[i], traits.route[j]
    if i == j or network.zone_kind[a, b, k] <= 0:
        return False
    out_i = network.zones[a, b, k, 1] - (along[i] - 0.2 * traits.length[i])
    out_j = network.zones[a, b, k, 3] - (along[j] - 0.2 * traits.length[j])
    to_i, to_j = approach(i, j, k, along, traits, network)
    return out_i > 0 and out_j > 0 and max(to_i, to_j) < LOOK_AHEAD


@exact
def lateness(
    i: int, j: int, k: int, way: float, pace: float, stopped: Floats, traits: Traits, network: Network
) -> float:
    """When i reaches zone k of its route and j's, with what it has to give away by precedence, s."""
    a, b = traits.route[i], traits.route[j]
    inside = min(max((network.zones[a, b, k, 0] + 3.0) / SPACING, 0.0), float(network.penalty.shape[1] - 1))
    return max(way, 0.0) / pace + network.penalty[a, int(inside)] - min(stopped[i], 8.0) * 0.5


@exact
def settle(
    who: Ints,
    along: Floats,
    speed: Floats,
    pace: Floats,
    stopped: Floats,
    traits: Traits,
    network: Network,
    first: Flags,
) -> None:
    """Agree who goes first at every open conflict: the one inside, else the earlier one, by precedence.

    Args:
        who: [W] vehicles that are there.
        along: [V] m along the route.
        speed: [V] m/s.
        pace: [W] speed that each is expected to drive, m/s.
        stopped: [V] how long each has stood, s.
        traits: The vehicles.
        network: The routes.
        first: [V, V, Z] i passes zone k of its route pair before j (+1), after it (-1), or unsettled (0); written.
    """
    for row in range(len(who)):
        i = who[row]
        for column in range(len(who)):
            j = who[column]
            for k in range(network.zones.shape[2]):
                held = first[i, j, k]
                if not is_open(i, j, k, along, traits, network):
                    first[i, j, k] = 0
                    continue
                to_i, to_j = approach(i, j, k, along, traits, network)
                # Waiting earns precedence; ties are broken the same way on both sides.
                own = lateness(i, j, k, to_i, pace[row], stopped, traits, network)
                advantage = lateness(j, i, k, to_j, pace[column], stopped, traits, network) - own
                advantage += 1e-6 * (1 if j > i else -1)
                fresh = 1 if advantage > 0 else -1
                ahead = to_i < speed[i] * speed[i] / 5.0 if held > 0 else to_j < speed[j] * speed[j] / 5.0
                if held == 0 or (fresh != held and abs(advantage) > HYSTERESIS and not ahead):
                    held = fresh
                if to_i <= 0 and to_j > 0:
                    held = 1
                elif to_j <= 0 and to_i > 0:
                    held = -1
                first[i, j, k] = held


@exact
def crossing_limit(
    i: int, j: int, k: int, pace: float, along: Floats, speed: Floats, traits: Traits, network: Network
) -> float:
    """Largest acceleration with which i reaches crossing k after j, which goes first, m/s²; `FAR` if any will do.

    Args:
        i, j: The vehicles.
        k: The zone.
        pace: Speed that j is expected to drive, m/s.
        along: [V] m along the route.
        speed: [V] m/s.
        traits: The vehicles.
        network: The routes.
    """
    to_i, _ = approach(i, j, k, along, traits, network)
    out_j = network.zones[traits.route[i], traits.route[j], k, 3] - (along[j] - 0.2 * traits.length[j])
    # When will the other be gone? Between its speed and the one it wishes for.
    clear = max(out_j, 0.0) / max(pace, 2.0) + traits.margin[i]
    if not (to_i > -0.5 and to_i / max(speed[i], 0.1) < clear):
        return FAR
    distance, brake = max(to_i - 1.0, 0.1), traits.brake[i]
    if speed[i] < 0.3 and distance < 1.5:
        return -1.0
    steady = distance / clear
    if steady > SLOWEST_ROLL:
        # Rolling up at the speed that just lets the other pass is what drivers do; stopping costs them more.
        return max((steady - speed[i]) / REACTION, -1.3 * brake)
    stopping = -(speed[i] * speed[i]) / (2 * max(distance - 0.5, 0.3))
    # A stop further away than comfortable braking needs is not begun yet.
    return traits.accel[i] * 0.3 if stopping > -0.6 * brake else stopping


@exact
def yielding(
    who: Ints, along: Floats, speed: Floats, pace: Floats, traits: Traits, network: Network, first: Flags
) -> tuple[Floats, Floats]:
    """What the right of way asks for: IDM ratios from merging [W] and largest accelerations [W], m/s².

    Args:
        who: [W] vehicles that are there.
        along: [V] m along the route.
        speed: [V] m/s.
        pace: [W] speed that each is expected to drive, m/s.
        traits: The vehicles.
        network: The routes.
        first: [V, V, Z] the order of passing; see `settle`.
    """
    most, limit = np.empty(len(who)), np.full(len(who), FAR)
    for row in range(len(who)):
        i, found = who[row], 0.0
        for column in range(len(who)):
            j = who[column]
            a, b = traits.route[i], traits.route[j]
            gap, close = FAR, FAR
            for k in range(network.zones.shape[2]):
                if first[i, j, k] >= 0:
                    continue
                if network.zone_kind[a, b, k] == CROSS:
                    limit[row] = min(limit[row], crossing_limit(i, j, k, pace[column], along, speed, traits, network))
                    continue
                to_i, to_j = approach(i, j, k, along, traits, network)
                if to_i > 0:
                    # At a merge the one that goes first counts as if it were ahead on the own route.
                    gap, close = min(gap, to_i - to_j - traits.length[j]), min(close, to_i)
            if gap < FAR:
                # Far from the merge there is time: brake gently to open the gap.
                easy = 1.45 if close > 25.0 else 2.0
                found = max(found, min(ratio(i, max(gap, 1.0), speed[j], speed, traits), easy))
            stop = gap < 1.0 and close < speed[i] * speed[i] / 5.0 + 3.0
            found = max(found, ratio(i, max(close - 0.5, 0.3) if stop else FAR, 0.0, speed, traits))
        most[row] = found
    return most, limit
