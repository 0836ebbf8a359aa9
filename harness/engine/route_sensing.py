"""The observation `route` of an ego in MetaDrive, by the kernel that the fast engine observes with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.engine.ego import EgoVehicle
from harness.engine.scene import IS_VEHICLE, Scene
from harness.engine.traffic import TrafficManager
from harness.fast import fleet as columns
from harness.fast import traffic as others
from harness.fast.fleet import Fleet, make_fleet
from harness.fast.packing import pack_one, packed_agents
from harness.fast.route_view import SIZE, observe_route
from harness.fast.scenes import LENGTH_M, Scenes
from harness.fast.vehicle import OZ, VX, VY
from harness.kernels import Floats, kernel
from scenarios.scenario import DT


@kernel
def _observe(scenes: Scenes, fleet: Fleet, here: Floats, count: int) -> None:
    for index in range(count):
        agent = int(here[index, others.HERE_AGENT])
        others.note_change(fleet.past[0], agent, fleet.step[0], here, index)
    observe_route(scenes, fleet, 0, here, count)


class RouteSensors:
    """Fills one environment of the fast engine with what is the case in MetaDrive, and observes that."""

    def __init__(self) -> None:
        """Nothing is observed yet."""
        self._scene: Scene | None = None
        self._packed: Scenes | None = None

    def begin(self, scene: Scene, horizon: int) -> None:
        """Begin an episode of `horizon` steps; nothing is packed before it is observed."""
        if scene is not self._scene:
            self._scene, self._packed = scene, None
        self._horizon, self._begun = horizon, False

    def _prepare(self, scene: Scene) -> tuple[Scenes, Fleet]:
        if self._packed is None:
            self._packed = pack_one(scene)
            self._rows = np.full(scene.scenario.num_agents, -1)
            used = packed_agents(scene)
            self._rows[used] = np.arange(len(used))
            self._fleet = make_fleet(1, self._packed, SIZE, 1)
        return self._packed, self._fleet

    def observe(self, ego: EgoVehicle, traffic: TrafficManager, step: int) -> NDArray[np.float32]:
        """Observation [SIZE] after absolute step `step`; to be asked for once a step."""
        assert self._scene is not None, "an episode has begun"
        packed, fleet = self._prepare(self._scene)
        if self._scene.reserve:
            # Who is in a slot changes from step to step.
            agents = traffic.present.agents
            packed.sizes[self._rows[agents]] = traffic.sizes[agents]
            packed.vehicle[self._rows[agents]] = IS_VEHICLE[traffic.present.body]
        drive, progress = fleet.drive[0], ego.navigation
        if not self._begun:
            fleet.past[0, :, columns.PAST_STEP], self._begun = -1.0, True
        fleet.step[0], fleet.horizon[0] = step, self._horizon
        drive[columns.POSE_X], drive[columns.POSE_Y], drive[columns.POSE_THETA] = ego.x, ego.y, ego.theta
        drive[columns.NOW_X], drive[columns.NOW_Y] = ego.now_heading
        drive[columns.LAST_STEERING] = ego.last_action_taken[0]
        drive[columns.STEERING], drive[columns.THROTTLE] = ego.action
        drive[columns.LONGITUDE], drive[columns.LATERAL] = progress.current_longitude, progress.current_lateral
        if progress.reference_trajectory.goes_on:
            # The way that is left is what can be driven in time, not the whole map.
            seconds = (self._horizon - step) * DT
            packed.facts[0, LENGTH_M] = progress.current_longitude + progress.reference_trajectory.left(
                progress.current_longitude, seconds
            )
        drive[columns.ROUTE_HEADING] = progress.current_heading_theta_at_long
        drive[columns.COMPLETION] = progress.route_completion
        body = fleet.body[0]
        body[VX], body[VY], body[OZ] = ego.vx, ego.vy, ego.chassis.node().getAngularVelocity()[2]
        here = self._here(traffic)
        _observe(packed, fleet, here, len(here))
        return fleet.observation[0].copy()

    def _here(self, traffic: TrafficManager) -> NDArray[np.float64]:
        present = traffic.present
        here = np.zeros((len(present.agents), others.HERE))
        here[:, others.HERE_X], here[:, others.HERE_Y] = present.xy.T
        here[:, others.HERE_THETA] = present.theta
        here[:, others.HERE_VX], here[:, others.HERE_VY] = present.velocity.T
        here[:, others.HERE_AGENT] = self._rows[present.agents]
        here[:, others.HERE_BODY], here[:, others.HERE_DISTANCE] = present.body, present.distance
        return here
