"""Learned traffic that comes and goes, whatever the model: everybody is moved by motion tokens, for any length of time.

A decision is made in two halves. At a decision everybody's motion is drawn at once. In the last step before the next
one, when everybody but ego and opponent is known to be where it will be, newcomers are drawn, and enter with the step
of that decision: the layout is then of true places, whatever the ego has done meanwhile.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import ConfigError
from harness.geometry import boxes_overlap, interpolate_polyline
from harness.interfaces import HEADING, VX, VY, Newcomer
from harness.traffic.model.batch import AgentBatch
from harness.traffic.model.drivers import DriverPool
from harness.traffic.model.rollout import Rollout
from harness.traffic.open.decisions import nearest_first
from harness.traffic.open.decoding import OpenOptions, extreme
from harness.traffic.open.network import UNKNOWN_MOTION, NewcomerNetwork
from harness.traffic.open.rollout import OpenRollout
from harness.traffic.open.weights import OpenModel
from harness.traffic.policy import Bools, Floats, TokenTraffic
from harness.traffic.sampling import draw, top_k
from harness.traffic.tokens.layout import GRID_CELLS, GRID_RADIUS, GRID_STEP, layout_poses
from harness.traffic.tokens.population import border_distances
from harness.traffic.tokens.shapes import TOKEN_STEPS
from scenarios.map_index import MapIndex
from scenarios.scenario import CURRENT_STEP, Kind, Scenario

SNAP: Final = 3.0
"""Who enters this near to the centre line of a lane enters on it, m (RosettaSim, appendix D.3)."""
_REACH: Final = 600.0
"""The map is known as far as this from whoever is there at step 10, m: 31 s at 19 m/s."""
_SURE: Final = 0.1
"""Newcomers enter at least so far within sight, m: where the ego will be a step later is known no better."""
_NOBODY: Final = -1

Admit = Callable[[int, Floats, Floats], bool]
"""Lets somebody of a kind, pose [3] (world) and size [3] (m) in; says whether it has."""
OptionsT = TypeVar("OptionsT", bound=OpenOptions)


def options_of(name: str, kind: type[OptionsT], values: Mapping[str, Any]) -> OptionsT:
    """Options of traffic of a name.

    Raises:
        ConfigError: There is no such option, or a value is out of range.
    """
    names = [item.name for item in fields(kind)]
    if unknown := sorted(set(values) - set(names)):
        raise ConfigError(f"traffic {name!r}: {unknown[0]!r} is no option; there are {', '.join(names)}, device.")
    return kind(**values)


class OpenTraffic(TokenTraffic):
    """`SpawningTraffic` by a model of motion tokens; subclasses say who enters.

    Who is moved: every vehicle, pedestrian and cyclist that is there at step 10, but ego and opponent; and newcomers.
    While agents enter, nobody else of the log appears after step 10. The observer of the layout is the ego, or whoever
    `watch` has named; where the ego is not there, whoever stood nearest to its recorded place at step 10, and where
    that one was seen last once it is gone. Newcomers enter where it sees them, without speed in their first step: what
    they do, their first motion says.

    Args:
        model: Who decides.
        options: How.
        path: File of the weights.

    Attributes:
        path: File of the weights.
        reserve: Largest number of newcomers at once.
        trained_observer: Around whom the model was trained; None where that is not known, or does not matter.
    """

    def __init__(self, model: OpenModel, options: OpenOptions, path: Path) -> None:
        self.reserve = options.reserve if options.spawning else 0
        model.options = replace(model.options, map_reach=max(_REACH, model.options.map_reach))
        self.path, self._decoding = path, options
        self.trained_observer = None if options.elsewhere else model.observer
        super().__init__(model)
        network = cast(NewcomerNetwork, model.network)
        self._open_network = network
        with torch.no_grad():
            self._table = network.token_head.table(network.motions)
        self._sizes_of_newcomers = network.newcomer_sizes.double().cpu().numpy()
        self.watch(None, None)

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Begin an episode.

        Raises:
            ScenarioError: The scene ends before step 10.
        """
        super().reset(scenario, rng)
        agents = scenario.num_agents
        self._scenario, self._first = scenario, agents - self.reserve
        self._movable[self._first :] = False
        self._road_user = np.asarray(scenario.kinds <= Kind.CYCLIST)
        given = [scenario.ego, -1 if scenario.opponent is None else scenario.opponent]
        self._given = np.isin(np.arange(agents), given)
        self._sizes = np.array([scenario.box(agent) for agent in range(agents)]).reshape(-1, 2)
        own = scenario.states(scenario.ego)[CURRENT_STEP, : HEADING + 1]
        self._watched, self._observer = scenario.ego, own if self._fixed is None else self._fixed
        self._rows = np.zeros(0, dtype=np.intp)
        self._decided = False
        self._here, self._since = np.zeros(agents, bool), np.zeros(agents, dtype=np.intp)
        self._new: list[Newcomer] = []

    def watch(self, observer: Floats | None, area: Floats | None) -> None:
        """Say who watches; see `WatchedTraffic`."""
        self._fixed = None if observer is None else np.array(observer, dtype=np.float64)[: HEADING + 1]
        self._area = area

    def spawned(self) -> Sequence[Newcomer]:
        """Who has just entered; see `SpawningTraffic`."""
        return self._new

    def step(self, step: int, states: Floats, valid: Bools) -> tuple[Floats, Bools]:
        """Everybody at `step + 1`; see `TrafficPolicy`."""
        self._new = []
        # Who is there when the episode begins has been there before.
        self._since[valid & ~self._here] = step - (not self._here.any())
        self._here = valid.copy()
        if step == CURRENT_STEP:
            self._watch_somebody(states, valid)
            if self._decoding.spawning:
                self._gone |= self._movable & ~valid
        following, present = super().step(step, states, valid)
        if self._decoding.spawning and self._decided and (step + 1) % TOKEN_STEPS == 0:
            self._let_in(states, valid, following, present)
            self._decided = False
        return following, present

    def _begun(self, nobody: AgentBatch, pool: DriverPool | None) -> Rollout:
        """A roll-out whose rows are used by one agent after another."""
        return OpenRollout(self._open_network, self._map.encoded, nobody)

    # ---- who watches

    def _watch_somebody(self, states: Floats, valid: Bools) -> None:
        """Choose the observer."""
        ego, able = self._scenario.ego, valid & self._road_user
        if self._fixed is None and not valid[ego] and able.any():
            rows = np.flatnonzero(able)
            self._watched = int(rows[nearest_first(states[rows], self._observer)[0]])

    def _near(self, poses: Floats, there: Bools) -> Bools:
        """Whom of those that are there the observer, who is brought up to date, can see [A]."""
        follows = self._fixed is None and bool(there[self._watched])
        if follows:
            self._observer = poses[self._watched, : HEADING + 1].copy()
        near = self._in_sight(poses, there)
        near[self._watched] |= follows
        return near

    def _in_sight(self, poses: Floats, there: Bools, margin: float = 0.0) -> Bools:
        """Which of poses [n, 2+] that are there [n] lie where the observer sees, farther than `margin` from its end."""
        places = poses[:, None, :2]
        return np.asarray(border_distances(places, there[:, None], self._observer[None], self._area)[:, 0] > margin)

    def _seen_from(self, poses: Floats, there: Bools) -> Bools:
        """Whom the model sees of those that are there [A]: who is near enough, or everybody where nobody has to be."""
        near = self._near(poses, there)
        return near if self._decoding.boundary else there

    def _look(self, step: int, states: Floats, valid: Bools) -> None:
        """Tell the model what those that it sees have done: in training, too, nobody else is there for it.

        What somebody has done who was out of sight half a second ago it does not know. A track that has begun since is
        taken to have been there, as training continues it back (`clean_tracks`).
        """
        back = states[:, : HEADING + 1].copy()
        back[:, :2] -= TOKEN_STEPS * self._dt * states[:, VX : VY + 1]
        follows = self._fixed is None and bool(valid[self._watched])
        near = self._in_sight(back, valid) | (not self._decoding.boundary)
        near[self._watched] |= follows
        begun = (self._since > step - TOKEN_STEPS) & ((self._since < step) | (step == CURRENT_STEP))
        seen, rollout = self._seen_from(states, valid), cast(OpenRollout, self._rollout)
        known = rollout.valid[0].cpu().numpy() | (begun & near)
        if step:
            rollout.arrive(torch.as_tensor(seen & ~known, device=self.model.device))
        super()._look(step, states, seen)

    # ---- motion

    def _beyond(self, states: Floats, valid: Bools, off_map: Bools) -> Bools:
        """Who has left the map, or is too far from the observer."""
        return (off_map | ~self._seen_from(states, valid)) & self._decoding.boundary

    def _chosen(self, states: Floats, valid: Bools) -> NDArray[np.int64]:
        """Tokens [A] of everybody; whose motion is impossible goes."""
        rows = np.flatnonzero(self._seen_from(states, valid) & self._road_user & ~self._gone)
        rows = rows[nearest_first(states[rows], self._observer)]
        token = np.zeros(len(valid), dtype=np.int64)
        at, rollout = torch.as_tensor(rows, device=self.model.device), self._rollout
        self._rows, self._decided = rows, True
        self._consider(rollout.features[at])
        if len(rows) == 0:
            return token
        kinds, before, known = rollout.kinds[0, at], rollout.motion[0, at], rollout.token[0, at] != UNKNOWN_MOTION
        logits = self._motion_logits(kinds, before, known)
        drawn = draw(top_k(logits, self._decoding.top_k), self._decoding.temperature, self._generator)
        token[rows] = drawn.cpu().numpy()
        if self._decoding.extremes:
            wild = np.zeros_like(valid)
            wild[rows] = extreme(self._open_network.motions[kinds, drawn, -1], before, known).cpu().numpy()
            self._remove(wild & self._moved)
        return token

    @abstractmethod
    def _consider(self, features: Tensor) -> None:
        """Begin a decision about those in `_rows`, the nearest to the observer first: their features [N, hidden]."""

    @abstractmethod
    def _motion_logits(self, kinds: Tensor, motion: Tensor, known: Tensor) -> Tensor:
        """Logits [N, V] of the next motion of those in `_rows`.

        Args:
            kinds: [N] their token kinds.
            motion: [N, 3] what they have just done.
            known: [N] whether that is known: not of newcomers.
        """

    # ---- newcomers

    @abstractmethod
    def _draw_newcomers(self, poses: Floats, stays: Bools, admit: Admit) -> None:
        """Draw who enters.

        Args:
            poses: [A, 3] where everybody is when they enter, world.
            stays: [A] who is there then, and in sight of the observer, whose pose then is `_observer`.
            admit: Lets them in, one after another.
        """

    def _let_in(self, states: Floats, valid: Bools, following: Floats, present: Bools) -> None:
        """Draw who enters with the following step, and put them there; `following` and `present` are completed."""
        there, poses = np.where(self._given, valid, present), following[:, : HEADING + 1].copy()
        poses[self._given] = states[self._given, : HEADING + 1]
        poses[self._given, :2] += self._dt * states[self._given, VX : VY + 1]

        def admit(kind: int, pose: Floats, size: Floats) -> bool:
            slot = self._slot(valid, present)
            hit = boxes_overlap(pose, size[:2], poses[there], self._sizes[there]).any()
            if slot == _NOBODY or (hit and self._decoding.overlap_ends) or not self._enterable(pose[None])[0]:
                return False
            following[slot, : HEADING + 1] = poses[slot] = pose
            following[slot, VX : VY + 1] = 0.0
            present[slot] = there[slot] = True
            self._enter(slot, kind, size)
            return True

        self._draw_newcomers(poses.copy(), self._near(poses, there), admit)

    def _enterable(self, poses: Floats) -> Bools:
        """At which of poses [n, 2+] somebody may enter [n]: who is not seen would be let go at once."""
        return self._in_sight(poses, np.ones(len(poses), bool), _SURE)

    def _cells(self) -> Bools:
        """In which cells of the grid [1961] somebody may enter: those that reach into the observer's sight.

        In training, too, who is seen at the border is in the nearest cell, whose middle may lie beyond it.
        """
        middles = layout_poses(np.arange(GRID_CELLS), np.zeros(GRID_CELLS, np.int64), self._observer)
        nearest = self._into_sight(middles)
        return self._enterable(nearest) & (np.hypot(*(nearest - middles)[:, :2].T) <= GRID_STEP / np.sqrt(2))

    def _into_sight(self, poses: Floats) -> Floats:
        """Poses [n, 3] of newcomers; those that are a little out of the observer's sight nearest to where they were."""
        # A newcomer of a cell at the border may stand aside of its middle; who is farther out is not meant.
        out = ~self._enterable(poses) & self._in_sight(poses, np.ones(len(poses), bool), -2 * GRID_STEP)
        if not out.any():
            return poses
        seen = shapely.Point(self._observer[:2]).buffer(GRID_RADIUS - 2 * _SURE, quad_segs=64)
        if self._area is not None:
            seen = seen.intersection(shapely.Polygon(self._area).buffer(-2 * _SURE))
        if seen.is_empty:
            return poses
        moved = poses.copy()
        ways = shapely.shortest_line(seen, shapely.points(poses[out, :2]))
        moved[out, :2] = shapely.get_coordinates(ways)[::2]
        return moved

    def _slot(self, valid: Bools, present: Bools) -> int:
        """A slot that is empty and was so in the last step."""
        free = np.flatnonzero(~present[self._first :] & ~valid[self._first :])
        return self._first + int(free[0]) if len(free) else _NOBODY

    def _snapped(self, kind: int, pose: Floats) -> Floats:
        """A newcomer's pose [3], world, within sight; that of a vehicle near a centre line is on it."""
        pose = self._into_sight(pose[None])[0]
        if self._decoding.snap and kind == Kind.VEHICLE:
            index = MapIndex.of(self._scenario)
            found = index.locate(pose[None, :2], max_distance=SNAP)
            if (lane := int(found.lane[0])) >= 0:
                foot = interpolate_polyline(index.lane_lines[lane], found.along)[0]
                if self._enterable(foot)[0]:
                    return np.append(foot[0], pose[2:])
        return pose

    def _enter(self, slot: int, kind: int, size: Floats) -> None:
        """Take note of a newcomer."""
        self._kinds[slot], self._sizes[slot] = kind, size[:2]
        self._movable[slot], self._road_user[slot], self._gone[slot] = True, True, False
        rollout = cast(OpenRollout, self._rollout)
        rollout.enter(slot, kind, torch.as_tensor(size, dtype=torch.float32, device=self.model.device))
        length, width, height = size.tolist()
        self._new.append(Newcomer(slot, Kind(kind), (length, width, height)))
