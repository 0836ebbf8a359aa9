"""Contacts between the car and others."""

import math

import numpy as np
import pytest

from harness.engine.scene import Body
from harness.fast import bodies, contacts, overlap
from harness.fast.overlap import (
    AGENT,
    COUNT,
    HALF_L,
    HALF_W,
    HEADING,
    HIGHEST,
    INV_M,
    INV_P,
    INV_R,
    INV_Y,
    LOWEST,
    MIDDLE,
    PX,
    PY,
    ROUND,
    SX,
    TOUCHED,
    WZ,
)
from harness.fast.vehicle import LENGTH, MASS, OZ, STATE, VX, VY, WIDTH, X, Y, Z, place, rotation_of

TABLE = bodies.body_table()


def ego(x=0.0, y=0.0, heading=0.0, vx=0.0, vy=0.0):
    body = np.zeros(STATE)
    place(body, x, y, heading, vx, vy)
    body[Z] = 0.5375
    return body


def neighbour(x, y, heading=0.0, vx=0.0, body=Body.MEDIUM):
    other, row = np.zeros(overlap.OTHER), TABLE[body]
    other[[PX, PY, HEADING, SX]] = x, y, heading, vx
    other[[HALF_L, HALF_W, INV_M]] = row[[bodies.HALF_LENGTH, bodies.HALF_WIDTH, bodies.INV_MASS]]
    other[[INV_R, INV_P, INV_Y]] = row[[bodies.INV_ROLL, bodies.INV_PITCH, bodies.INV_YAW]]
    other[[LOWEST, HIGHEST, MIDDLE]] = row[[bodies.LOW, bodies.HIGH, bodies.CENTRE]]
    other[[ROUND, AGENT]] = row[bodies.CYLINDER], 3
    return other


def turned(body):
    return rotation_of(*body[3:7])


def meets(body, other):
    return overlap.touches(overlap.outline(body, turned(body)), other)


def test_boxes_meet_where_they_overlap():
    gap = (LENGTH + 4.6) / 2
    assert meets(ego(), neighbour(gap - 0.01, 0.0))
    assert not meets(ego(), neighbour(gap + 0.01, 0.0))
    aside = (WIDTH + 1.85) / 2
    assert meets(ego(heading=math.pi / 2), neighbour(aside - 0.01, 0.0, math.pi / 2))
    assert not meets(ego(heading=math.pi / 2), neighbour(aside + 0.01, 0.0, math.pi / 2))


def test_a_cylinder_meets_at_its_radius():
    reach = LENGTH / 2 + 0.35 + overlap.CYLINDER_MARGIN
    assert meets(ego(), neighbour(reach - 0.005, 0.0, body=Body.PEDESTRIAN))
    assert not meets(ego(), neighbour(reach + 0.005, 0.0, body=Body.PEDESTRIAN))


@pytest.mark.parametrize(
    ("x", "y", "heading", "faces"), [(4.5, 0.3, 0.0, (1, 0)), (0.2, -1.8, 0.0, (0, -1)), (3.9, 0.5, 1.0, None)]
)
def test_points_lie_inside_both_boxes_and_point_towards_the_other(x, y, heading, faces):
    body, other, points = ego(), neighbour(x, y, heading), np.zeros((2, 5))
    overlap.find_points(overlap.outline(body, turned(body)), other, points)
    assert other[COUNT] > 0
    for point in points[: int(other[COUNT])]:
        assert point[2] >= 0
        assert np.hypot(*point[3:]) == pytest.approx(1.0)
        assert point[3:] @ (x, y) > 0
        if faces:
            assert point[3:] == pytest.approx(faces)


def momentum(body, others):
    return MASS * body[VX] + sum(row[SX] / row[INV_M] for row in others)


def test_a_collision_keeps_momentum_and_ends_the_approach():
    body, others = ego(vx=10.0), neighbour((LENGTH + 4.6) / 2 - 0.02, 0.0)[None]
    before = momentum(body, others)
    contacts.meet(body, turned(body), others, 1, np.zeros((1, 2, 5)), np.zeros((contacts.POINTS, contacts.POINT)))
    assert momentum(body, others) == pytest.approx(before)
    assert body[VX] < 10.0
    assert others[0, SX] - body[VX] > -0.2
    assert others[0, TOUCHED] == 1.0
    assert abs(body[VY]) < 1e-6
    assert abs(body[OZ]) < 1e-6


def test_a_hit_beside_the_middle_turns_the_car():
    body, others = ego(vx=10.0), neighbour((LENGTH + 4.6) / 2 - 0.02, 1.2)[None]
    contacts.meet(body, turned(body), others, 1, np.zeros((1, 2, 5)), np.zeros((contacts.POINTS, contacts.POINT)))
    # Pushed back at its left front corner.
    assert body[OZ] > 0.1
    assert others[0, WZ] > 0.1


def test_without_contact_the_others_move_on_as_they_were():
    body, others = ego(vx=10.0), neighbour(12.0, 0.0, vx=5.0)[None]
    contacts.meet(body, turned(body), others, 1, np.zeros((1, 2, 5)), np.zeros((contacts.POINTS, contacts.POINT)))
    assert others[0, [PX, SX, TOUCHED]] == pytest.approx((12.1, 5.0, 0.0))
    assert body[[X, Y, VX]] == pytest.approx((0.0, 0.0, 10.0))


def test_kinds_of_bodies():
    kinds = [int(TABLE[body, bodies.CLASS]) for body in (Body.TRUCK, Body.CYCLIST, Body.CONE)]
    assert kinds == [bodies.VEHICLE, bodies.HUMAN, bodies.OBJECT]
    assert TABLE[Body.SMALL, bodies.INV_MASS] == pytest.approx(1 / 800)
    assert bool(TABLE[Body.CYCLIST, bodies.TURNED])
    assert not TABLE[Body.SMALL, bodies.TURNED]
