"""The ego's observation, number for number as MetaDrive's `LidarStateObservation`, with a fraction of the work."""

from __future__ import annotations

import math
from typing import Final, Protocol

import numpy as np
from metadrive.constants import CollisionGroup
from numpy.typing import NDArray
from panda3d.bullet import BulletWorld
from panda3d.core import LPoint3

from harness.engine.bodies import ALL_RAYS, Present
from harness.engine.config import SensorPreset
from harness.engine.ego import EgoVehicle
from harness.engine.route import REACH
from harness.engine.scene import BODIES, IS_VEHICLE, Body, Scene
from harness.engine.traffic import TrafficManager

Floats = NDArray[np.float64]

_LIDAR_HEIGHT: Final = 1.2
_LINE_HEIGHT: Final = 0.2
"""Heights of the rays, m (`Lidar.DEFAULT_HEIGHT`, `DistanceDetector.DEFAULT_HEIGHT`)."""
_LINE_PHASE: Final = math.radians(90)
"""Direction of the first line ray, rad (`SideDetector`)."""
_SIDE_MASK: Final = CollisionGroup.ContinuousLaneLine | CollisionGroup.Sidewalk
_LANE_MASK: Final = _SIDE_MASK | CollisionGroup.BrokenLaneLine
_MAX_STEERING: Final = 60.0
"""Scale of the steering value (`BaseVehicle.MAX_STEERING`; stock divides the action by it, not the angle)."""
_MAX_LANE_WIDTH: Final = 4.5
_RIM: Final = 0.5
"""Vehicles this close to the sensing range (m) are judged by Bullet itself."""
_HALF_LENGTH: Final = np.array([BODIES[body].length / 2 for body in Body])
_HALF_WIDTH: Final = np.array([BODIES[body].width / 2 for body in Body])


class Observer(Protocol):
    """Computes the observations of one preset."""

    def begin(self, scene: Scene, horizon: int) -> None:
        """Begin an episode of `horizon` steps."""
        ...

    def observe(self, ego: EgoVehicle, traffic: TrafficManager, step: int) -> NDArray[np.float32]:
        """Observation [size] after absolute step `step`; to be asked for once a step."""
        ...


def make_sensors(preset: SensorPreset) -> Observer:
    """The sensors of a preset."""
    if preset.route:
        # It needs the compiler, which takes a second to import.
        from harness.engine.route_sensing import RouteSensors

        return RouteSensors()
    return Sensors(preset)


class Sensors:
    """Computes the observations of MetaDrive's own layout.

    Layout (all in [0, 1]): side rays; heading error, speed, steering, last action (2); yaw rate; lane-line rays (or
    route offset); 9 way points (ahead, twice), route offset, route heading error, two zeros; neighbours (ahead, left,
    relative velocity ahead, left); lidar rays.
    """

    def __init__(self, preset: SensorPreset) -> None:
        """Prepare ray directions."""
        self.preset = preset
        self._lidar_angles = np.arange(preset.lidar) * (2 * np.pi / max(preset.lidar, 1))
        self._side_angles = [(i * (2 * np.pi / max(preset.side, 1))) + _LINE_PHASE for i in range(preset.side)]
        self._lane_angles = [
            (i * (2 * np.pi / max(preset.lane_line, 1))) + _LINE_PHASE for i in range(preset.lane_line)
        ]

    def begin(self, scene: Scene, horizon: int) -> None:
        """Rays meet the scene's own lines."""
        self._lines = scene.lines.world

    def observe(self, ego: EgoVehicle, traffic: TrafficManager, step: int) -> NDArray[np.float32]:
        """Observation [size] of the present moment."""
        if self.preset.blind:
            return np.zeros(0, np.float32)
        lines = self._lines
        values = self._rays(ego, lines, self._side_angles, _SIDE_MASK) or [0.0, 0.0]
        values += self._driving(ego)
        values += self._rays(ego, lines, self._lane_angles, _LANE_MASK) or [self._offset(ego)]
        seen = self._navigation(ego), self._neighbours(ego, traffic), self._lidar(ego, traffic)
        return np.concatenate([np.asarray(values), *seen]).astype(np.float32)

    def _rays(self, ego: EgoVehicle, world: BulletWorld, angles: list[float], mask: object) -> list[float]:
        x, y, theta, reach = ego.x, ego.y, ego.theta, self.preset.distance
        start, test = LPoint3(x, y, _LINE_HEIGHT), world.rayTestClosest
        cos, sin = math.cos, math.sin
        return [
            test(
                start, LPoint3(reach * cos(angle + theta) + x, reach * sin(angle + theta) + y, _LINE_HEIGHT), mask
            ).getHitFraction()
            for angle in angles
        ]

    def _driving(self, ego: EgoVehicle) -> list[float]:
        heading, last = ego.now_heading, ego.last_heading
        cosine = (heading[0] * last[0] + heading[1] * last[1]) / (math.hypot(*heading) * math.hypot(*last))
        yaw_rate = math.acos(min(max(cosine, 0.0), 1.0)) / 0.1
        speed = ego.speed_m_s * 3.6
        steering, throttle = ego.action
        return [
            ego.navigation.heading_error(heading),
            _unit((speed + 1) / (ego.max_speed_km_h + 1)),
            _unit((ego.steering / _MAX_STEERING + 1) / 2),
            _unit((steering + 1) / 2),
            _unit((throttle + 1) / 2),
            _unit(yaw_rate),
        ]

    def _offset(self, ego: EgoVehicle) -> float:
        return _unit((float(ego.navigation.current_lateral) * 2 / _MAX_LANE_WIDTH + 1) / 2)

    def _navigation(self, ego: EgoVehicle) -> Floats:
        progress = ego.navigation
        values = np.zeros(22)
        gap = progress.reference_trajectory.marks_ahead(progress.current_longitude) - (ego.x, ego.y)
        far = np.hypot(gap[:, 0], gap[:, 1])
        gap *= np.where(far > REACH, REACH / np.maximum(far, 1e-9), 1.0)[:, None]
        ahead, _ = ego.local(gap)
        # Stock means to write (ahead, left) but unpacks the pair so that both numbers are `ahead`; policies trained
        # there know it no other way.
        values[0:18:2] = values[1:18:2] = (ahead / REACH + 1) / 2
        values[18] = (float(progress.current_lateral) / self.preset.max_lateral + 1) / 2
        error = (progress.current_heading_theta_at_long - ego.theta) % (2 * math.pi)
        values[19] = ((error - 2 * math.pi * (error > math.pi)) / math.pi + 1) / 2
        return np.clip(values, 0.0, 1.0, out=values)

    def _neighbours(self, ego: EgoVehicle, traffic: TrafficManager) -> Floats:
        preset, present = self.preset, traffic.present
        values = np.zeros((preset.others, 4))
        if not preset.others:
            return values.ravel()
        gap = self._nearest_gap(ego, present) - preset.distance
        rows = np.flatnonzero(IS_VEHICLE[present.body] & (gap <= _RIM))
        rows = rows[np.argsort(present.distance[rows], kind="stable")]
        if (gap[rows[: preset.others]] > -_RIM).any():
            # Bullet's margins decide who is just inside.
            reached = traffic.lidar.reached(ego.x, ego.y, int(preset.distance))
            rows = rows[[int(agent) in reached for agent in present.agents[rows]]]
        rows = rows[: preset.others]
        if len(rows):
            place = np.stack(ego.local(present.xy[rows] - (ego.x, ego.y)), axis=-1)
            motion = np.stack(ego.local((present.velocity[rows] - (ego.vx, ego.vy)) * 3.6), axis=-1)
            values[: len(rows), :2] = (place / preset.distance + 1) / 2
            values[: len(rows), 2:] = (motion / ego.max_speed_km_h + 1) / 2
        return np.clip(values, 0.0, 1.0, out=values).ravel()

    @staticmethod
    def _nearest_gap(ego: EgoVehicle, present: Present) -> Floats:
        """Distance [M] from the ego's origin to the nearest point of each agent's box, m."""
        offset = np.array([ego.x, ego.y]) - present.xy
        cos, sin = np.cos(present.theta), np.sin(present.theta)
        along = np.abs(cos * offset[:, 0] + sin * offset[:, 1]) - _HALF_LENGTH[present.body]
        across = np.abs(cos * offset[:, 1] - sin * offset[:, 0]) - _HALF_WIDTH[present.body]
        return np.hypot(np.maximum(along, 0.0), np.maximum(across, 0.0))

    def _lidar(self, ego: EgoVehicle, traffic: TrafficManager) -> list[float]:
        """Only rays that can meet somebody are cast."""
        preset = self.preset
        fractions = [1.0] * preset.lidar
        rows = traffic.seen_rows
        if not len(rows):
            return fractions
        x, y, reach = ego.x, ego.y, preset.distance
        start, test = LPoint3(x, y, _LIDAR_HEIGHT), traffic.lidar.world.rayTestClosest
        angles = self._lidar_angles + ego.theta
        for index in self._candidates(ego, traffic.present, rows):
            angle = angles[index]
            end = LPoint3(reach * math.cos(angle) + x, reach * math.sin(angle) + y, _LIDAR_HEIGHT)
            fractions[index] = test(start, end, ALL_RAYS).getHitFraction()
        return fractions

    def _candidates(self, ego: EgoVehicle, present: Present, rows: NDArray[np.intp]) -> list[int]:
        """Rays within the circle around any agent's box (stock's mask, a little wider)."""
        spacing = 2 * np.pi / self.preset.lidar
        body = present.body[rows]
        span = np.hypot(_HALF_LENGTH[body], _HALF_WIDTH[body]) + 0.2
        offset = present.xy[rows] - (ego.x, ego.y)
        half = np.arcsin(np.minimum(span / np.maximum(present.distance[rows], 1e-6), 1.0))
        half = np.where(present.distance[rows] <= span, np.pi, half)
        centre = np.arctan2(offset[:, 1], offset[:, 0]) - ego.theta
        gap = np.abs((self._lidar_angles[:, None] - centre + np.pi) % (2 * np.pi) - np.pi)
        return np.flatnonzero((gap <= half + 0.01 * spacing).any(axis=1)).tolist()


def _unit(value: float) -> float:
    return min(max(float(value), 0.0), 1.0)
