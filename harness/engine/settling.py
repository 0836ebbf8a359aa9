"""How MetaDrive's wheel physics makes logged vehicles stand (height, pitch and roll) and move within every step.

Stock drives every logged vehicle with full wheel physics and puts it back on its log ten times a second. What is
left of the physics is that a car drops onto its suspension when it appears, squats and leans, and that its tyres
resist a log whose velocity is not along the wheels. The lidar, 1.2 m above the ground, sees a leaning box up to a few
centimetres nearer; a contact comes a step early where a body slides on as logged. Logged traffic never depends on the
ego, so this is simulated once per scene and replayed on bodies without wheels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from metadrive.component.pg_space import VehicleParameterSpace
from metadrive.component.vehicle.base_vehicle import BaseVehicle
from metadrive.component.vehicle.vehicle_type import LVehicle, MVehicle, SVehicle, XLVehicle
from metadrive.constants import CollisionGroup
from metadrive.type import MetaDriveType
from numpy.typing import NDArray
from panda3d.bullet import BulletBoxShape, BulletPlaneShape, BulletRigidBodyNode, BulletVehicle, BulletWorld, ZUp
from panda3d.core import LVector3, NodePath, PythonCallbackObject, TransformState, Vec3

from harness.engine.bodies import make_node
from harness.engine.config import IDLE_BRAKE, SUBSTEPS, TICK
from harness.engine.scene import BODIES, Body, Scene

Floats = NDArray[np.float64]

_STEP: Final = SUBSTEPS * TICK
VEHICLE_CLASSES: Final[dict[Body, type[BaseVehicle]]] = {
    Body.SMALL: SVehicle,
    Body.MEDIUM: MVehicle,
    Body.LARGE: LVehicle,
    Body.TRUCK: XLVehicle,
}
_FRICTION: Final[dict[Body, float]] = {
    Body.SMALL: VehicleParameterSpace.S_VEHICLE["wheel_friction"].value,
    Body.MEDIUM: VehicleParameterSpace.M_VEHICLE["wheel_friction"].value,
    Body.LARGE: VehicleParameterSpace.L_VEHICLE["wheel_friction"].value,
    Body.TRUCK: VehicleParameterSpace.XL_VEHICLE["wheel_friction"].value,
}


_LEFT_BEHIND: Final = 0.03
"""Bodies that end a step this far from where the log puts them (m) are seen within the wrong bounds."""


_SIMULATED: Final = [*(body.value for body in VEHICLE_CLASSES), Body.PEDESTRIAN.value, Body.CYCLIST.value]


@dataclass(slots=True)
class Car:
    """A simulated agent; `system` holds the wheels, None for people and cyclists."""

    path: NodePath
    node: BulletRigidBodyNode
    system: BulletVehicle | None
    body: Body


class Settled(NamedTuple):
    """What wheel physics makes of logged agents; rows without the agent hold its rest and its log.

    Attributes:
        tilt: [M, T, 3] as `Scene.tilt`.
        motion: [M, T, 3] as `Scene.motion`.
    """

    tilt: Floats
    motion: Floats


class GroundWorld:
    """A physics world with MetaDrive's ground and nothing else."""

    def __init__(self) -> None:
        """Lay the ground."""
        self.world = BulletWorld()
        CollisionGroup.set_collision_rule(self.world)
        self.world.setGravity(Vec3(0, 0, -9.81))
        ground = BulletRigidBodyNode(MetaDriveType.GROUND)
        ground.setFriction(0.9)
        ground.addShape(BulletPlaneShape(Vec3(0, 0, 1), 0))
        ground.setIntoCollideMask(CollisionGroup.Terrain)
        self._ground = NodePath(ground)
        self.world.attach(ground)

    def close(self) -> None:
        """Release the ground."""
        self.world.remove(self._ground.node())


class Settler:
    """A world of its own in which logged vehicles are driven on wheels."""

    def __init__(self) -> None:
        """Lay the ground."""
        self._ground = GroundWorld()
        self._world = self._ground.world
        _use_fixed_friction(self._world)
        self._spare: dict[Body, list[Car]] = {body: [] for body in Body}

    def settle(self, scene: Scene, agents: Sequence[int], start: int = 0) -> Settled:
        """Simulate agents from step `start` on, and note in `scene.bounds` where stock's rays look in vain."""
        tilt, motion = scene.tilt[list(agents)].copy(), scene.motion[list(agents)].copy()
        cars: dict[int, Car] = {}
        for step in range(start, scene.steps):
            last = self._run_step(cars) if step > start else {}
            for row, agent in enumerate(agents):
                if agent in cars:
                    motion[row, step - 1] = self._mean_motion(cars[agent], last[agent], scene, agent, step - 1)
                if not scene.may_appear[agent, step]:
                    if agent in cars:
                        self._park(cars.pop(agent))
                    continue
                if agent not in cars:
                    cars[agent] = self._spawn(scene, agent, step)
                elif start == 0:
                    self._note_bounds(cars[agent], scene, agent, step)
                tilt[row, step] = self._put_on_log(cars[agent], scene, agent, step)
        for car in cars.values():
            self._park(car)
        return Settled(tilt, motion)

    def settle_scene(self, scene: Scene) -> None:
        """Fill in `scene.tilt`, `scene.motion` and `scene.bounds` for everyone who moves."""
        agents = np.flatnonzero(scene.may_appear.any(axis=1) & np.isin(scene.body[:, 0], _SIMULATED))
        if len(agents):
            scene.tilt[agents], scene.motion[agents] = self.settle(scene, agents.tolist())

    def _run_step(self, cars: dict[int, Car]) -> dict[int, tuple[LVector3, LVector3]]:
        """Simulate 0.1 s; return every car's velocity and angular velocity as the last tick begins."""
        for _ in range(SUBSTEPS - 1):
            self._world.doPhysics(TICK, 1, TICK)
        last = {agent: (car.node.getLinearVelocity(), car.node.getAngularVelocity()) for agent, car in cars.items()}
        self._world.doPhysics(TICK, 1, TICK)
        return last

    @staticmethod
    def _mean_motion(
        car: Car, last: tuple[LVector3, LVector3], scene: Scene, agent: int, step: int
    ) -> tuple[float, float, float]:
        """Velocity and turn rate that take a body in one step from its log to where its tyres let it go.

        Tyres take most of a sideways velocity and about a third of a turn within the step.
        """
        # Panda3D shows poses one tick late; `last` is what moves the body in that tick.
        velocity, spin = last
        where, (x, y) = car.path.getPos(), scene.xy[agent, step]
        turn = (car.path.getH() - scene.node_heading[agent, step] + 180) % 360 - 180
        return (
            (where[0] + velocity[0] * TICK - x) / _STEP,
            (where[1] + velocity[1] * TICK - y) / _STEP,
            (np.deg2rad(turn) + spin[2] * TICK) / _STEP,
        )

    @staticmethod
    def _note_bounds(car: Car, scene: Scene, agent: int, step: int) -> None:
        """Remember the last physics tick of a body that ends far from its log.

        Rays search Bullet's bounding boxes, which still enclose that tick when stock has already moved the body on.
        """
        where, speed = car.path.getPos(), car.node.getLinearVelocity()
        end = np.array([where[0] + speed[0] * TICK, where[1] + speed[1] * TICK])
        if np.hypot(*(end - scene.xy[agent, step])) > _LEFT_BEHIND:
            pose = [*where, *car.path.getHpr()]
            scene.bounds[agent, step] = pose, [*speed], [*car.node.getAngularVelocity()]

    def _spawn(self, scene: Scene, agent: int, step: int) -> Car:
        body = Body(int(scene.body[agent, step]))
        spare = self._spare[body]
        car = spare.pop() if spare else _build(self._world, body)
        if car.system is not None:
            for index in range(4):
                wheel = car.system.getWheel(index)
                wheel.setRotation(0.0)
                wheel.setDeltaRotation(0.0)
        car.path.setP(0)
        car.path.setR(0)
        car.path.setH(scene.node_heading[agent, step])
        car.path.setPos(Vec3(*scene.xy[agent, step], BODIES[body].height / 2))
        car.node.clearForces()
        car.node.setLinearVelocity(LVector3(0, 0, 0))
        car.node.setAngularVelocity(LVector3(0, 0, 0))
        if car.system is not None:
            car.system.resetSuspension()
            for index in range(4):
                car.system.setBrake(IDLE_BRAKE, index)
                car.system.applyEngineForce(0.0, index)
            self._world.attach(car.system)
        self._world.attach(car.node)
        return car

    @staticmethod
    def _put_on_log(car: Car, scene: Scene, agent: int, step: int) -> tuple[float, float, float]:
        """What stock's replay policy does to a vehicle after every step."""
        path, node = car.path, car.node
        height = path.getZ()
        path.setPos(Vec3(*scene.xy[agent, step], height))
        if car.system is None:
            # People and cyclists are stood up.
            path.setP(0)
            path.setR(0)
        vx, vy = scene.velocity[agent, step]
        node.setLinearVelocity(LVector3(vx, vy, node.getLinearVelocity()[2]))
        path.setH(scene.node_heading[agent, step])
        node.setAngularVelocity(LVector3(0, 0, scene.spin[agent, step]))
        return height, path.getP(), path.getR()

    def _park(self, car: Car) -> None:
        self._world.remove(car.node if car.system is None else car.system)
        self._spare[car.body].append(car)

    def close(self) -> None:
        """Release the ground and the cars."""
        self._ground.close()
        self._spare.clear()


def _use_fixed_friction(world: BulletWorld) -> None:
    """Switch the contact solver to two fixed friction directions, as in a world whose contacts are listened to.

    Panda3D does so wherever a contact callback is set, as stock's engine sets one; a truck that bottoms out shows it.
    The callback itself is one for the whole process and not wanted here: another world takes it back, which leaves
    this one's solver as it is. Hence no engine may be listening yet.
    """
    world.setContactAddedCallback(PythonCallbackObject())
    BulletWorld().clearContactAddedCallback()


def _build(world: BulletWorld, body: Body) -> Car:
    """An agent as stock builds it."""
    return build_car(world, body) if body in VEHICLE_CLASSES else _build_person(body)


def _build_person(body: Body) -> Car:
    """`Pedestrian` or `Cyclist`: frictionless, without wheels."""
    node = make_node(body, dynamic=True)
    node.setIntoCollideMask(CollisionGroup.TrafficParticipants)
    node.setFriction(0.0)
    node.setAnisotropicFriction(LVector3(0.0, 0.0, 0.0))
    return Car(NodePath(node), node, None, body)


def wheel_friction(body: Body) -> float:
    """Friction of a vehicle's tyres on the ground."""
    return float(_FRICTION[body])


def build_car(world: BulletWorld, body: Body) -> Car:
    """A vehicle as `BaseVehicle._create_vehicle_chassis` and `_create_wheel` make it."""
    cls, spec = VEHICLE_CLASSES[body], BODIES[body]
    node = BulletRigidBodyNode(MetaDriveType.VEHICLE)
    shape = BulletBoxShape(Vec3(spec.width / 2, spec.length / 2, spec.height / 2))
    node.addShape(shape, TransformState.makePos(Vec3(0, 0, spec.lift)))
    node.setDeactivationEnabled(False)
    system = BulletVehicle(world, node)
    system.setCoordinateSystem(ZUp)
    path = NodePath(node)
    node.setIntoCollideMask(CollisionGroup.Vehicle)
    node.setMass(cls.MASS)
    height = cls.TIRE_RADIUS - cls.CHASSIS_TO_WHEEL_AXIS
    for front, along in ((True, cls.FRONT_WHEELBASE), (False, -cls.REAR_WHEELBASE)):
        for side in (cls.LATERAL_TIRE_TO_CENTER, -cls.LATERAL_TIRE_TO_CENTER):
            _add_wheel(system, cls, Vec3(side, along, height), front=front, friction=_FRICTION[body])
    return Car(path, node, system, body)


def _add_wheel(system: BulletVehicle, cls: type[BaseVehicle], place: Vec3, *, front: bool, friction: float) -> None:
    wheel = system.createWheel()
    wheel.setChassisConnectionPointCs(place)
    wheel.setFrontWheel(front)
    wheel.setWheelDirectionCs(Vec3(0, 0, -1))
    wheel.setWheelAxleCs(Vec3(1, 0, 0))
    wheel.setWheelRadius(cls.TIRE_RADIUS)
    wheel.setMaxSuspensionTravelCm(cls.SUSPENSION_LENGTH)
    wheel.setSuspensionStiffness(cls.SUSPENSION_STIFFNESS)
    wheel.setWheelsDampingRelaxation(4.8)
    wheel.setWheelsDampingCompression(1.2)
    wheel.setFrictionSlip(friction)
    wheel.setRollInfluence(0.5)
