"""Height of the ground along simulated paths: models that move agents in the plane follow the road up and down."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from scenarios.scenario import CURRENT_STEP, Scenario


def follow_ground(scenario: Scenario, agents: NDArray[np.intp], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre heights that keep each agent as high above the map as it is at the current step.

    The height of the map is that of the nearest lane or road-edge point in space, seen from the agent's present
    height, so that a bridge is not mistaken for the road below it. Maps without heights leave z as it is.

    Args:
        scenario: Map, and poses at step 10.
        agents: [A] indices.
        points: [R, A, S, 2+] positions, world, m.

    Returns:
        z [R, A, S], m.
    """
    start = scenario.position[agents, CURRENT_STEP]
    level = np.broadcast_to(start[None, :, None, 2], points.shape[:-1])
    lines = [
        feature.points
        for feature in scenario.features
        if (feature.is_lane or feature.is_road_edge) and feature.points.shape[1] == 3 and len(feature.points)
    ]
    if not lines:
        return level.copy()
    ground = np.concatenate(lines).astype(np.float64)
    if np.ptp(ground[:, 2]) < 0.01:
        return level.copy()
    tree = cKDTree(ground)
    below = ground[tree.query(start)[1], 2]
    # Every half metre of a path is enough; standing agents then cost one look-up.
    cells = np.round(points[..., :2] * 2).astype(np.int64)
    rows = np.broadcast_to(np.arange(len(agents))[None, :, None], points.shape[:-1])
    keys, inverse = np.unique(np.concatenate([rows[..., None], cells], -1).reshape(-1, 3), axis=0, return_inverse=True)
    asked = np.concatenate([keys[:, 1:] / 2, start[keys[:, 0], 2:3]], -1)
    found = ground[tree.query(asked)[1], 2]
    return level + (found[inverse.reshape(-1)].reshape(points.shape[:-1]) - below[None, :, None])
