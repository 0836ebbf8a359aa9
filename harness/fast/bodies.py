"""The other agents' bodies as the contact kernels see them: upright boxes and cylinders with mass.

Dimensions and masses are the engine's own (`harness.engine.scene.BODIES`); inertia is a box's, as Panda3D computes it
for cylinders too.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.engine.scene import BODIES, Body

HALF_LENGTH, HALF_WIDTH, INV_MASS, INV_ROLL, INV_PITCH, INV_YAW, LOW, HIGH, CENTRE, CYLINDER, TURNED, CLASS = range(12)
"""Columns of `body_table`: half extents (m), inverse mass (1/kg) and inertia (1/(kg m²)) about the long, the short and
the upright axis, lowest, highest and origin's height (m), flags, and what a contact with it counts as."""
VEHICLE, HUMAN, OBJECT = range(3)
"""Classes of contacts."""


def body_table() -> NDArray[np.float64]:
    """One row per `Body`, see the columns above."""
    table = np.zeros((len(Body), 12))
    for body, spec in BODIES.items():
        length, width, height, mass = spec.length, spec.width, spec.height, spec.mass
        roll, pitch, yaw = width**2 + height**2, length**2 + height**2, length**2 + width**2
        table[body, [HALF_LENGTH, HALF_WIDTH, INV_MASS]] = length / 2, width / 2, 1 / mass
        table[body, [INV_ROLL, INV_PITCH, INV_YAW]] = 12 / mass / np.array([roll, pitch, yaw])
        middle = spec.base + spec.lift
        table[body, [LOW, HIGH, CENTRE]] = middle - height / 2, middle + height / 2, spec.base
        # MetaDrive's boxes are long along the node's y axis, and only vehicles' nodes are turned to make up for it.
        table[body, [CYLINDER, TURNED]] = spec.cylinder, spec.turn == 0
        table[body, CLASS] = _class_of(body)
    return table


def _class_of(body: Body) -> int:
    if body <= Body.TRUCK:
        return VEHICLE
    return HUMAN if body in (Body.PEDESTRIAN, Body.CYCLIST) else OBJECT


COLUMNS: Final = 12
