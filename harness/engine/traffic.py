"""The one traffic manager: who is present, where, and what the ego can see and touch of it.

Steps are absolute: after environment step k everybody is at row k of its log, its plan or its traffic policy.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from panda3d.bullet import BulletWorld

from harness.engine.bodies import ContactBodies, LidarWorld, Present
from harness.engine.ego import EgoVehicle
from harness.engine.futures import Foreseen, foresee
from harness.engine.scene import BODIES, HALF_SPAN, Body, Scene, body_of
from harness.engine.settling import Settler
from harness.engine.takeover import Takeover
from harness.errors import EngineError, foreign
from harness.geometry import box_separation
from harness.interfaces import HEADING, STATE, VX, VY, AttackPlan, Newcomer, SpawningTraffic, TrafficPolicy
from harness.traffic.rollouts import Interventions
from harness.traffic.slots import Slots
from scenarios.scenario import Kind

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

AHEAD: Final = 8.0
ASIDE: Final = 2.0
"""No logged vehicle appears this close to the driven ego, m (`GENERATION_FORWARD/SIDE_CONSTRAINT`)."""
TOUCH_RANGE: Final = 15.0
"""Bodies closer than this (centres, m) can be touched within a step: 0.1 s at 80 m/s plus two half diagonals."""


class TrafficManager:
    """Moves everyone but the ego."""

    def __init__(
        self,
        world: BulletWorld,
        *,
        sight: float,
        policy: TrafficPolicy | None,
        filter_overlapping: bool,
        settler: Settler | None,
    ):
        """Work in the ego's `world`.

        Args:
            world: Where the ego drives.
            sight: Sensing range, m.
            policy: What moves the background; None: the log.
            filter_overlapping: Whether nobody appears on top of a driven ego.
            settler: Recomputes how a vehicle stands that had to wait before it appeared, or None.
        """
        self._settler = settler
        self.lidar = LidarWorld()
        self._contacts = ContactBodies(world)
        self._sight = sight
        self._policy = policy
        self._filter = filter_overlapping
        self.present_log: Bools = np.zeros((0, 0), bool)
        self.states: Floats = np.zeros((0, 0, STATE))
        self.present = Present(*(np.zeros(shape) for shape in ((0,), (0, 2), (0,), (0, 2), (0,), (0,))))  # type: ignore[arg-type]
        self.spawn_blocked = 0
        self._takeover: Takeover | None = None

    @property
    def interventions(self) -> Interventions | None:
        """What a shield of the traffic policy has done so far in the episode; None without one."""
        done = getattr(self._policy, "interventions", None)
        # A user's own class may call anything so.
        return done if isinstance(done, Interventions) else None

    def reset(
        self,
        scene: Scene,
        ego: EgoVehicle,
        plan: AttackPlan | None,
        *,
        replay: bool,
        ego_box: tuple[float, float],
        seed: int,
        first: int,
        steps: int,
    ) -> None:
        """Begin an episode: nothing of the last one survives.

        Args:
            scene: Where.
            ego: It is placed already.
            plan: What the opponent does, or None.
            replay: Whether the ego follows its log.
            ego_box: Its length and width, m.
            seed: What the traffic policy draws from.
            first: Step at which the episode begins.
            steps: Last step that it may have.
        """
        self._contacts.clear()
        self.lidar.clear()
        self._scene, self._plan, self._replay, self._ego_box = scene, plan, replay, np.array(ego_box)
        self._first = first
        self._opponent = scene.scenario.opponent
        agents = scene.scenario.num_agents
        self._slots = Slots(scene.scenario, scene.reserve) if scene.reserve else None
        self.sizes = scene.sizes if self._slots is None else self._slots.sizes
        self._kinds = scene.scenario.kinds if self._slots is None else self._slots.kinds
        # Who may be there at all where a policy drives; the slots are for whoever enters.
        self._may = scene.may_appear.any(axis=1) | (np.arange(agents) >= agents - scene.reserve)
        self._tilt, self._motion = scene.tilt, scene.motion
        self._here = np.zeros(agents, bool)
        self._born = np.zeros(agents, np.int8)
        self.present_log = np.zeros((agents, steps + 1), bool)
        self.spawn_blocked = 0
        self._plan_rows = self._prepare_plan(scene, plan)
        self._take_over(scene, plan)
        self.states = np.zeros((0, 0, STATE))
        self._policy_valid: Bools = np.zeros(agents, bool)
        if self._policy is not None:
            with foreign(f"{self._driver()} failed at its reset", EngineError):
                self._policy.reset(scene.scenario, np.random.default_rng(seed))
            self.states = np.zeros((agents, steps + 1, STATE))
        self.advance(first, ego)

    def _prepare_plan(self, scene: Scene, plan: AttackPlan | None) -> tuple[Floats, Bools, int, int] | None:
        """Plan rows relative to the origin, their validity, and the first and last valid step."""
        if plan is None or self._opponent is None or not plan.valid.any():
            return None
        rows = np.array(plan.states, dtype=np.float64)
        rows[:, :2] -= scene.origin
        steps = np.flatnonzero(plan.valid)
        return rows, np.asarray(plan.valid, bool), int(steps[0]), int(steps[-1])

    def _take_over(self, scene: Scene, plan: AttackPlan | None) -> None:
        """Forget the last controller; prepare this plan's."""
        if self._takeover is not None:
            self._takeover.close()
            self._takeover = None
        if self._plan_rows is not None and plan is not None and plan.controller is not None:
            length, width = self._ego_box.tolist()
            self._takeover = Takeover(scene, plan, (length, width))

    def _react(self, step: int, planned: Floats) -> Floats:
        """The opponent's row: `planned`, or from the takeover on what its controller makes of the last step."""
        takeover = self._takeover
        assert takeover is not None, "only called with a controller"
        assert self._opponent is not None, "only called with a plan"
        if step < takeover.first or not self.present_log[self._opponent, step - 1]:
            return planned
        return takeover.advance(step, self.present, self._plan_row(step - 2), self._ego_before)

    def advance(self, step: int, ego: EgoVehicle) -> None:
        """Put everyone where they are after absolute step `step`."""
        scene = self._scene
        now = min(step, scene.steps - 1)
        states = self._next_states(step) if self._policy is not None and step > self._first else None
        if states is not None:
            allowed = self._policy_valid & self._may
        else:
            allowed = scene.may_appear[:, now].copy() if step < scene.steps else self._objects_only()
        self._apply_presence(step, now, allowed, ego, states)
        agents = np.flatnonzero(self._here)
        self.present_log[:, step] = self._here
        if states is None:
            xy, theta, velocity = scene.xy[agents, now], scene.theta[agents, now], scene.velocity[agents, now]
        else:
            xy, theta, velocity = (
                states[agents, :2] - scene.origin,
                states[agents, HEADING],
                states[agents, VX : VY + 1],
            )
        plan = self._plan_row(step)
        if plan is not None and self._opponent is not None and self._here[self._opponent]:
            if self._takeover is not None:
                plan = self._react(step, plan)
            row = int(np.searchsorted(agents, self._opponent))
            xy, theta, velocity = xy.copy(), theta.copy(), velocity.copy()
            xy[row], theta[row], velocity[row] = plan[:2], plan[HEADING], plan[VX : VY + 1]
        distance = np.hypot(xy[:, 0] - ego.x, xy[:, 1] - ego.y)
        self.present = Present(agents, xy, theta, velocity, self._born[agents], distance)
        if self._policy is not None or self._takeover is not None:
            # The ego moves first, but nobody may react to a motion in the very step it happens.
            self._ego_before = np.array(ego.world_state(scene.origin))
        if self._policy is not None:
            self.states[agents, step] = np.column_stack([xy + scene.origin, theta, velocity])
        if self._takeover is not None:
            self._takeover.watch(step, self.present, self.sizes, self._ego_before)
        self._step, self._logged = now, states is None
        self._planned = plan is not None
        self._show()

    def _objects_only(self) -> Bools:
        """Past the end of the log only cones and barriers are left (as stock)."""
        kinds = self._scene.scenario.kinds
        return self._here & ((kinds == Kind.CONE) | (kinds == Kind.BARRIER))

    def _next_states(self, step: int) -> Floats:
        """Ask the traffic policy for everyone's state, given where everyone truly is."""
        assert self._policy is not None, "only called with a policy"
        scene, before = self._scene, self.states[:, step - 1]
        current = before.copy()
        current[scene.scenario.ego] = self._ego_before
        valid = self._here.copy()
        valid[scene.scenario.ego] = True
        expected = (*before.shape, *valid.shape)
        with foreign(f"{self._driver()} failed at step {step - 1}", EngineError):
            states, present = self._policy.step(step - 1, current, valid)
            states, self._policy_valid = np.array(states, np.float64), np.array(present, bool)
            newcomers = self._policy.spawned() if isinstance(self._policy, SpawningTraffic) else ()
        if (*states.shape, *self._policy_valid.shape) != expected or not np.isfinite(states[self._policy_valid]).all():
            raise EngineError(
                f"{self._driver()} at step {step - 1}: expected finite states {before.shape} and who is present "
                f"{valid.shape}, got {states.shape} and {self._policy_valid.shape}, or NaN."
            )
        if self._slots is not None:
            self._slots.enter(newcomers, step, self._policy_valid, self._here)
        if self._opponent is not None:
            # The opponent belongs to the adversary; without a plan it follows its log.
            row, scenario = min(step, scene.steps - 1), scene.scenario
            states[self._opponent] = scenario.states(self._opponent)[row]
            if self._slots is not None and step >= scene.steps:
                self._policy_valid[self._opponent] = False
        return states

    def _driver(self) -> str:
        return f"traffic {type(self._policy).__name__} in scene {self._scene.scenario.id}"

    def _plan_row(self, step: int) -> Floats | None:
        if self._plan_rows is None:
            return None
        rows, valid, _, _ = self._plan_rows
        return rows[step] if step < len(rows) and valid[step] else None

    def _apply_presence(self, step: int, now: int, allowed: Bools, ego: EgoVehicle, states: Floats | None) -> None:
        """Who appears and who goes."""
        # Without a plan the opponent is one of many, and stock's rules hold for it as well.
        scene, opponent = self._scene, self._opponent if self._plan_rows is not None else None
        if opponent is not None:
            allowed[opponent] = self._opponent_allowed(step, now)
        new = np.flatnonzero(allowed & ~self._here)
        self._here &= allowed
        if not len(new):
            return
        if self._filter and not self._replay:
            new = self._with_room(new, step, now, ego, states)
        if opponent is not None and opponent in new and self._overlaps_ego(step, now, ego):
            # Appearing inside the ego would be a crash that nobody caused.
            self.spawn_blocked += 1
            new = new[new != opponent]
        self._here[new] = True
        slots = new >= len(self._here) - scene.reserve
        self._born[new] = np.where(slots, body_of(self._kinds[new], self.sizes[new, 0]), scene.body[new, now])
        if step > self._first and self._settler is not None:
            self._settle_late([int(agent) for agent in new if scene.may_appear[agent, now - 1]], now)

    def _settle_late(self, waited: list[int], step: int) -> None:
        """Vehicles that had to wait drop onto their suspension later than the scene's own simulation says."""
        if self._settler is None or not waited:
            return
        self._tilt, self._motion = self._tilt.copy(), self._motion.copy()
        self._tilt[waited], self._motion[waited] = self._settler.settle(self._scene, waited, step)

    def _opponent_allowed(self, step: int, now: int) -> bool:
        """An attacking opponent exists whenever its plan or log says so, filters or not."""
        assert self._plan_rows is not None, "only asked for with a plan"
        scene, opponent = self._scene, self._opponent
        logged = step < scene.steps and bool(scene.scenario.valid[opponent, now])
        _, valid, first, _ = self._plan_rows
        if step < first:
            return logged
        return step < len(valid) and bool(valid[step])

    def _with_room(
        self, new: NDArray[np.intp], step: int, now: int, ego: EgoVehicle, states: Floats | None
    ) -> NDArray[np.intp]:
        """Those of the new agents whom the driven ego leaves room; of slots the others do not enter at all."""
        scene = self._scene
        xy = scene.xy[new, now]
        if self._slots is not None and states is not None:
            xy = np.where((new >= self._slots.first)[:, None], states[new, :2] - scene.origin, xy)
        ahead, aside = ego.local(xy - (ego.x, ego.y))
        close = (np.abs(ahead) < AHEAD) & (np.abs(aside) < ASIDE) & (self._kinds[new] == Kind.VEHICLE)
        if self._plan_rows is not None:
            close &= new != self._opponent
        if self._slots is not None:
            self._slots.refuse(new[close], step)
        return new[~close]

    def _overlaps_ego(self, step: int, now: int, ego: EgoVehicle) -> bool:
        scene, opponent = self._scene, self._opponent
        if step == 0:
            return False
        row = self._plan_row(step)
        pose = np.array([*scene.xy[opponent, now], scene.theta[opponent, now]]) if row is None else row[:3]
        return bool(
            box_separation(np.array([ego.x, ego.y, ego.theta]), self._ego_box, pose, scene.sizes[opponent]) <= 0
        )

    def _node_poses(self, rows: NDArray[np.intp]) -> Floats:
        """[m, 6] x, y, z, heading, pitch, roll of bodies in the engine's convention, metres and degrees."""
        present, scene = self.present, self._scene
        agents = present.agents[rows]
        poses = np.empty((len(rows), 6))
        poses[:, :2] = present.xy[rows]
        off_log = ~self._on_log(agents)
        poses[:, 3] = scene.node_heading[agents, self._step]
        poses[:, _TILT] = self._tilt[agents, self._step]
        if off_log.any():
            body = present.body[rows[off_log]]
            poses[off_log, 3] = np.rad2deg(present.theta[rows[off_log]]) + _TURN[body]
            poses[np.flatnonzero(off_log)[:, None], _TILT] = _REST[body]
        return poses

    def _on_log(self, agents: NDArray[np.intp]) -> Bools:
        """Which agents are exactly where the log has them."""
        if not self._logged:
            return np.zeros(len(agents), bool)
        return agents != self._opponent if self._planned else np.ones(len(agents), bool)

    def _show(self) -> None:
        """Bring the lidar's world up to date."""
        present = self.present
        rows = np.flatnonzero(present.distance < self._sight + HALF_SPAN[present.body] + 1.0)
        self.seen_rows = rows
        agents = present.agents[rows].tolist()
        bounds = self._scene.bounds
        lagging = {agent: bounds[agent, self._step] for agent in agents if (agent, self._step) in bounds}
        if self._planned or not self._logged:
            lagging = {}
        self.lidar.update(agents, present.body[rows].tolist(), self._node_poses(rows).tolist(), lagging)

    def touchable(self) -> None:
        """Before a step: put bodies where the ego could touch them, moving as they will during the step."""
        present = self.present
        rows = np.flatnonzero(present.distance < TOUCH_RANGE)
        agents = present.agents[rows]
        motion = self._motion[agents, self._step]
        off_log = ~self._on_log(agents)
        motion[off_log, :2], motion[off_log, 2] = present.velocity[rows[off_log]], 0.0
        self._contacts.update(
            agents.tolist(), present.body[rows].tolist(), self._node_poses(rows).tolist(), motion.tolist()
        )

    def any_touchable(self) -> bool:
        """Whether anybody is close enough to touch."""
        return bool(self._contacts)

    def planned_state(self) -> tuple[int, Floats] | None:
        """Opponent and its true state [STATE] (scenario frame) where a plan drives it right now."""
        if not self._planned or self._opponent is None or not self._here[self._opponent]:
            return None
        row = int(np.searchsorted(self.present.agents, self._opponent))
        present = self.present
        place = present.xy[row] + self._scene.origin
        return self._opponent, np.array([*place, present.theta[row], *present.velocity[row]])

    def futures(self, step: int) -> Foreseen:
        """Where everyone present will be after steps `step + 1` … (see `EgoView.futures`)."""
        plan = self._plan_rows[:2] if self._plan_rows is not None and self._opponent is not None else None
        takeover = None if self._takeover is None else self._takeover.first
        agents, logged = self.present.agents, self._policy is None
        return foresee(self._scene, agents, step, plan, logged=logged, takeover=takeover)

    def close_vehicles(self, ego_span: float) -> NDArray[np.intp]:
        """Rows of `present` of those whose boxes may meet the ego's, half of whose diagonal is `ego_span` m.

        They are the vehicles, and the opponent of whatever kind.
        """
        present = self.present
        sizes = self.sizes[present.agents]
        counts = self._kinds[present.agents] == Kind.VEHICLE
        if self._opponent is not None:
            counts |= present.agents == self._opponent
        reach = np.hypot(sizes[:, 0], sizes[:, 1]) / 2 + ego_span
        return np.flatnonzero((present.distance <= reach) & counts)

    def recorded(self) -> tuple[Bools, Floats | None, tuple[Newcomer, ...]]:
        """Who was there [A, S], where a policy drove everybody's states [A, S, STATE], and who has entered.

        Those who have are the last of the A agents, each in a row of its own whatever slot it had.
        """
        if self._slots is not None:
            return self._slots.apart(self.present_log, self.states)
        return self.present_log, self.states if self.states.size else None, ()

    def close(self) -> None:
        """Release every body."""
        self._take_over(self._scene, None)
        self._contacts.clear()
        self.lidar.close()


_TILT: Final = [2, 4, 5]
"""Columns of height, pitch and roll in a node pose."""
_TURN: Final = np.array([BODIES[body].turn for body in Body])
_REST: Final = np.array([(BODIES[body].base, BODIES[body].pitch, 0.0) for body in Body])
