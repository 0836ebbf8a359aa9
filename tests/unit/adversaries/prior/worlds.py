"""Scenes whose vehicles do things that constant velocity cannot foresee: they follow a bend, or brake for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from adversaries.prior.config import PriorConfig
from adversaries.prior.network import GoalNetwork
from adversaries.prior.prior import MotionPrior
from scenarios.scenario import Kind, MapFeature, Scenario

SMALL = PriorConfig(hidden=32, heads=2, layers=1, dropout=0.0, max_lanes=24, max_edges=16, max_agents=6, lane_goals=96)
STEPS = 91
RADIUS = 30.0


def untrained(config: PriorConfig = SMALL, seed: int = 0) -> MotionPrior:
    torch.manual_seed(seed)
    return MotionPrior(GoalNetwork(config))


def bend(start: float, speed: float, acceleration: float, sign: float = 1.0, name: str = "bend") -> Scenario:
    """A lane along +x that turns by 90° (radius 30 m) at x = 0; one car on it, `start` metres along from x = -80.

    The car's place along the lane is start + v t + a t² / 2, so every row is known.
    """
    straight_in = np.stack([np.linspace(-80, 0, 41), np.zeros(41)], -1)
    angle = np.linspace(0, np.pi / 2, 31)[1:]
    arc = np.stack([RADIUS * np.sin(angle), sign * RADIUS * (1 - np.cos(angle))], -1)
    out = np.stack([np.full(60, RADIUS), sign * (RADIUS + np.linspace(2, 120, 60))], -1)
    first, second = straight_in, np.concatenate([straight_in[-1:], arc, out])
    features = (
        MapFeature("in", "LANE_SURFACE_STREET", first, exit=("out",)),
        MapFeature("out", "LANE_SURFACE_STREET", second, entry=("in",)),
        MapFeature("edge", "ROAD_EDGE_BOUNDARY", first - np.array([0.0, sign * 2.5])),
    )
    time = np.arange(STEPS) * 0.1
    along = start + speed * time + 0.5 * acceleration * time**2
    now = speed + acceleration * time
    line = np.concatenate([first, second[1:]])
    arc_length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    xy = np.stack([np.interp(along, arc_length, line[:, c]) for c in range(2)], -1)
    heading = np.arctan2(*np.gradient(xy, axis=0).T[::-1])
    return scene_of([(xy, heading, now)], features, name)


def scene_of(
    tracks: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], features: tuple[MapFeature, ...], name: str
) -> Scenario:
    """Cars from (positions [T, 2], headings [T], speeds [T])."""
    count = len(tracks)
    position = np.zeros((count, STEPS, 3))
    heading, velocity = np.zeros((count, STEPS)), np.zeros((count, STEPS, 2))
    for row, (xy, angle, speed) in enumerate(tracks):
        position[row, :, :2] = xy
        heading[row] = angle
        velocity[row] = speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    return Scenario(
        id=name,
        dt=0.1,
        agent_ids=tuple(f"car{k}" for k in range(count)),
        kinds=np.full(count, Kind.VEHICLE, dtype=np.int8),
        position=position,
        heading=heading,
        velocity=velocity,
        size=np.broadcast_to(np.array([4.5, 2.0, 1.5]), (count, STEPS, 3)).copy(),
        valid=np.ones((count, STEPS), dtype=bool),
        features=features,
        ego=0,
    )


class Listed:
    """A scenario source over a list."""

    def __init__(self, scenes: Sequence[Scenario]) -> None:
        self.scenes = list(scenes)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(scene.id for scene in self.scenes)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Scenario:
        return self.scenes[index]
