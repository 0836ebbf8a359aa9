"""An ego that stands still in a picture: what sensors and rewards read of the engine's car, without an engine."""

import math
from types import SimpleNamespace

import numpy as np

from harness.engine.bodies import Present
from harness.engine.ego import EgoVehicle
from harness.engine.route import Progress, Route


class FakeEgo:
    """A car on a route, with everything that it touches switched off."""

    local = EgoVehicle.local
    speed_m_s = EgoVehicle.speed_m_s
    max_speed_km_h = 80.0
    crash_vehicle = crash_object = crash_human = crash_building = crash_sidewalk = False
    on_yellow_continuous_line = on_white_continuous_line = False

    def __init__(self, path: np.ndarray, x: float = 0.0, y: float = 0.0, theta: float = 0.0, speed: float = 0.0):
        self.x, self.y, self.theta = x, y, theta
        self.now_heading = self.last_heading = self.forward = (math.cos(theta), math.sin(theta))
        self.right = (math.sin(theta), -math.cos(theta))
        self.vx, self.vy = speed * self.forward[0], speed * self.forward[1]
        self.action, self.steering, self.throttle_brake = (0.0, 0.0), 0.0, 0.0
        self.navigation = Progress()
        self.navigation.begin(Route(path))
        self.navigation.update(x, y)

    def move_to(self, x: float, y: float) -> None:
        """Be somewhere else one step later."""
        self.x, self.y = x, y
        self.navigation.update(x, y)


class FakeTraffic:
    """The agents that sensors may see, with a lidar world or none."""

    def __init__(self, ego: FakeEgo, xy, velocity=None, body=None, theta=None, lidar=None):
        xy = np.asarray(xy, float).reshape(-1, 2)
        count = len(xy)
        distance = np.hypot(xy[:, 0] - ego.x, xy[:, 1] - ego.y)
        theta = np.zeros(count) if theta is None else np.asarray(theta, float)
        velocity = np.zeros((count, 2)) if velocity is None else np.asarray(velocity, float)
        body = np.ones(count, np.int8) if body is None else np.asarray(body, np.int8)
        self.present = Present(np.arange(count), xy, theta, velocity, body, distance)
        self.seen_rows = np.arange(count) if lidar is not None else np.zeros(0, int)
        self.lidar = lidar or SimpleNamespace(reached=lambda *_: set())


def straight(length: float = 100.0) -> np.ndarray:
    """A path along +x, a point every 2 m."""
    x = np.arange(0.0, length + 1e-9, 2.0)
    return np.stack([x, np.zeros_like(x)], axis=-1)


def quarter_circle(radius: float = 50.0) -> np.ndarray:
    """A left turn by 90° about (0, radius), starting at the origin along +x, a point every degree."""
    angle = np.radians(np.arange(91))
    return radius * np.stack([np.sin(angle), 1 - np.cos(angle)], axis=-1)
