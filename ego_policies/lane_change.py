"""Lane changes and overtaking for drivers that follow a route: when to leave it for a neighbour lane, when to return.

Decisions follow MOBIL (Kesting, Treiber, Helbing, Transportation Research Record 1999 (2007) 86): a change must be
safe for the new follower, and must gain the ego more than it costs the follower, weighted by politeness, plus a
threshold. SAGE's appendix B.1 only says "rule-based lane change and overtake maneuvers"; MetaDrive's own `IDMPolicy`
asks for 10 km/h to be gained and 15 m of room, on maps whose lanes know their neighbours by index. Recorded maps are
checked here by geometry: a neighbour lane must run beside the route all the way past the obstacle, and no solid or
yellow line and no road edge may lie between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ego_policies.following import Corridor, IDMConfig, Leader, idm_acceleration, look_along
from harness.geometry import arc_lengths, interpolate_polyline, project_to_polyline, wrap_angle
from harness.interfaces import HEADING, VX, VY, EgoView, Floats
from scenarios.map_index import MapIndex
from scenarios.scenario import MapFeature, Scenario

Bools = NDArray[np.bool_]

LANE_WIDTH: Final = 3.5
"""Where a neighbour lane's centre is looked for beside the route, m; what is found there is then taken exactly."""
_STATION: Final = 4.0
"""Distance between the places where the neighbour lane is checked, m."""
_SMOOTHING: Final = 3.0
"""The route's direction is taken over ± this many metres: a logged path is noisy."""


@dataclass(frozen=True, slots=True)
class LaneChangeConfig:
    """Constants of the decision."""

    politeness: float = 0.2
    """Weight of what the new follower loses (MOBIL: 0.2 to 0.5)."""
    threshold: float = 0.5
    """What a change must gain, m/s² (MOBIL: 0.1, for drivers with motorway patience)."""
    return_loss: float = 0.3
    """What the ego accepts to lose for being back on its route, m/s² (MOBIL's bias towards one side)."""
    safe_braking: float = 3.0
    """The ego must not have to brake harder than this after a change, m/s² (MOBIL: 4)."""
    follower_braking: float = 1.5
    """The new follower must not have to brake harder, m/s² (MOBIL: 4; recorded traffic does not brake at all)."""
    look_back: float = 150.0
    """New followers are looked for this far behind, m (one at 20 m/s is here in 7.5 s)."""
    min_gap: float = 3.0
    """Room to the new follower and leader, m, however slow everybody is."""
    speed_gain: float = 10.0 / 3.6
    """The ego overtakes who drives this much slower than desired, and than the next one in the other lane, m/s
    (MetaDrive: 10 km/h)."""
    min_speed: float = 5.0
    """Slower egos stay where they are, m/s: pulling out of a crawl takes longer than anybody looks back (ours)."""
    durations: tuple[float, ...] = (3.0, 2.2)
    """Seconds for moving over, tried in turn."""
    min_length: float = 12.0
    """Shortest way for moving over, m."""
    period: float = 0.5
    """Time between decisions, s."""
    rest: float = 2.0
    """Time after a change without another one, s (MetaDrive: 5)."""
    queue_speed: float = 3.0
    """Where the ego's own log drove slower than this, cars wait rather than block: nobody is overtaken there, m/s."""
    max_turn: float = np.deg2rad(25.0)
    """Somebody whose heading is within this of the route's goes the ego's way, rad."""
    max_shift: float = 1.0
    """A neighbour lane's distance from the route varies by no more than this, m."""


class LaneChanger:
    """The path to drive, in one episode: the route, or the route shifted into a neighbour lane."""

    def __init__(self, config: LaneChangeConfig, following: IDMConfig) -> None:
        """Set the constants."""
        self.config, self._following = config, following
        self._scenario: Scenario | None = None

    def begin(self, scenario: Scenario) -> None:
        """Begin an episode on the route."""
        self._scenario = scenario
        self._barriers: Floats | None = None
        self._offset = 0.0
        self._path: Floats | None = None
        self._busy_until = 0.0
        self._next_step = 0

    @property
    def offset(self) -> float:
        """How far left of the route the ego drives or is going to drive, m."""
        return self._offset

    def path(self, view: EgoView, route: Floats, along: float, desired: float) -> Floats:
        """The path [N, 2] to drive from now on.

        Args:
            view: The present.
            route: [N, 2] from `prepare_route`, m.
            along: Where the ego is on it, m.
            desired: Speed that the ego would like to drive, m/s.
        """
        if self._scenario is not None and view.step >= self._next_step and along >= self._busy_until:
            self._next_step = view.step + max(round(self.config.period / view.dt), 1)
            self._decide(self._scenario, view, route, along, desired)
        return route if self._path is None else self._path

    def _decide(self, scenario: Scenario, view: EgoView, route: Floats, along: float, desired: float) -> None:
        config, speed = self.config, float(np.hypot(view.ego[VX], view.ego[VY]))
        current = route if self._path is None else self._path
        here = look_along(view, current, self._following)
        leader = here.leader(view.ego_size[0], self._following.view_distance)
        now = idm_acceleration(speed, desired, leader, self._following)
        if self._offset:
            self._try(view, route, along, desired, 0.0, now - config.return_loss)
            return
        if (
            leader is None
            or speed < config.min_speed
            or not self._worth_overtaking(scenario, view, route, along, desired, leader)
        ):
            return
        reach = leader.gap + 2 * view.ego_size[0] + config.durations[0] * speed
        for side in (1.0, -1.0):
            offset = self._neighbour(scenario, route, along, reach, side)
            if offset is None:
                continue
            if self._try(view, route, along, desired, offset, now + config.threshold, leader.speed + config.speed_gain):
                return

    def _worth_overtaking(
        self, scenario: Scenario, view: EgoView, route: Floats, along: float, desired: float, leader: Leader
    ) -> bool:
        """Whether the leader is a slow vehicle going the ego's way, at a place where the log did not wait."""
        if leader.speed > desired - self.config.speed_gain or view.agent_sizes[leader.agent, 0] < 3.0:
            return False
        _, heading = interpolate_polyline(route, np.array(along + leader.gap + view.ego_size[0] / 2))
        if abs(wrap_angle(view.agents[leader.agent, HEADING] - heading)) > self.config.max_turn:
            return False
        valid = scenario.valid[scenario.ego]
        slow = np.hypot(*scenario.velocity[scenario.ego, valid].T) < self.config.queue_speed
        waits, _, _ = project_to_polyline(scenario.position[scenario.ego, valid, :2][slow], route)
        beyond = along + leader.gap + view.ego_size[0] + view.agent_sizes[leader.agent, 0] + 15.0
        return not bool(((waits > along) & (waits < beyond)).any())

    def _try(
        self,
        view: EgoView,
        route: Floats,
        along: float,
        desired: float,
        offset: float,
        wanted: float,
        least_speed: float = 0.0,
    ) -> bool:
        """Change to `offset` (m left of the route) if that is safe and gives more than `wanted` (m/s²).

        The lane's leader, if there is one in view, must drive at `least_speed` (m/s): the gain alone is short-sighted.
        """
        config, speed = self.config, float(np.hypot(view.ego[VX], view.ego[VY]))
        lane = prolonged_back(shifted(route, offset, offset, 0.0, 0.0), config.look_back)
        settled = look_along(view, lane, self._following, config.look_back)
        cost = self._cost_to_follower(view, settled, speed)
        leader = settled.leader(view.ego_size[0], self._following.view_distance)
        if cost is None or (leader is not None and (leader.gap < config.min_gap or leader.speed < least_speed)):
            return False
        for duration in config.durations:
            length = max(config.min_length, duration * speed)
            path = shifted(route, self._offset, offset, along, length)
            ahead = look_along(view, path, self._following).leader(view.ego_size[0], self._following.view_distance)
            gain = idm_acceleration(speed, desired, ahead, self._following)
            if gain >= -config.safe_braking and gain - config.politeness * cost > wanted:
                self._offset, self._path = offset, path
                self._busy_until = along + length
                self._next_step = view.step + round(config.rest / view.dt)
                return True
        return False

    def _cost_to_follower(self, view: EgoView, lane: Corridor, speed: float) -> float | None:
        """What the new follower loses (m/s², ≥ 0), or None if it would be cut off."""
        follower = lane.follower(view.ego_size[0], self.config.look_back)
        if follower is None:
            return 0.0
        if follower.gap < self.config.min_gap:
            return None
        after = idm_acceleration(
            follower.speed, max(follower.speed, speed), Leader(follower.gap, speed), self._following
        )
        return None if after < -self.config.follower_braking else max(-after, 0.0)

    def _neighbour(self, scenario: Scenario, route: Floats, along: float, reach: float, side: float) -> float | None:
        """Offset (m) of the lane on one side (1 left, -1 right) if it runs beside the route for `reach` m, or None.

        `locate` prefers lanes that lead the same way, so an oncoming lane is none.
        """
        roads, config = MapIndex.of(scenario), self.config
        stations = np.arange(along, along + reach + _STATION, _STATION)
        points, heading = _smooth(route, stations)
        normal = np.stack([-np.sin(heading), np.cos(heading)], -1)
        own = roads.locate(points, heading, max_distance=LANE_WIDTH)
        beside = roads.locate(points + side * LANE_WIDTH * normal, heading, max_distance=LANE_WIDTH / 2)
        offsets = side * LANE_WIDTH - beside.offset
        if not ((beside.lane >= 0) & (beside.lane != own.lane)).all():
            return None
        offset = float(np.median(offsets))
        if np.abs(offsets - offset).max() > config.max_shift or abs(offset) < LANE_WIDTH / 2:
            return None
        return None if self._barred(scenario, points, points + offset * normal) else offset

    def _barred(self, scenario: Scenario, starts: Floats, ends: Floats) -> bool:
        """Whether a barrier lies between the route and the other lane anywhere."""
        if self._barriers is None:
            lines = [f.points[:, :2] for f in scenario.features if is_barrier(f)]
            pieces = [np.stack([line[:-1], line[1:]], 1) for line in lines if len(line) > 1]
            self._barriers = np.concatenate(pieces).astype(np.float64) if pieces else np.zeros((0, 2, 2))
        return bool(segments_cross(starts[:, None], ends[:, None], self._barriers[:, 0], self._barriers[:, 1]).any())


def is_barrier(feature: MapFeature) -> bool:
    """Whether nobody may drive across: edges, solid lines, and any yellow line (oncoming traffic, turning lanes)."""
    line = feature.type.startswith("ROAD_LINE")
    return feature.is_road_edge or (line and ("YELLOW" in feature.type or "BROKEN" not in feature.type))


def _smooth(route: Floats, along: Floats) -> tuple[Floats, Floats]:
    """Points [N, 2] and headings [N] of the route, the headings over a few metres."""
    behind, ahead = (
        interpolate_polyline(route, along - _SMOOTHING)[0],
        interpolate_polyline(route, along + _SMOOTHING)[0],
    )
    chord = ahead - behind
    return interpolate_polyline(route, along)[0], np.arctan2(chord[:, 1], chord[:, 0])


def shifted(route: Floats, before: float, after: float, start: float, length: float) -> Floats:
    """The route [N, 2], moved sideways: `before` m to the left up to arc length `start`, `after` m beyond `length` m.

    In between the offset follows 3u² - 2u³: no jump in direction at either end.
    """
    along = np.arange(0.0, arc_lengths(route)[-1] + 1.0, 1.0)
    points, heading = _smooth(route, along)
    share = np.clip((along - start) / max(length, 1e-6), 0.0, 1.0)
    offset = before + (after - before) * share**2 * (3.0 - 2.0 * share)
    return points + offset[:, None] * np.stack([-np.sin(heading), np.cos(heading)], -1)


def prolonged_back(line: Floats, length: float) -> Floats:
    """A line [N, 2] continued straight on for `length` m behind its start: there followers are at the beginning."""
    back = line[0] - line[1]
    return np.concatenate([[line[0] + length * back / max(np.hypot(*back), 1e-6)], line])


def segments_cross(a: Floats, b: Floats, c: Floats, d: Floats) -> Bools:
    """Whether segments a-b and c-d [..., 2] cross each other; broadcasts. Merely touching ones do not count."""

    def side(start: Floats, end: Floats, point: Floats) -> Floats:
        along, across = end - start, point - start
        return np.sign(along[..., 0] * across[..., 1] - along[..., 1] * across[..., 0])

    return (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)
