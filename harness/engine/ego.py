"""The driven car: stock's `DefaultVehicle`, made reusable without a trace of the last episode.

Stock pools its vehicles but leaves the wheels turned where they stopped; Bullet derives each wheel's axle from
that rotation, so the next episode differs in the last bits, and rays that graze a lane line turn that into
differences of 1e-3 in the observation. Here the wheels are turned back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from metadrive.component.vehicle.vehicle_type import DefaultVehicle
from metadrive.utils.math import wrap_to_pi
from numpy.typing import NDArray
from panda3d.core import LVector3

from harness.engine.route import Progress, Route
from scenarios.scenario import name_seed

Floats = NDArray[np.float64]

SETTLED_HEIGHT: Final = 0.5375
"""Height of the origin of MetaDrive's car once its suspension has settled, m (measured in 0.4.3)."""
INNER_SEEDS: Final = 1_000_000
"""Seeds from which MetaDrive draws a vehicle's parameters (`BaseVehicle`: `randint(0, 1e6)`)."""


class Forces(NamedTuple):
    """What the car's engine and brakes can do, N per wheel at action 1 and -1."""

    engine: float
    brake: float

    def as_config(self) -> dict[str, float]:
        """By MetaDrive's names."""
        return {"max_engine_force": self.engine, "max_brake_force": self.brake}


def forces_of(scene: str) -> Forces:
    """Engine and brake force of the ego in a scene, out of MetaDrive's parameter space.

    Stock seeds the draw with the scene's position in the folder, so that one scene is driven by different cars from
    one list to the next. Here the scene's id is the seed.
    """
    space = DefaultVehicle.PARAMETER_SPACE
    space.seed(name_seed(scene) % INNER_SEEDS)
    sample = space.sample()
    return Forces(*(np.asarray(sample[name]).item() for name in ("max_engine_force", "max_brake_force")))


class EgoVehicle(DefaultVehicle):
    """`DefaultVehicle` with a fast, traceless `place` and a cached parameter draw."""

    def prepare(self) -> None:
        """Finish construction: constants out of the config, and the own navigation."""
        self.navigation = Progress()
        self._max_speed = float(self.config["max_speed_km_h"])
        self._reverse = bool(self.config["enable_reverse"])
        self._draws: dict[str, Forces] = {}
        self.forces = Forces(0.0, 0.0)

    def init_state_info(self) -> None:
        """Forget what was touched in the last step."""
        super().init_state_info()
        self.touched: set[int] = set()

    def draw_forces(self, scene: str) -> None:
        """Take the engine and brake force of the scene with this id."""
        if scene not in self._draws:
            self._draws[scene] = forces_of(scene)
        self.forces = self._draws[scene]
        self.config.update(self.forces.as_config())

    def place(self, position: Sequence[float], node_heading: float, velocity: Sequence[float], route: Route) -> None:
        """Put the car at rest suspension at the start of an episode (`BaseVehicle.reset`, without its config copies).

        Args:
            position: x, y, m, relative to the scene's origin.
            node_heading: Heading of the body, degrees: 90 less than the car's.
            velocity: World frame, m/s.
            route: What to follow.
        """
        world = self.engine.physics_world
        self.detach_from_world(world)
        for wheel in (self.system.getWheel(index) for index in range(4)):
            wheel.setRotation(0.0)
            wheel.setDeltaRotation(0.0)
            wheel.setSteering(0.0)
        self.set_pitch(0)
        self.set_roll(0)
        self.origin.setH(node_heading)
        self.set_static(False)
        self.set_position(position[:2], height=0.0)
        body = self.body
        body.clearForces()
        body.setLinearVelocity(LVector3(0, 0, 0))
        body.setAngularVelocity(LVector3(0, 0, 0))
        self.system.resetSuspension()
        self._apply_throttle_brake(0.0)
        self._init_step_info()
        self.throttle_brake = 0.0
        self.steering: float = 0.0
        self.action = (0.0, 0.0)
        self.last_action_taken = (0.0, 0.0)
        self.set_velocity(velocity)
        self.attach_to_world(self.engine.worldNP, world)
        self.navigation.begin(route)
        self.read_state()
        self.last_heading = self.now_heading

    def read_state(self) -> None:
        """Read pose and velocity out of Bullet once per step; everything else uses these copies."""
        origin = self.origin
        where = origin.getPos()
        self.x, self.y, self.z = where[0], where[1], where[2]
        self.theta = wrap_to_pi(wrap_to_pi(origin.getH() / 180 * math.pi) + np.pi / 2)
        self.now_heading = (math.cos(self.theta), math.sin(self.theta))
        speed = self.chassis.node().getLinearVelocity()
        self.vx, self.vy = speed[0], speed[1]
        matrix = origin.getMat()
        # Rows of the rotation: the car's right and forward axes in the world.
        self.right = (matrix.getCell(0, 0), matrix.getCell(0, 1))
        self.forward = (matrix.getCell(1, 0), matrix.getCell(1, 1))

    def world_state(self, origin: Floats) -> tuple[float, float, float, float, float]:
        """The car's x, y, heading, vx and vy in the scenario's own frame, whose `origin` [2] is given."""
        return self.x + origin[0], self.y + origin[1], self.theta, self.vx, self.vy

    @property
    def speed_m_s(self) -> float:
        """Horizontal speed, m/s."""
        return math.hypot(self.vx, self.vy)

    def drive(self, steering: float, throttle: float) -> None:
        """Begin a step with an action, each in [-1, 1]."""
        self.init_state_info()
        self.last_heading = self.now_heading
        self.last_action_taken = self.action
        self.action = (steering, throttle)
        self.steering = steering
        self.throttle_brake = throttle
        self.system.setSteeringValue(steering * self.max_steering, 0)
        self.system.setSteeringValue(steering * self.max_steering, 1)
        self._apply_throttle_brake(throttle)

    def _apply_throttle_brake(self, throttle_brake: float) -> None:
        """Forces on the four wheels, as stock, without its look-ups."""
        if not hasattr(self, "_max_speed"):
            # During construction stock calls this before `prepare`.
            super()._apply_throttle_brake(throttle_brake)
            return
        force = brake = 0.0
        if throttle_brake >= 0:
            brake = 2.0
            if self.speed_km_h <= self._max_speed:
                force = self.forces.engine * throttle_brake
        elif self._reverse:
            force = self.forces.engine * throttle_brake
        else:
            brake = abs(throttle_brake) * self.forces.brake
        for wheel in range(4):
            self.system.setBrake(brake, wheel)
            self.system.applyEngineForce(force, wheel)

    def follow(self, x: float, y: float, node_heading: float, velocity: Sequence[float]) -> None:
        """Jump to a logged state (replay): level, on settled wheels."""
        self.last_heading = self.now_heading
        self.set_pitch(0)
        self.set_roll(0)
        self.set_position((x, y), height=SETTLED_HEIGHT)
        self.origin.setH(node_heading)
        self.body.setLinearVelocity(LVector3(float(velocity[0]), float(velocity[1]), 0))
        self.body.setAngularVelocity(LVector3(0, 0, 0))

    def local(self, vectors: Floats) -> tuple[Floats, Floats]:
        """World vectors [..., 2] along the car's forward and right axes (`convert_to_local_coordinates`)."""
        forward = vectors[..., 0] * self.forward[0] + vectors[..., 1] * self.forward[1]
        right = vectors[..., 0] * self.right[0] + vectors[..., 1] * self.right[1]
        # Stock returns (forward, -right): its second axis points left.
        return forward, -right
