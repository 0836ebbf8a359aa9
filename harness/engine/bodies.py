"""Bodies of the other agents: light boxes and cylinders, pooled, in two worlds.

`LidarWorld` holds a static body for every agent within sensing range: rays are cast there, so the ego's own box
never stands in the way. `ContactBodies` holds bodies for the few agents that the ego could touch, in the world
where the ego drives. They have mass and the logged velocity but neither wheels, nor gravity, nor contacts with
each other or with the ground: within a step Bullet moves them as the log says, at its end they are put where the
log says. (Static bodies would do for reporting a contact, but a car that touches one stops as if it met a wall.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from metadrive.constants import CollisionGroup
from numpy.typing import NDArray
from panda3d.bullet import BulletBoxShape, BulletCylinderShape, BulletGhostNode, BulletRigidBodyNode, BulletWorld
from panda3d.core import BitMask32, LVector3, NodePath, TransformState, Vec3

from harness.engine.config import TICK
from harness.engine.headless import AGENT_TAG
from harness.engine.scene import BODIES, Body

Floats = NDArray[np.float64]

_TRAFFIC_BIT: Final = 12
"""Collision group of replayed bodies: free in MetaDrive's table (`CollisionGroup` ends at 11)."""
_VEHICLE_BIT: Final = 1
_DETECTOR_BIT: Final = 9
_DETECTOR_HEIGHT: Final = 5
"""Collision group and height (m) of stock's neighbour detector (`Lidar.get_broad_phase_detector`)."""
ALL_RAYS: Final = BitMask32.bit(_TRAFFIC_BIT)

Bound = tuple[list[float], list[float], list[float]]
"""Pose, velocity and angular velocity of a body in the last physics tick."""
Bounds = dict[int, Bound]
"""`Bound` per agent."""


@dataclass(slots=True)
class Present:
    """Agents that exist right now, as parallel arrays.

    Attributes:
        agents: [M] indices.
        xy: [M, 2] m, relative to the scene's origin.
        theta: [M] rad.
        velocity: [M, 2] m/s.
        body: [M] `Body`.
        distance: [M] from the ego, m.
    """

    agents: NDArray[np.intp]
    xy: Floats
    theta: Floats
    velocity: Floats
    body: NDArray[np.int8]
    distance: Floats


def make_node(body: Body, *, dynamic: bool) -> BulletRigidBodyNode:
    """A Bullet node with the shape of `body`."""
    spec = BODIES[body]
    node = BulletRigidBodyNode(spec.name)
    if spec.cylinder:
        shape = BulletCylinderShape(spec.length / 2, spec.height)
    else:
        # MetaDrive's boxes are long along the node's own y axis.
        shape = BulletBoxShape(Vec3(spec.width / 2, spec.length / 2, spec.height / 2))
    node.addShape(shape, TransformState.makePos(Vec3(0, 0, spec.lift)))
    node.setIntoCollideMask(BitMask32.bit(_TRAFFIC_BIT))
    if dynamic:
        node.setMass(spec.mass)
        node.setFriction(0.5)
    else:
        node.setStatic(True)
    return node


class _Pool:
    """Bodies by kind, attached to one world while in use."""

    def __init__(self, world: BulletWorld, *, dynamic: bool) -> None:
        self.world = world
        self.dynamic = dynamic
        self._free: dict[int, list[NodePath]] = {body.value: [] for body in Body}
        self.used: dict[int, tuple[int, NodePath]] = {}

    def take(self, agent: int, body: int) -> NodePath:
        """The agent's body, attached."""
        held = self.used.get(agent)
        if held is not None:
            if held[0] == body:
                return held[1]
            self.release(agent)
        spare = self._free[body]
        path = spare.pop() if spare else NodePath(make_node(Body(body), dynamic=self.dynamic))
        path.node().setTag(AGENT_TAG, str(agent))
        self.used[agent] = body, path
        return path

    def attach(self, path: NodePath) -> None:
        node = path.node()
        self.world.attach(node)
        if self.dynamic:
            # Bullet gives a body the world's gravity when it is added.
            node.setGravity(LVector3(0, 0, 0))

    def release(self, agent: int) -> None:
        """Take the agent's body out of the world."""
        body, path = self.used.pop(agent)
        self.world.remove(path.node())
        self._free[body].append(path)

    def release_all(self) -> None:
        for agent in list(self.used):
            self.release(agent)


def _put_in_tick(path: NodePath, bound: Bound, *, before: float = 0.0) -> None:
    """Put a body where it was in the last physics tick, or `before` seconds earlier."""
    (x, y, z, *turned), velocity, spin = bound
    path.setPosHpr(x - velocity[0] * before, y - velocity[1] * before, z, *turned)
    path.node().setLinearVelocity(LVector3(*velocity))
    path.node().setAngularVelocity(LVector3(*spin))
    path.node().setActive(True, True)


class LidarWorld:
    """What the lidar sees."""

    def __init__(self) -> None:
        """An empty world."""
        self.world = BulletWorld()
        self.world.setGroupCollisionFlag(_TRAFFIC_BIT, _DETECTOR_BIT, True)
        self._pool = _Pool(self.world, dynamic=False)
        self._lagging = _Pool(self.world, dynamic=True)
        self.world.setGroupCollisionFlag(_TRAFFIC_BIT, _TRAFFIC_BIT, False)
        self._aside = BulletWorld()
        self._detectors: dict[int, NodePath] = {}

    def clear(self) -> None:
        """Remove everybody."""
        self._pool.release_all()
        self._lagging.release_all()

    def update(self, agents: list[int], bodies: list[int], poses: list[list[float]], bounds: Bounds) -> None:
        """Show exactly these agents.

        Args:
            agents: Indices.
            bodies: `Body` of each.
            poses: x, y, z (m), heading, pitch, roll (degrees) of each.
            bounds: Per agent whose bounding box lags behind (see `Scene.bounds`): its last physics tick.
        """
        wanted = set(agents)
        for pool, keep in ((self._pool, wanted - bounds.keys()), (self._lagging, wanted & bounds.keys())):
            for agent in [agent for agent in pool.used if agent not in keep]:
                pool.release(agent)
        late: list[tuple[NodePath, Bound, list[float]]] = []
        for agent, body, pose in zip(agents, bodies, poses, strict=True):
            pool = self._lagging if agent in bounds else self._pool
            new = agent not in pool.used or pool.used[agent][0] != body
            path = pool.take(agent, body)
            if agent in bounds:
                late.append((path, bounds[agent], pose))
                _put_in_tick(path, bounds[agent], before=TICK)
            else:
                path.setPosHpr(*pose)
            if new:
                pool.attach(path)
        # Rays search Bullet's bounding boxes, which only a simulation step brings up to date.
        self.world.doPhysics(TICK, 1, TICK)
        if late:
            # Bullet widens the bounds of a body that moves on by 5 cm, not those of one that jumped here. Stock's move
            # on, and a ray can meet a body in that margin only, so that a second tick follows.
            for path, bound, _ in late:
                _put_in_tick(path, bound)
            self.world.doPhysics(TICK, 1, TICK)
        for path, _, pose in late:
            path.setPosHpr(*pose)

    def reached(self, x: float, y: float, radius: int) -> set[int]:
        """Agents whose bodies touch an upright cylinder around a point, by Bullet's own narrow phase.

        Stock asks this at every step for its neighbours; here it settles only cases at the very rim.
        """
        if radius not in self._detectors:
            node = BulletGhostNode("detector_mask")
            node.addShape(BulletCylinderShape(radius, _DETECTOR_HEIGHT))
            node.setIntoCollideMask(CollisionGroup.LidarBroadDetector)
            node.setStatic(True)
            # Bullet tests only bodies that belong to some world; in this one there is nothing to meet.
            self._aside.attach(node)
            self._detectors[radius] = NodePath(node)
        detector = self._detectors[radius]
        detector.setPos(x, y, 0.0)
        contacts = self.world.contactTest(detector.node(), True).getContacts()
        nodes = [
            contact.getNode1() if contact.getNode0() == detector.node() else contact.getNode0() for contact in contacts
        ]
        return {int(node.getTag(AGENT_TAG)) for node in nodes}

    def close(self) -> None:
        """Release the bodies."""
        self.clear()
        self._detectors.clear()


class ContactBodies:
    """The agents that the ego could touch within the next step."""

    def __init__(self, world: BulletWorld) -> None:
        """Work in `world`, where the ego drives."""
        self._pool = _Pool(world, dynamic=True)
        world.setGroupCollisionFlag(_TRAFFIC_BIT, _VEHICLE_BIT, True)
        world.setGroupCollisionFlag(_TRAFFIC_BIT, _TRAFFIC_BIT, False)
        for bit in range(2, _TRAFFIC_BIT):
            if bit != int(np.log2(CollisionGroup.LidarBroadDetector.getWord())):
                world.setGroupCollisionFlag(_TRAFFIC_BIT, bit, False)

    def __len__(self) -> int:
        """Number of bodies in the world."""
        return len(self._pool.used)

    def clear(self) -> None:
        """Remove everybody."""
        self._pool.release_all()

    def update(self, agents: list[int], bodies: list[int], poses: list[list[float]], motion: list[list[float]]) -> None:
        """Let exactly these agents be touched during the next step.

        Args:
            agents: Indices.
            bodies: `Body` of each.
            poses: x, y, z (m), heading, pitch, roll (degrees) of each, at the start of the step.
            motion: Velocity x, y (m/s) and angular velocity (rad/s) of each during the step.
        """
        pool = self._pool
        if not agents and not pool.used:
            return
        wanted = set(agents)
        for agent in [agent for agent in pool.used if agent not in wanted]:
            pool.release(agent)
        for agent, body, pose, (vx, vy, spin) in zip(agents, bodies, poses, motion, strict=True):
            new = agent not in pool.used or pool.used[agent][0] != body
            path = pool.take(agent, body)
            path.setPosHpr(*pose)
            if new:
                pool.attach(path)
            node = path.node()
            node.setLinearVelocity(LVector3(vx, vy, 0))
            node.setAngularVelocity(LVector3(0, 0, spin))
            node.setActive(True, True)
