"""Bodies of logged agents do what stock's do: under the lidar's rays, and on their way from one step to the next."""

import dataclasses

import numpy as np
from panda3d.bullet import BulletWorld
from panda3d.core import LPoint3, LVector3, NodePath, Vec3

from harness.engine.bodies import ALL_RAYS, ContactBodies, LidarWorld, make_node
from harness.engine.scene import BODIES, Body, parse_scene
from harness.engine.settling import GroundWorld, Settler, build_car
from tests.scenes import LANE_WIDTH, Agent, straight_road

TICK = 0.02
SUBSTEPS = 5
SPEED = 7.0
DRIFT = 0.06
"""What the log adds sideways to every 0.1 s, m, and its velocity does not know."""


def ray(world, across):
    """Fraction at which a ray along +x meets somebody."""
    return world.rayTestClosest(LPoint3(-20, across, 1.2), LPoint3(80, across, 1.2), ALL_RAYS).getHitFraction()


def logged(step):
    """Stock's cyclists lie across their way: one step is farther than this one is wide."""
    return [SPEED * step * TICK * SUBSTEPS, DRIFT * step, BODIES[Body.CYCLIST].base, 0.0, 0.0, 0.0]


def test_rays_meet_a_body_that_lags_behind_its_log_as_they_meet_stocks():
    """Stock moves a cyclist with Bullet and then shifts it; its bounds still lie where Bullet had moved it."""
    theirs = BulletWorld()
    cyclist = NodePath(make_node(Body.CYCLIST, dynamic=True))
    theirs.attach(cyclist.node())
    cyclist.node().setGravity(LVector3(0, 0, 0))
    cyclist.setPosHpr(*logged(0))
    ours = LidarWorld()
    ours.update([0], [Body.CYCLIST], [logged(0)], {})
    for step in range(1, 6):
        cyclist.node().setLinearVelocity(LVector3(SPEED, 0, 0))
        cyclist.node().setActive(True, True)
        for _ in range(SUBSTEPS):
            theirs.doPhysics(TICK, 1, TICK)
        bound = ([*cyclist.getPos(), *cyclist.getHpr()], [SPEED, 0.0, 0.0], [0.0, 0.0, 0.0])
        cyclist.setPosHpr(*logged(step))
        ours.update([0], [Body.CYCLIST], [logged(step)], {0: bound})
    edge = logged(5)[1] + BODIES[Body.CYCLIST].length / 2
    places = edge + np.linspace(-0.1, 0.05, 61)
    expected = [ray(theirs, place) for place in places]
    found = [ray(ours.world, place) for place in places]
    theirs.remove(cyclist.node())
    ours.close()
    assert min(expected) < 1.0, "some rays must hit"
    assert max(expected) == 1.0, "some rays must pass"
    assert np.allclose(found, expected, atol=1e-6)


def slide():
    """A car that drifts towards the middle of the road while it points along it, and one that also turns."""
    scene = straight_road(extra=[Agent("turner", 40.0, LANE_WIDTH, 0.0, 6.0)])
    velocity, heading = scene.velocity.copy(), scene.heading.copy()
    velocity[1:, :, 1] = -0.8
    heading[2] = np.linspace(0.0, -3.0, scene.num_steps)
    position = scene.position.copy()
    position[1:, :, 1] -= 0.08 * np.arange(scene.num_steps)
    return dataclasses.replace(scene, velocity=velocity, heading=heading, position=position)


def after_wheel_physics(scene, agent, steps):
    """Pose x, y (m) and heading (degrees) at the end of the step that follows `steps` logged ones."""
    ground = GroundWorld()
    body = Body(int(scene.body[agent, 0]))
    car = build_car(ground.world, body)
    for wheel in range(4):
        car.system.setBrake(2.0, wheel)
    car.path.setPos(0, 0, BODIES[body].height / 2)
    ground.world.attach(car.node)
    ground.world.attach(car.system)
    for step in range(steps + 1):
        if step:
            for _ in range(SUBSTEPS):
                ground.world.doPhysics(TICK, 1, TICK)
        car.path.setPos(Vec3(*scene.xy[agent, step], car.path.getZ()))
        car.path.setH(scene.node_heading[agent, step])
        car.node.setLinearVelocity(LVector3(*scene.velocity[agent, step], car.node.getLinearVelocity()[2]))
        car.node.setAngularVelocity(LVector3(0, 0, scene.spin[agent, step]))
    pose = one_step(ground.world, car.path)
    ground.world.remove(car.system)
    ground.close()
    return pose


def one_step(world, path):
    """Where 0.1 s take a body: Panda3D shows it one tick late."""
    for _ in range(SUBSTEPS + 1):
        world.doPhysics(TICK, 1, TICK)
    return np.array([path.getX(), path.getY(), path.getH()])


def test_touchable_bodies_end_a_step_where_wheel_physics_leaves_the_car():
    scene = parse_scene(slide(), static_vehicles=False)
    settler = Settler()
    settler.settle_scene(scene)
    settler.close()
    step = 12
    for agent in (1, 2):
        expected = after_wheel_physics(scene, agent, step)
        pose = [*scene.xy[agent, step], scene.tilt[agent, step, 0], scene.node_heading[agent, step]]
        as_logged = pose[1] + scene.velocity[agent, step, 1] * SUBSTEPS * TICK
        assert abs(expected[1] - as_logged) > 0.02, "tyres must resist, or this tests nothing"
        world = BulletWorld()
        contacts = ContactBodies(world)
        body = int(scene.body[agent, step])
        contacts.update([agent], [body], [[*pose, 0.0, 0.0]], [scene.motion[agent, step].tolist()])
        found = one_step(world, contacts._pool.used[agent][1])
        contacts.clear()
        assert np.allclose(found[:2], expected[:2], atol=1e-3)
        assert abs((found[2] - expected[2] + 180) % 360 - 180) < 0.05
    scene.close()
