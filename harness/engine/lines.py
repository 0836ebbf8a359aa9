"""Lane lines and road edges as bodies that rays and the ego's box can meet.

Stock MetaDrive makes one ghost node per two metres of line and hangs thousands of them into the world at every
reset. Here a scene has one compound body per kind of line, in a Bullet world of its own: changing the scene is
changing the world. The boxes, and so every reading, are stock's (`ScenarioBlock.create_in_world`,
`BaseBlock._construct_lane_line_segment`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
from metadrive.constants import CollisionGroup, PGDrivableAreaProperty, TerrainProperty
from metadrive.type import MetaDriveType
from metadrive.utils.math import get_polyline_length, norm, resample_polyline
from numpy.typing import NDArray
from panda3d.bullet import BulletBoxShape, BulletGhostNode, BulletWorld
from panda3d.core import LQuaternionf, LVecBase3f, NodePath, TransformState, Vec3

from scenarios.scenario import MapFeature

_INTERVAL = 2
"""Spacing of the segments, m (`ScenarioBlock.create_in_world`)."""
_HEIGHT = PGDrivableAreaProperty.LANE_LINE_GHOST_HEIGHT
_WIDTH = PGDrivableAreaProperty.LANE_LINE_WIDTH


WHITE: Final = (MetaDriveType.LINE_SOLID_SINGLE_WHITE,)
YELLOW: Final = (MetaDriveType.LINE_SOLID_SINGLE_YELLOW,)
BROKEN: Final = (MetaDriveType.LINE_BROKEN_SINGLE_WHITE, MetaDriveType.LINE_BROKEN_SINGLE_YELLOW)
"""Names of the bodies that stock gives continuous white lines and road edges, continuous yellow lines, broken lines."""
LINE_FLAGS: Final = {
    **dict.fromkeys(WHITE, "on_white_continuous_line"),
    **dict.fromkeys(YELLOW, "on_yellow_continuous_line"),
    **dict.fromkeys(BROKEN, "on_broken_line"),
}
"""The flag of the ego that touching each of them sets."""


class LinePiece(NamedTuple):
    """A straight piece of line.

    Attributes:
        kind: Name of the body that stock gives it.
        start, end: [2] m, relative to the scene's origin, in the file's precision.
    """

    kind: str
    start: NDArray[np.floating]
    end: NDArray[np.floating]


def line_pieces(features: Iterable[MapFeature], origin: NDArray[np.floating]) -> Iterator[LinePiece]:
    """The pieces that stock cuts lane lines and road edges into; see `LineWorld` for the arguments."""
    for feature in features:
        kind = _line_kind(feature.type)
        if kind is None or len(feature.points) <= 1:
            continue
        line = _centred(feature.points, origin)
        if get_polyline_length(line) > _INTERVAL * 2:
            line = resample_polyline(line, _INTERVAL)
        # A broken line is every second segment, and never the last one.
        broken = MetaDriveType.is_broken_line(feature.type)
        for index in range(0, len(line) - 2, 2) if broken else range(len(line) - 1):
            start, end = line[index], line[index + 1]
            if TerrainProperty.point_in_map((start + end) / 2) and norm(end[0] - start[0], end[1] - start[1]) > 0:
                yield LinePiece(kind, start, end)


class LineWorld:
    """The lines of one scene, as bodies that are built once they are asked for: packing needs none."""

    def __init__(self, features: Iterable[MapFeature], origin: NDArray[np.floating]) -> None:
        """Take the map; `origin` [2] (m) is where the ego starts, in the map's own frame and dtype."""
        self._features, self._origin = features, origin
        self._nodes: dict[str, BulletGhostNode] = {}
        self._paths: list[NodePath] = []
        self._world: BulletWorld | None = None

    @property
    def world(self) -> BulletWorld:
        """Bullet world that holds nothing else."""
        if self._world is None:
            self._world = BulletWorld()
            CollisionGroup.set_collision_rule(self._world)
            for piece in line_pieces(self._features, self._origin):
                self._add(piece)
            self._paths = [NodePath(node) for node in self._nodes.values()]
            for node in self._nodes.values():
                self._world.attach(node)
        return self._world

    @property
    def segments(self) -> int:
        """Number of boxes in it."""
        return sum(node.getNumShapes() for node in self.world.getGhosts())

    def _add(self, piece: LinePiece) -> None:
        node = self._nodes.get(piece.kind)
        if node is None:
            node = self._nodes[piece.kind] = BulletGhostNode(piece.kind)
            node.setStatic(True)
            node.setIntoCollideMask(
                PGDrivableAreaProperty.BROKEN_COLLISION_MASK
                if MetaDriveType.is_broken_line(piece.kind)
                else PGDrivableAreaProperty.CONTINUOUS_COLLISION_MASK
            )
        middle, direction = (piece.start + piece.end) / 2, piece.end - piece.start
        angle = math.atan2(direction[1], direction[0])
        turn = LQuaternionf(math.cos(angle / 2), 0, 0, math.sin(angle / 2))
        place = TransformState.makePosQuatScale(Vec3(middle[0], middle[1], _HEIGHT / 2), turn, LVecBase3f(1, 1, 1))
        length = norm(*direction)
        node.addShape(BulletBoxShape(Vec3(length / 2, _WIDTH / 4, _HEIGHT)), place)

    def close(self) -> None:
        """Release the bodies."""
        if self._world is not None:
            for node in self._nodes.values():
                self._world.remove(node)
        for path in self._paths:
            path.removeNode()
        self._nodes.clear()
        self._paths.clear()
        self._features = ()


def _line_kind(feature_type: str) -> str | None:
    """Name of the body that stock gives a line of this type, or None for what is no line."""
    if MetaDriveType.is_road_boundary_line(feature_type):
        return MetaDriveType.LINE_SOLID_SINGLE_WHITE
    if not MetaDriveType.is_road_line(feature_type):
        return None
    yellow = MetaDriveType.is_yellow_line(feature_type)
    if MetaDriveType.is_broken_line(feature_type):
        return MetaDriveType.LINE_BROKEN_SINGLE_YELLOW if yellow else MetaDriveType.LINE_BROKEN_SINGLE_WHITE
    return MetaDriveType.LINE_SOLID_SINGLE_YELLOW if yellow else MetaDriveType.LINE_SOLID_SINGLE_WHITE


def _centred(points: NDArray[np.floating], origin: NDArray[np.floating]) -> NDArray[np.floating]:
    """Points [N, 2] minus the origin, in the file's precision: stock shifts float32 maps in float32."""
    return np.asarray(points)[..., :2] - origin.astype(points.dtype)
