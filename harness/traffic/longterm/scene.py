"""A scene that long roll-outs are judged in: who watches, whose motion counts, and what of it is counted by windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from harness.errors import ScenarioError
from harness.geometry import arc_lengths, interpolate_polyline
from harness.interfaces import HEADING, Newcomer, TrafficPolicy
from harness.metrics.longterm.distributions import Counts
from harness.metrics.longterm.features import TrafficTrack, traffic_features, window_counts
from harness.metrics.longterm.flow import DECISION, FlowEvents, flow_counts, flow_events
from harness.metrics.longterm.retrieval import WindowLatents
from harness.metrics.longterm.trajectories import traffic_paths
from harness.metrics.longterm.windows import WINDOW, Starts, window_starts, windows_with_map
from harness.metrics.wosac.logged import JITTER, STEP
from harness.metrics.wosac.road_edges import RoadEdges
from harness.traffic.heights import follow_ground
from harness.traffic.observers import Observer, WatchedTraffic
from harness.traffic.reactivity import play
from harness.traffic.rollouts import SimulatedScene, simulated_agents, with_absent_ego
from harness.traffic.scene_vae.model import SceneVae
from harness.traffic.scene_vae.moments import LaneTable, MovingTraffic
from harness.traffic.slots import Slots, as_played, reserve_of
from harness.traffic.tokens.population import border_distances, ego_states
from harness.traffic.tokens.tracks import clean_tracks
from scenarios.map_index import has_road_edges
from scenarios.scenario import CURRENT_STEP, Kind, Scenario, name_seed

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_APART: Final = 5.0
"""Points by which a map is seen are at most this far apart, m: maps draw a straight road by its two ends."""
BEYOND: Final = 1.0
"""How much farther than the outermost recorded places a fixed observer sees, m: who is seen there first is inside."""


class WindowRecord(NamedTuple):
    """What is kept of a log or a roll-out. W windows.

    Attributes:
        counts: Features of behaviour, [W, bins] each.
        flow: The traffic flow, [W, bins] each.
        events: The same by half seconds, from step 10 on: what was there before is given to every model.
        paths: Everybody's way in each window, seen from the last step before it, for retrieval.
        latents: What a scene autoencoder makes of each window, for retrieval by it; None without one.
    """

    counts: dict[str, Counts]
    flow: dict[str, Counts]
    events: FlowEvents
    paths: list[Floats]
    latents: WindowLatents | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LongScene:
    """A scene with an observer. A agents, T steps, W windows; arrays are in the world frame.

    Attributes:
        scenario: The scene, cut to the horizon.
        observer: [T, 3] where the observer is and looks.
        area: [P, 2] what a fixed observer sees, m; None for the ego.
        fixed: Whether the observer is fixed, and the ego one among others.
        starts: [W] first steps of the windows: the last known one of each, as roll-outs begin at step 10.
        judged: [W] which windows have a map.
        sizes: [A, 3] m.
        edges: Road edges about the origin; None where the map has none.
        origin: [2] world, m.
        vae: Encodes windows for retrieval; None for none.
        lanes: The lanes that it sees; None without it.
    """

    scenario: Scenario
    observer: Floats
    area: Floats | None
    fixed: bool
    starts: Starts
    judged: Bools
    sizes: Floats
    edges: RoadEdges | None
    origin: Floats
    vae: SceneVae | None = None
    lanes: LaneTable | None = None

    @classmethod
    def of(cls, scenario: Scenario, horizon: int, observer: Observer, vae: SceneVae | None = None) -> LongScene:
        """Look at the first `horizon` steps of a scene.

        Args:
            scenario: The scene.
            horizon: Steps.
            observer: Around whom.
            vae: Encodes windows, where they are to be retrieved by latents.

        Raises:
            ScenarioError: It has another time step than 0.1 s, is too short for one window, nobody is there at step 10,
                or it has no map anywhere.
        """
        where = scenario.source or scenario.id
        if abs(scenario.dt - STEP) > JITTER:
            raise ScenarioError(f"{where}: steps of {scenario.dt} s; the realism of traffic is defined at {STEP} s.")
        scenario = _cut(scenario, horizon)
        if scenario.num_steps <= CURRENT_STEP + WINDOW:
            raise ScenarioError(f"{where}: {scenario.num_steps} steps; one window needs {CURRENT_STEP + WINDOW + 1}.")
        if len(simulated_agents(scenario)) == 0:
            raise ScenarioError(f"{where}: nobody is there at step {CURRENT_STEP}.")
        places = scenario.position[scenario.valid][:, :2]
        fixed = observer == "middle"
        path, area = ego_states(scenario)[:, :3], None
        if fixed:
            middle = (places.min(0) + places.max(0)) / 2
            path = np.broadcast_to([*middle, 0.0], path.shape)
            area = shapely.get_coordinates(shapely.convex_hull(shapely.multipoints(places)).buffer(BEYOND))
        # A window's features are those of the 80 steps after its start, its flow that of the half seconds between.
        starts = window_starts(scenario.num_steps - 1, CURRENT_STEP)
        judged = windows_with_map(path, _map_points(scenario), starts + 1, WINDOW)
        if not judged.any():
            raise ScenarioError(f"{where}: no map around the observer at any time.")
        agents = range(scenario.num_agents)
        first = np.where(scenario.valid.any(1), scenario.valid.argmax(1), 0)
        heights = scenario.size[np.arange(len(first)), first, 2]
        origin = path[0, :2].copy()
        return cls(
            scenario=scenario,
            observer=np.asarray(path),
            area=area,
            fixed=fixed,
            starts=starts,
            judged=judged,
            sizes=np.column_stack([[scenario.box(agent) for agent in agents], heights]),
            edges=_edges(scenario, origin),
            origin=origin,
            vae=vae,
            lanes=None if vae is None else LaneTable(scenario, vae.config),
        )

    def log(self) -> WindowRecord:
        """The recording: gaps filled, tracks begun at half seconds, as for tokens."""
        scenario = self.scenario
        tracks = clean_tracks(scenario, np.arange(scenario.num_agents))
        heights = _held(scenario.position[..., 2], scenario.valid)
        poses = np.stack([tracks.poses[..., 0], tracks.poses[..., 1], heights, tracks.poses[..., 2]], -1)
        return self.record(poses, tracks.valid)

    def roll_out(self, policy: TrafficPolicy, seed: int, number: int = 0) -> WindowRecord:
        """What a policy makes of the scene from step 10 on; nobody enters but whom it lets in itself.

        What is drawn follows from the seed, the number and the scene's name, because intervals over scenes take what
        happens in them for independent.

        Args:
            policy: Who moves everybody but an ego that watches.
            seed: Seed of an evaluation.
            number: Which roll-out of this scene it is.
        """
        scenario = _closed(self.scenario, None if self.fixed else self.scenario.ego)
        ego = None if self.fixed else self._ego()
        played = with_absent_ego(scenario) if self.fixed else scenario
        if isinstance(policy, WatchedTraffic):
            policy.watch(self.observer[0] if self.fixed else None, self.area)
        reserve = reserve_of(policy)
        slots = Slots(played.with_reserve(reserve), reserve)
        chance = (seed, number, name_seed(scenario.id))
        states, valid = play(played, policy, ego, chance, comings=slots)
        valid, states, newcomers = slots.apart(valid, states)
        agents = scenario.num_agents
        # The observer that is never there has no row.
        rows = np.append(np.arange(agents), np.arange(played.num_agents, len(valid)))
        states, valid = states[rows], valid[rows]
        flat = np.where(valid[..., None], states[..., : HEADING + 1], 0.0)
        recorded, moved = _held(scenario.position[..., 2], scenario.valid), simulated_agents(scenario)
        heights = np.full(valid.shape, recorded[scenario.ego, CURRENT_STEP])
        heights[:agents] = recorded
        heights[moved] = follow_ground(scenario, moved, flat[None, moved])[0]
        poses = np.stack([flat[..., 0], flat[..., 1], heights, flat[..., 2]], -1)
        return self.record(poses, valid, newcomers)

    def short_term(self, simulated: SimulatedScene, rollout: int) -> WindowRecord:
        """What a short-term roll-out of everybody makes of the scene; around the ego, it is the simulated one.

        Args:
            simulated: Roll-outs of the whole scene in which everybody stays (`SceneSimulator`).
            rollout: Which of them.
        """
        scenario, now = self.scenario, CURRENT_STEP + 1
        known = clean_tracks(scenario, np.arange(scenario.num_agents), until=CURRENT_STEP)
        poses, valid = np.zeros((*scenario.valid.shape, 4)), np.zeros_like(scenario.valid)
        poses[:, :now, [0, 1, 3]], valid[:, :now] = known.poses, known.valid
        poses[:, :now, 2] = _held(scenario.position[..., 2], scenario.valid)[:, :now]
        poses[simulated.agents, now:] = simulated.states[rollout, :, : scenario.num_steps - now]
        valid[simulated.agents, now:] = True
        observer = self.observer.copy()
        if not self.fixed and scenario.ego in simulated.agents:
            observer[now:] = poses[scenario.ego, now:][:, [0, 1, 3]]
        return replace(self, observer=observer).record(poses, valid)

    def _ego(self) -> Floats:
        """States [T, STATE] of the ego as recorded, gaps filled; NaN before it comes and after it has gone."""
        valid = self.scenario.valid[self.scenario.ego]
        there = np.logical_or.accumulate(valid) & np.logical_or.accumulate(valid[::-1])[::-1]
        return np.where(there[:, None], ego_states(self.scenario), np.nan)

    def record(self, poses: Floats, valid: Bools, newcomers: Sequence[Newcomer] = ()) -> WindowRecord:
        """Count by windows what everybody does.

        Args:
            poses: [A, T, 4] x, y, z (m), heading (rad).
            valid: [A, T].
            newcomers: Who entered: the last of the A agents, as high as the ego was.
        """
        kinds = as_played(self.scenario, newcomers).kinds
        sizes = np.concatenate([self.sizes, np.array([who.size for who in newcomers]).reshape(-1, 3)])
        there = valid & (border_distances(poses[..., :2], valid, self.observer, self.area) > 0)
        there &= (kinds <= Kind.CYCLIST)[:, None]
        if not self.fixed:
            there[self.scenario.ego] = False
        distance = np.hypot(*np.moveaxis(poses[..., :2] - self.observer[:, :2], -1, 0))
        events = flow_events(distance, there, radius=np.inf)
        local = poses - np.array([*self.origin, 0.0, 0.0])
        track = TrafficTrack(local, valid, sizes, kinds == Kind.VEHICLE, there, self.edges)
        return WindowRecord(
            counts=window_counts(traffic_features(track), there, self.starts + 1),
            flow=flow_counts(events, self.starts),
            events=events.since(CURRENT_STEP // DECISION),
            paths=traffic_paths(poses, there, self.observer, self.starts, WINDOW),
            latents=self._latents(MovingTraffic(poses[..., [0, 1, 3]], self._seen(there, valid), sizes[:, :2], kinds)),
        )

    def _seen(self, there: Bools, valid: Bools) -> Bools:
        """Whom the autoencoder sees at each step [A, T]: whose motion counts, and the ego that watches."""
        seen = there.copy()
        if not self.fixed:
            seen[self.scenario.ego] = valid[self.scenario.ego]
        return seen

    def _latents(self, traffic: MovingTraffic) -> WindowLatents | None:
        if self.vae is None or self.lanes is None:
            return None
        return self.vae.windows(self.lanes, traffic, self.observer, self.starts)


def _cut(scenario: Scenario, steps: int) -> Scenario:
    """The first so many steps."""
    if scenario.num_steps <= steps:
        return scenario
    names = ("position", "heading", "velocity", "size", "valid")
    return replace(scenario, **{name: getattr(scenario, name)[:, :steps].copy() for name in names})


def _closed(scenario: Scenario, ego: int | None) -> Scenario:
    """The scene to which nobody comes after step 10, or comes back, but the ego, which drives as recorded."""
    valid = scenario.valid.copy()
    valid[:, CURRENT_STEP:] = np.logical_and.accumulate(valid[:, CURRENT_STEP:], axis=1)
    if ego is not None:
        valid[ego] = scenario.valid[ego]
    return replace(scenario, valid=valid)


def _held(values: Floats, valid: Bools) -> Floats:
    """Values [A, T], where invalid those of the valid step before, or of the first one."""
    steps = np.where(valid, np.arange(valid.shape[1]), -1)
    before = np.maximum.accumulate(steps, axis=1)
    return np.take_along_axis(values, np.where(before < 0, valid.argmax(1)[:, None], before), 1)


def _map_points(scenario: Scenario) -> Floats:
    """Points [P, 2] of the map, m: those that are drawn, and on long straight pieces more."""
    parts = [np.zeros((0, 2))]
    for feature in scenario.features:
        line = np.asarray(feature.points[:, :2], dtype=np.float64)
        parts.append(line)
        if len(line) > 1 and np.diff(along := arc_lengths(line)).max() > _APART:
            parts.append(interpolate_polyline(line, np.arange(_APART, along[-1], _APART))[0])
    return np.concatenate(parts)


def _edges(scenario: Scenario, origin: Floats) -> RoadEdges | None:
    if not has_road_edges(scenario):
        return None
    lines = []
    for feature in scenario.features:
        if feature.is_road_edge:
            line = np.zeros((len(feature.points), 3))
            line[:, : feature.points.shape[1]] = feature.points
            line[:, :2] -= origin
            lines.append(line)
    return RoadEdges(lines)
