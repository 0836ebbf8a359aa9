"""Traffic for any length of time: drivers of `idm-lane` that flow in where lanes begin and out where lanes end.

Everybody drives as in `harness.traffic.lane_idm`. Newcomers come as a Poisson process at every lane into which no
other lane leads, at a stated inflow; one at a time waits outside until the entrance is clear, and nobody else comes
meanwhile, so that fewer than stated enter where it seldom is. Lights go on as recorded and stay as they are in their
last row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.geometry import boxes_overlap, interpolate_polyline, wrap_angle
from harness.interfaces import HEADING, VX, VY, Newcomer
from harness.traffic.lane_idm import LOOK, LaneRun
from harness.traffic.lane_paths import AT_REST, FREE, LaneIDMConfig, red_stops, speed_limits
from harness.traffic.log_policies import logged_at
from harness.traffic.right_of_way import Movers, circling, waits
from harness.traffic.rollouts import simulated_agents
from scenarios.map_index import MapIndex
from scenarios.scenario import CURRENT_STEP, Kind, Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

HOUR: Final = 3600.0
_SHORTEST: Final = 10.0
"""Nobody enters by a lane that is shorter than this, m: it is a stub of the map."""
_SAME: Final = 1.0
"""Lanes that begin closer together than this have one entrance, m."""
_ASIDE: Final = 2.0
"""Who is this near the centre line of an entrance (m, its own half width apart) is in the way: half a lane."""
_SLOWEST: Final = 1.0
"""Nobody enters more slowly than this, m/s."""
_BLOCKED: Final = 10
"""An entrance that nobody could use is tried again after so many steps."""
_STANDING: Final = 0.3
_CLOSE: Final = 4.0
"""Who is slower (m/s) with less free way (m) waits for whoever is there."""
_CROSSING: Final = np.deg2rad(15)
"""Vehicles whose headings differ by more do not stand in one queue, rad."""
_PRECEDENCE: Final = 40.0
"""How far ahead drivers look for others who are to go first, m."""
_ROUND: Final = 250.0
"""Lanes that lead back to themselves within this are a roundabout, m: 40 m in radius."""
_CLEAR: Final = 12.0
"""Who has been let by counts again from this distance on (centres), m."""


@dataclass(frozen=True)
class LaneFlowConfig(LaneIDMConfig):
    """Drivers as in `idm-lane`, and how they come and go.

    Attributes:
        inflow: Vehicles an hour that want to enter by every lane that begins at the edge of the map.
        reserve: Most newcomers at once.
        patience: Who has stood for so long is taken out of the map, s: some block one another for good. SUMO's
            `time-to-teleport` ends that after 300 s.
    """

    inflow: float = 120.0
    reserve: int = 64
    patience: float = 120.0

    def __post_init__(self) -> None:
        """Reject what cannot drive or enter."""
        super().__post_init__()
        if not (0 <= self.inflow < np.inf and self.reserve >= 1 and self.patience > 0):
            raise ConfigError(f"idm-flow: {self}: expected a finite inflow >= 0, reserve >= 1 and patience > 0.")


class Entrance(NamedTuple):
    """Where vehicles come in: pose [3] of their centre, and the speed limit there, m/s."""

    pose: Floats
    speed: float


class Counts(NamedTuple):
    """What has happened so far in an episode: who entered, who left at lane ends, and who was taken out of a jam."""

    entered: int = 0
    left: int = 0
    jammed: int = 0


class FlowRun(LaneRun):
    """One roll-out whose drivers give way where ways cross or join, and do not block one another for good.

    Drivers brake for whoever is on their path, and wait for whoever is to go first (`harness.traffic.right_of_way`).
    Where that closes a circle of standing vehicles, one of those whose leader points another way drives on as if that
    leader were not there.
    """

    def __init__(self, scenario: Scenario, *args: Any, **kwargs: Any) -> None:
        """Begin; see `LaneRun`."""
        super().__init__(*args, **kwargs)
        self._ignored: dict[int, int] = {}
        self._index = MapIndex.of(scenario)
        self._circling = circling(self._index.successors, self._index.lane_lengths, _ROUND)

    def ahead(self) -> tuple[Floats, Floats, Ints]:
        """The first obstacle on each vehicle's path; see `LaneRun`."""
        poses = self.poses
        for agent, other in list(self._ignored.items()):
            if np.hypot(*(poses[agent, :2] - poses[other, :2])) > _CLEAR or agent not in self.driving:
                del self._ignored[agent]
        gap, speed, first = super().ahead()
        self._give_way(gap[0], speed[0], first[0])
        stuck = (self.speed[0] < _STANDING) & (gap[0] < _CLOSE)
        blocked = {int(agent): int(other) for agent, other in zip(self.driving[stuck], first[0, stuck], strict=True)}
        for circle in _circles(blocked):
            able = [
                agent for agent in circle if abs(wrap_angle(poses[agent, 2] - poses[blocked[agent], 2])) > _CROSSING
            ]
            if able:
                self._ignored[min(able)] = blocked[min(able)]
        return gap, speed, first

    def _give_way(self, gap: Floats, speed: Floats, first: Ints) -> None:
        """Take those who go first for obstacles, in place, [V] each; see `ahead`."""
        look, config = LOOK[LOOK <= _PRECEDENCE], self._config
        velocity = np.hypot(*self._velocity.T)
        others = np.setdiff1d(np.flatnonzero(self._present & (velocity > AT_REST)), self.driving)
        straight = np.repeat(self.poses[others, None], len(look), 1)
        direction = self._velocity[others] / velocity[others, None]
        straight[..., :2] += look[:, None] * direction[:, None]
        rows = np.concatenate([self.driving, others])
        place = self._index.locate(self.poses[rows, :2], self.poses[rows, 2], max_distance=4.0)
        stop = self._red[0] - self._along[0] - self._half[self.driving, 0]
        free = np.minimum(gap, np.where(stop > -1.0, stop, FREE))
        found = waits(
            Movers(
                ways=np.concatenate([self._at(self._along[..., None] + look)[0], straight]),
                half=self._half[rows],
                speed=np.concatenate([self.speed[0], velocity[others]]),
                free=np.concatenate([np.where(self.parked, -FREE, free), np.full(len(others), FREE)]),
                gives=np.arange(len(rows)) < len(self.driving),
                ahead=np.append(self._circling, False)[place.lane],
            ),
            look,
            margin=config.margin,
            hardest=config.hardest,
        )
        for who, other, left, pace in zip(*(part.tolist() for part in found), strict=True):
            heeded = self._ignored.get(int(rows[who]), -1) != rows[other]
            if heeded and left < gap[who]:
                gap[who], speed[who], first[who] = left, pace, rows[other]

    def near(self, agent: int, others: NDArray[np.float32]) -> NDArray[np.intp]:
        """Agents within reach that `agent` heeds; see `LaneRun`."""
        near = super().near(agent, others)
        return near[near != self._ignored.get(int(agent), -1)]


def _circles(follows: dict[int, int]) -> Iterator[list[int]]:
    """Every circle in a map from somebody to somebody."""
    seen: set[int] = set()
    for start in follows:
        way: list[int] = []
        now = start
        while now in follows and now not in seen:
            seen.add(now)
            way.append(now)
            now = follows[now]
        if now in way:
            yield way[way.index(now) :]


class LaneFlowTraffic:
    """`SpawningTraffic`: vehicles enter at lane starts and leave at lane ends; who is there drives along the lanes.

    Who is moved: every vehicle but ego and opponent, from step 10 or its first step after it, and newcomers. Who would
    appear after step 10 where somebody is by then does not. People, cyclists, objects and the opponent follow the log,
    and are gone where it ends. Sizes of newcomers are drawn from those of the vehicles that the scene has at step 10.
    """

    name = "idm-flow"

    def __init__(self, config: LaneFlowConfig | None = None, **options: Any) -> None:
        """Choose the drivers.

        Args:
            config: All of their numbers.
            options: Single fields of `LaneFlowConfig`, instead of those of `config`.

        Raises:
            ConfigError: A number cannot be.
        """
        self.config = replace(config or LaneFlowConfig(), **options)
        self.reserve = self.config.reserve

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Begin an episode.

        Raises:
            ScenarioError: The scene ends before step 10.
        """
        simulated_agents(scenario)
        self._scenario, self._rng = scenario, rng
        agents = scenario.num_agents
        self._first = agents - self.reserve
        self._log = np.stack([scenario.states(agent) for agent in range(agents)])
        boxes = np.array([scenario.box(agent) for agent in range(agents)])
        self._movable = scenario.kinds == Kind.VEHICLE
        # Slots join when they are entered.
        self._movable[self._first :] = False
        cars = np.flatnonzero(self._movable & scenario.valid[:, CURRENT_STEP])
        cars = cars if len(cars) else np.array([scenario.ego])
        heights = np.array([np.median(scenario.size[car, scenario.valid[car], 2]) for car in cars])
        self._sizes = np.column_stack([boxes[cars], np.where(heights > 0.1, heights, 1.5)])
        self._given = np.isin(np.arange(agents), [scenario.ego, -1 if scenario.opponent is None else scenario.opponent])
        self._movable &= ~self._given
        self._gone = np.zeros(agents, bool)
        self._stood = np.zeros(agents)
        pose, velocity = self._log[:, 0, :3], self._log[:, 0, VX:]
        self._run = FlowRun(scenario, self.config, pose, velocity, boxes / 2, 1, rng, scenario.dt)
        self._entrances = _entrances(scenario, self.config)
        self._mean_wait = HOUR / scenario.dt / self.config.inflow if self.config.inflow else np.inf
        # [E] absolute step at which somebody wants to enter next.
        self._due = CURRENT_STEP + self._wait(len(self._entrances))
        self._stops = red_stops(scenario, CURRENT_STEP)
        self._new: list[Newcomer] = []
        self.counts = Counts()

    def step(self, step: int, states: Floats, valid: Bools) -> tuple[Floats, Bools]:
        """Everybody at `step + 1`; see `TrafficPolicy`."""
        self._new = []
        following, present = logged_at(self._log, self._scenario.valid, step + 1)
        if step < CURRENT_STEP:
            return following, present
        run = self._run
        run.observe(states, valid)
        self._go_off(valid)
        run.join(self._scenario, np.setdiff1d(np.flatnonzero(self._movable & valid & ~self._gone), run.driving), step)
        if (again := run.short_of_way).any():
            run.go_on(self._scenario, again, step)
        stops = red_stops(self._scenario, step)
        if not np.array_equal(stops, self._stops):
            self._stops = stops
            run.look_at_lights(stops)
        poses = run.advance(step - CURRENT_STEP)[0]
        self._stood[run.driving] = np.where(
            (run.speed[0] < AT_REST) & ~run.parked, self._stood[run.driving] + self._scenario.dt, 0.0
        )
        present[run.driving] = True
        # Who left the map may be in the log for longer.
        present &= ~self._gone
        self._turn_away(following, present, valid)
        self._let_in(step, present, valid)
        driving, speed = run.driving, run.speed[0]
        following[driving, : HEADING + 1] = poses[driving]
        following[driving, VX] = speed * np.cos(poses[driving, 2])
        following[driving, VY] = speed * np.sin(poses[driving, 2])
        return following, present

    def spawned(self) -> Sequence[Newcomer]:
        """Who has just entered; see `SpawningTraffic`."""
        return self._new

    def _go_off(self, valid: Bools) -> None:
        """Take out of the run who is gone, has come to the end of its way, or has stood for too long."""
        run = self._run
        missing, ended = ~valid[run.driving], run.off_the_map | run.at_the_end
        jammed = self._stood[run.driving] > self.config.patience
        going = missing | ended | jammed
        if not going.any():
            return
        counts = self.counts
        self.counts = counts._replace(
            left=counts.left + int((ended & ~missing).sum()),
            jammed=counts.jammed + int((jammed & ~ended & ~missing).sum()),
        )
        gone = run.driving[going]
        # A slot serves the next one; whom the log knows is gone for good.
        self._gone[gone[gone < self._first]] = True
        self._stood[gone] = 0.0
        run.leave(going)

    def _turn_away(self, following: Floats, present: Bools, valid: Bools) -> None:
        """Leave vehicles out that the log brings where somebody is by now; `present` is brought up to date."""
        run = self._run
        there = np.flatnonzero(present & valid)
        room = np.array([2 * self.config.standstill, 0.0])
        for agent in np.flatnonzero(present & ~valid & self._movable):
            pose, size = following[agent, : HEADING + 1], 2 * run.half[agent] + room
            if boxes_overlap(pose, size, run.poses[there], 2 * run.half[there]).any():
                self._gone[agent], present[agent] = True, False

    def _wait(self, count: int) -> Floats:
        """Steps [count] until somebody wants to enter."""
        return self._rng.standard_exponential(count) * self._mean_wait

    def _let_in(self, step: int, present: Bools, valid: Bools) -> None:
        """Let those enter whose time has come, each into a free slot; `present` is brought up to date."""
        for number in np.flatnonzero(self._due <= step + 1):
            free = np.flatnonzero(~present[self._first :] & ~valid[self._first :])
            there, entrance = present | (valid & self._given), self._entrances[number]
            size = self._sizes[self._rng.integers(len(self._sizes))]
            speed = self._entering_speed(entrance, size, there) if len(free) else 0.0
            if speed < _SLOWEST:
                self._due[number] = step + 1 + _BLOCKED
                continue
            slot = self._first + int(free[0])
            direction = np.array([np.cos(entrance.pose[2]), np.sin(entrance.pose[2])])
            self._run.place(slot, entrance.pose, speed * direction, size[:2] / 2)
            self._run.join(self._scenario, np.array([slot]), step + 1)
            present[slot] = True
            length, width, height = size.tolist()
            self._new.append(Newcomer(slot, Kind.VEHICLE, (length, width, height)))
            self._due[number] = step + 1 + self._wait(1)[0]
        self.counts = self.counts._replace(entered=self.counts.entered + len(self._new))

    def _entering_speed(self, entrance: Entrance, size: Floats, there: Bools) -> float:
        """Speed at which a vehicle of `size` enters among those who are `there`, m/s; low where it is not clear.

        It is not where somebody comes from behind who would have less than its time gap.
        """
        run, config, others = self._run, self.config, np.flatnonzero(there)
        offset = run.poses[others, :2] - entrance.pose[:2]
        cos, sin = np.cos(entrance.pose[2]), np.sin(entrance.pose[2])
        along, across = offset @ (cos, sin), np.abs(offset @ (-sin, cos))
        reach = np.hypot(*run.half[others].T)
        near = across < _ASIDE + run.half[others, 1]
        ahead = near & (along > -reach - size[0] / 2)
        pace = run.velocity_of(others) @ (cos, sin)
        if (near & ~ahead & (-along - reach - size[0] / 2 < config.standstill + config.gap * pace) & (pace > 0)).any():
            return 0.0
        gap = float((along - reach)[ahead].min(initial=np.inf)) - float(size[0]) / 2
        return min(entrance.speed, (gap - config.standstill) / config.gap)


def _entrances(scenario: Scenario, config: LaneIDMConfig) -> list[Entrance]:
    """Beginnings of the lanes into which no other lane leads, one for lanes that begin at the same place."""
    index = MapIndex.of(scenario)
    limits = speed_limits(scenario, index, config.speed)
    found: list[Entrance] = []
    places = np.zeros((len(index.lane_lines), 2))
    for lane, line in enumerate(index.lane_lines):
        if index.predecessors[lane] or index.lane_lengths[lane] < _SHORTEST:
            continue
        place, heading = interpolate_polyline(line, np.array([0.0]))
        if (np.hypot(*(places[: len(found)] - place).T) < _SAME).any():
            continue
        places[len(found)] = place[0]
        found.append(Entrance(np.array([*place[0], heading[0]]), float(limits[lane])))
    return found
