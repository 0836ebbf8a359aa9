"""RosettaSim as the background: everybody is moved by motion tokens, and agents enter and leave for any length of time.

A decision is made in two halves. At a decision everybody's motion is drawn at once. In the last step before the next
one, when everybody but ego and opponent is known to be where it will be, newcomers are drawn, and enter with the step
of that decision: the layout is then of true places, whatever the ego has done meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray

from harness.geometry import boxes_overlap, interpolate_polyline
from harness.interfaces import HEADING, VX, VY, Newcomer
from harness.traffic.model.batch import AgentBatch
from harness.traffic.model.drivers import DriverPool
from harness.traffic.model.rollout import Rollout
from harness.traffic.model.smart import to_frame
from harness.traffic.policy import Bools, Floats, TokenTraffic
from harness.traffic.rosetta.decoding import SequenceDecision, Spawned, extreme, rosetta_options, without
from harness.traffic.rosetta.model import RosettaModel
from harness.traffic.rosetta.network import UNKNOWN_MOTION
from harness.traffic.rosetta.open_rollout import OpenRollout
from harness.traffic.rosetta.sequence import choose_pieces, nearest_first
from harness.traffic.rosetta.simulator import RosettaSimulator
from harness.traffic.sampling import draw, top_k
from harness.traffic.tokens.layout import GRID_CELLS, layout_poses, layout_tokens
from harness.traffic.tokens.population import border_distances
from harness.traffic.tokens.shapes import TOKEN_STEPS
from scenarios.map_index import MapIndex
from scenarios.scenario import CURRENT_STEP, Kind, Scenario

SNAP: Final = 3.0
"""Who enters this near to the centre line of a lane enters on it, m (appendix D.3)."""
_REACH: Final = 600.0
"""The map is known as far as this from whoever is there at step 10, m: 31 s at 19 m/s."""
_SURE: Final = 0.1
"""Newcomers enter at least so far within sight, m: where the ego will be a step later is known no better."""
_NOBODY: Final = -1


class RosettaTraffic(TokenTraffic):
    """`SpawningTraffic`: RosettaSim moves the background, and says who enters it.

    Who is moved: every vehicle, pedestrian and cyclist that is there at step 10, but ego and opponent; and newcomers.
    While agents enter, nobody else of the log appears after step 10. The observer of the layout is the ego, or whoever
    `watch` has named; where the ego is not there, whoever stood nearest to its recorded place at step 10, and where
    that one was seen last once it is gone. Newcomers enter where it sees them. A newcomer has the median size of its
    kind in training, and no speed in its first step: what it does, its first motion says. Heuristics of the paper's
    appendix D.3 have switches of their own (`RosettaOptions`).

    Paper: RosettaSim, section 4 and appendix D.3. Ours: only vehicles enter on centre lines.

    Args:
        weights: File of `train_traffic --stage rosetta`; none comes with the package.
        device: Where it computes.
        options: Fields of `RosettaOptions`, instead of the defaults.

    Attributes:
        path: File of the weights.
        reserve: Largest number of newcomers at once.

    Raises:
        WeightsError: No file is given, or it cannot be used.
        ConfigError: Bad options.
    """

    name = "rosetta"
    simulator = RosettaSimulator
    """Rolls out 8 s of whole scenes, many times at once."""

    def __init__(self, weights: str | Path | None = None, *, device: str = "cpu", **options: Any) -> None:
        self.options = rosetta_options(options)
        self.reserve = self.options.reserve if self.options.spawning else 0
        model = RosettaModel.load(weights, device=device)
        model.options = replace(model.options, map_reach=max(_REACH, model.options.map_reach))
        self.path = Path(cast(str | Path, weights))
        super().__init__(model)
        self._network = model.network
        with torch.no_grad():
            self._tables = self._network.tables()
            self._table = self._network.token_head.table(self._network.motions)
        self._sizes_of_newcomers = self._network.newcomer_sizes.double().cpu().numpy()
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
        self._decision: SequenceDecision | None = None
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
        if step == CURRENT_STEP:
            self._watch_somebody(states, valid)
            if self.options.spawning:
                self._gone |= self._movable & ~valid
        following, present = super().step(step, states, valid)
        if self.options.spawning and self._decision is not None and (step + 1) % TOKEN_STEPS == 0:
            self._let_in(states, valid, following, present)
        return following, present

    def _begun(self, nobody: AgentBatch, pool: DriverPool | None) -> Rollout:
        """A roll-out whose rows are used by one agent after another."""
        return OpenRollout(self._network, self._map.encoded, nobody)

    # ---- who watches

    def _watch_somebody(self, states: Floats, valid: Bools) -> None:
        """Choose the observer."""
        ego, able = self._scenario.ego, valid & self._road_user
        if self._fixed is None and not valid[ego] and able.any():
            rows = np.flatnonzero(able)
            self._watched = int(rows[nearest_first(states[rows], self._observer)[0]])

    def _near(self, poses: Floats, there: Bools) -> Bools:
        """Whom of those that are there the observer, who is brought up to date, can see [A]."""
        follows = self._fixed is None and there[self._watched]
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
        return near if self.options.boundary else there

    def _look(self, step: int, states: Floats, valid: Bools) -> None:
        """Tell the model what those that it sees have done: in training, too, nobody else is there for it."""
        super()._look(step, states, self._seen_from(states, valid))

    # ---- motion

    def _beyond(self, states: Floats, valid: Bools, off_map: Bools) -> Bools:
        """Who has left the map, or is too far from the observer."""
        return (off_map | ~self._seen_from(states, valid)) & self.options.boundary

    def _chosen(self, states: Floats, valid: Bools) -> NDArray[np.int64]:
        """Tokens [A] of everybody; whose motion is impossible goes."""
        rows = np.flatnonzero(self._seen_from(states, valid) & self._road_user & ~self._gone)
        rows = rows[nearest_first(states[rows], self._observer)]
        token = np.zeros(len(valid), dtype=np.int64)
        at, rollout = torch.as_tensor(rows, device=self.model.device), self._rollout
        self._rows, self._decision = rows, SequenceDecision(self._network, self._tables, rollout.features[at])
        if len(rows) == 0:
            return token
        kinds, before, known = rollout.kinds[0, at], rollout.motion[0, at], rollout.token[0, at] != UNKNOWN_MOTION
        logits = self._decision.motion_logits(kinds, before, known, self._table)
        drawn = draw(top_k(logits, self.options.top_k), self.options.temperature, self._generator)
        token[rows] = drawn.cpu().numpy()
        if self.options.extremes:
            wild = np.zeros_like(valid)
            wild[rows] = extreme(self._network.motions[kinds, drawn, -1], before, known).cpu().numpy()
            self._remove(wild & self._moved)
        return token

    # ---- newcomers

    def _let_in(self, states: Floats, valid: Bools, following: Floats, present: Bools) -> None:
        """Draw who enters with the following step, and put them there; `following` and `present` are completed."""
        assert self._decision is not None
        there, poses = np.where(self._given, valid, present), following[:, : HEADING + 1].copy()
        poses[self._given] = states[self._given, : HEADING + 1]
        poses[self._given, :2] += self._dt * states[self._given, VX : VY + 1]
        # Who is beyond the grid has no cell, removed or not.
        stays = self._near(poses, there)[self._rows]
        observer, scene = self._observer, self._map
        place = to_frame(observer, scene.frame)
        pieces = choose_pieces(scene.pieces, scene.kinds, place, self._network.rosetta.pieces)
        assert scene.encoded.features is not None
        self._decision.look_around(
            scene.encoded.features[torch.as_tensor(pieces, device=self.model.device)],
            layout_tokens(scene.pieces[pieces], place),
            without(layout_tokens(poses[self._rows], observer), ~stays),
        )

        def admit(who: Spawned) -> bool:
            slot = self._slot(valid, present)
            pose, size = self._placed(who), self._sizes_of_newcomers[who.kind]
            hit = boxes_overlap(pose, size[:2], poses[there], self._sizes[there]).any()
            if slot == _NOBODY or (hit and self.options.overlap_ends):
                return False
            following[slot, : HEADING + 1] = poses[slot] = pose
            following[slot, VX : VY + 1] = 0.0
            present[slot] = there[slot] = True
            self._enter(slot, who.kind, size)
            return True

        cells = torch.as_tensor(self._cells(), device=self.model.device)
        self._decision.newcomers(self.options, self._generator, admit, cells)
        self._decision = None

    def _cells(self) -> Bools:
        """In which cells of the grid [1961] somebody may enter: who is not seen is let go at once."""
        cells = layout_poses(np.arange(GRID_CELLS), np.zeros(GRID_CELLS), self._observer)
        return self._in_sight(cells, np.ones(GRID_CELLS, bool), _SURE)

    def _slot(self, valid: Bools, present: Bools) -> int:
        """A slot that is empty and was so in the last step."""
        free = np.flatnonzero(~present[self._first :] & ~valid[self._first :])
        return self._first + int(free[0]) if len(free) else _NOBODY

    def _placed(self, who: Spawned) -> Floats:
        """World pose [3] of a newcomer; vehicles near a centre line are on it."""
        pose = layout_poses(np.array(who.grid), np.array(who.yaw), self._observer)
        if self.options.snap and who.kind == Kind.VEHICLE:
            index = MapIndex.of(self._scenario)
            found = index.locate(pose[None, :2], max_distance=SNAP)
            if (lane := int(found.lane[0])) >= 0:
                foot = interpolate_polyline(index.lane_lines[lane], found.along)[0]
                if self._in_sight(foot, np.ones(1, bool), _SURE)[0]:
                    pose[:2] = foot[0]
        return pose

    def _enter(self, slot: int, kind: int, size: Floats) -> None:
        """Take note of a newcomer."""
        self._kinds[slot], self._sizes[slot] = kind, size[:2]
        self._movable[slot], self._road_user[slot], self._gone[slot] = True, True, False
        rollout = cast(OpenRollout, self._rollout)
        rollout.enter(slot, kind, torch.as_tensor(size, dtype=torch.float32, device=self.model.device))
        length, width, height = size.tolist()
        self._new.append(Newcomer(slot, Kind(kind), (length, width, height)))
