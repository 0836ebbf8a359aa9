"""An opponent that is no longer replayed: MetaDrive's wheel physics under a reactive controller.

The car lives in a world of its own with nothing but the ground, built afresh for every episode, so nothing of an
earlier one can reach it. Where it is at the end of a step is where the traffic manager puts the opponent's body, as it
does with planned rows; contact with the ego is judged there as always. The car feels neither the ego nor kerbs nor
other traffic (no replayed body does); what counts is that it can only move as its engine, brakes and tyres let it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from panda3d.core import LVector3, Vec3

from harness.engine.bodies import Present
from harness.engine.config import IDLE_BRAKE, SUBSTEPS, TICK
from harness.engine.scene import BODIES, Body, Scene
from harness.engine.settling import VEHICLE_CLASSES, GroundWorld, build_car, wheel_friction
from harness.episodes.watching import WatchingController
from harness.errors import AdversaryError, foreign
from harness.geometry import wrap_angle
from harness.interfaces import HEADING, STATE, VX, VY, AttackPlan, ControlContext, VehicleModel

Floats = NDArray[np.float64]

_SETTLE: Final = 25
"""Physics ticks in which the car comes to rest on its suspension before it is set in motion, half a second."""
_MAX_SPEED: Final = 80 / 3.6
"""The engine pulls no further above it, m/s (`max_speed_km_h` of every vehicle class)."""
_ENGINE: Final[dict[Body, tuple[float, float]]] = {
    Body.SMALL: (450.0, 57.5),
    Body.MEDIUM: (750.0, 105.0),
    Body.LARGE: (550.0, 90.0),
    Body.TRUCK: (600.0, 75.0),
}
"""Engine and brake force per wheel: the middle of what MetaDrive draws for each class (`VehicleParameterSpace`).
Stock draws them per vehicle; the middle keeps an attack the same whoever else is in the scene."""
_MAX_STEERING: Final[dict[Body, float]] = {Body.SMALL: 50.0, Body.MEDIUM: 45.0, Body.LARGE: 40.0, Body.TRUCK: 35.0}
"""Front wheel angle at action 1, degrees (`max_steering`)."""


class WheeledCar:
    """One car of MetaDrive's on flat ground."""

    def __init__(self, body: Body) -> None:
        """Build the car and the ground that it stands on."""
        self._world = GroundWorld()
        self._car = build_car(self._world.world, body)
        self._engine, self._brake = _ENGINE[body]
        self._steering = _MAX_STEERING[body]
        self._height = BODIES[body].height / 2

    def place(self, state: Floats, yaw_rate: float) -> None:
        """Settle the car at a pose, then set it in motion.

        Args:
            state: [STATE].
            yaw_rate: rad/s.
        """
        path, node, system = self._car.path, self._car.node, self._car.system
        assert system is not None, "only vehicles are built here"
        path.setHpr(math.degrees(state[HEADING]) - 90.0, 0.0, 0.0)
        path.setPos(Vec3(float(state[0]), float(state[1]), self._height))
        system.resetSuspension()
        self._act(0.0, 0.0)
        self._world.world.attach(system)
        self._world.world.attach(node)
        for _ in range(_SETTLE):
            self._world.world.doPhysics(TICK, 1, TICK)
        # Bullet hands out the pose of one tick ago, so a car put down here would lose a tick: start one tick further.
        x, y = state[:2] + state[[VX, VY]] * TICK
        path.setH(math.degrees(state[HEADING] + yaw_rate * TICK) - 90.0)
        path.setPos(Vec3(float(x), float(y), path.getZ()))
        node.setLinearVelocity(LVector3(float(state[VX]), float(state[VY]), 0.0))
        node.setAngularVelocity(LVector3(0.0, 0.0, yaw_rate))

    def step(self, steering: float, throttle: float) -> Floats:
        """Advance 0.1 s under an action in [-1, 1]²; return the state [STATE]."""
        self._act(steering, throttle)
        for _ in range(SUBSTEPS):
            self._world.world.doPhysics(TICK, 1, TICK)
        return self.state()

    def state(self) -> Floats:
        """Where the car is, [STATE]."""
        where, speed = self._car.path.getPos(), self._car.node.getLinearVelocity()
        heading = float(wrap_angle(np.array(math.radians(self._car.path.getH() + 90.0))))
        return np.array([where[0], where[1], heading, speed[0], speed[1]])

    def _act(self, steering: float, throttle: float) -> None:
        """Forces as stock: coasting brakes a little, the engine stops pulling at 80 km/h, brakes do not reverse."""
        system = self._car.system
        assert system is not None, "only vehicles are built here"
        speed = self._car.node.getLinearVelocity()
        pulls = math.hypot(speed[0], speed[1]) <= _MAX_SPEED
        force = self._engine * throttle if throttle >= 0 and pulls else 0.0
        brake = IDLE_BRAKE if throttle >= 0 else -throttle * self._brake
        for wheel in range(4):
            system.setBrake(brake, wheel)
            system.applyEngineForce(force, wheel)
        for wheel in (0, 1):
            system.setSteeringValue(steering * self._steering, wheel)

    def close(self) -> None:
        """Release the bodies."""
        self._world.close()


def vehicle_model(body: Body) -> VehicleModel:
    """How a body answers to actions: geometry and forces of its class over its mass.

    Below the grip Bullet's car keeps to it within 5 % (measured, 3 to 18 m/s; see the takeover's tests).
    """
    cls, (engine, brake) = VEHICLE_CLASSES[body], _ENGINE[body]
    return VehicleModel(
        front_axle=cls.FRONT_WHEELBASE,
        rear_axle=cls.REAR_WHEELBASE,
        max_steering=math.radians(_MAX_STEERING[body]),
        throttle=4 * engine / cls.MASS,
        brake=4 * brake / (cls.MASS * TICK),
        grip=9.81 * wheel_friction(body),
        rolling=4 * IDLE_BRAKE / (cls.MASS * TICK),
    )


class Takeover:
    """The reactive part of one attack in one episode."""

    def __init__(self, scene: Scene, plan: AttackPlan, ego_box: tuple[float, float]) -> None:
        """Prepare; nothing is built until the controller takes over.

        Args:
            scene: Being played; its opponent is a vehicle.
            plan: With `controller` and `takeover_step`.
            ego_box: Length and width of the ego, m.
        """
        opponent = scene.scenario.opponent
        controller = plan.controller
        assert controller is not None, "the environment checks plans"
        assert plan.takeover_step is not None, "the environment checks plans"
        assert opponent is not None, "the environment checks plans"
        self._scene, self._opponent = scene, opponent
        self._controller, self.first = controller, plan.takeover_step
        self._body = Body(int(scene.body[opponent, min(self.first, scene.steps - 1)]))
        self._car: WheeledCar | None = None
        length, width = scene.sizes[opponent].tolist()
        context = ControlContext(
            scene.scenario, opponent, (length, width), (ego_box[0], ego_box[1]), vehicle_model(self._body)
        )
        self._call(self.first, lambda: controller.reset(plan, context))
        self._watcher = controller if isinstance(controller, WatchingController) else None

    def watch(self, step: int, present: Present, sizes: Floats, ego: Floats) -> None:
        """Show everybody as they are after absolute step `step` to a controller that watches.

        Args:
            step: The present.
            present: Everybody but the ego.
            sizes: [A, 2] length and width, m.
            ego: [STATE], scenario frame.

        Raises:
            AdversaryError: The controller failed.
        """
        watcher = self._watcher
        if watcher is None:
            return
        states, valid = np.zeros((len(sizes), STATE)), np.zeros(len(sizes), dtype=np.bool_)
        place = present.xy + self._scene.origin
        states[present.agents] = np.column_stack([place, present.theta, present.velocity])
        states[self._scene.scenario.ego] = ego
        valid[present.agents] = valid[self._scene.scenario.ego] = True
        self._call(step, lambda: watcher.watch(step, states, valid, sizes.copy()))

    def advance(self, step: int, present: Present, earlier: Floats | None, ego_before: Floats) -> Floats:
        """The opponent's state after absolute step `step`.

        Args:
            step: From `first` on, every step once.
            present: Everybody but the ego after `step - 1`, the opponent among them.
            earlier: [STATE] the opponent's planned row of `step - 2`, or None (used in the first call).
            ego_before: [STATE] the ego after `step - 1`, scenario frame.

        Returns:
            [STATE], relative to the scene's origin.

        Raises:
            AdversaryError: The controller failed or gave no action.
        """
        row = int(np.searchsorted(present.agents, self._opponent))
        before = np.array([*present.xy[row], present.theta[row], *present.velocity[row]])
        if self._car is None:
            turn = 0.0 if earlier is None else float(wrap_angle(before[HEADING] - earlier[HEADING]))
            self._car = WheeledCar(self._body)
            self._car.place(before, turn / self._scene.scenario.dt)
        opponent = before.copy()
        opponent[:2] += self._scene.origin
        action = self._call(step - 1, lambda: self._controller.act(step - 1, opponent, ego_before.copy()))
        values = np.asarray(action, dtype=np.float64)
        if values.shape != (2,) or not np.isfinite(values).all():
            raise AdversaryError(
                f"{self._where(step - 1)}: an action is two finite numbers in [-1, 1] (steering, throttle); "
                f"found shape {values.shape}: {action!r}"
            )
        steering, throttle = np.clip(values, -1.0, 1.0).tolist()
        return self._car.step(steering, throttle)

    def close(self) -> None:
        """Release the car."""
        if self._car is not None:
            self._car.close()
            self._car = None

    def _where(self, step: int) -> str:
        return f"controller {type(self._controller).__name__} at step {step} of scene {self._scene.scenario.id}"

    def _call(self, step: int, call: Callable[[], object]) -> object:
        """Call into the controller: whatever foreign code raises becomes one AdversaryError that says where."""
        with foreign(f"{self._where(step)} failed", AdversaryError):
            return call()
