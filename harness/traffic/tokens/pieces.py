"""The road map as pieces of 5 m: where each lies, its shape token, what it is, and the light that controls it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.geometry import arc_lengths, interpolate_polyline
from harness.traffic.tokens.analytic import centred
from harness.traffic.tokens.vocabulary import PIECE_POINTS, Vocabulary
from scenarios.scenario import MapFeature, Scenario

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PIECE_LENGTH: Final = 5.0
"""A line is cut into equal pieces of at most this many metres (SMART cuts exactly 5 m and keeps the tail)."""
_THIN: Final = (1.5, np.deg2rad(15.0))
"""Pieces of one kind whose middle and direction fall into the same cell (m, rad) are one: at junctions the lanes of
all movements begin alike, and would crowd everything else out of an agent's nearest pieces."""


class PieceKind(IntEnum):
    """What a map piece belongs to."""

    FREEWAY = 0
    STREET = 1
    STOP_SIGN_LANE = 2
    BIKE = 3
    BOUNDARY = 4
    MEDIAN = 5
    BROKEN_LINE = 6
    SOLID_LINE = 7
    CROSSWALK = 8
    OTHER = 9


class Light(IntEnum):
    """Traffic light of the lane of a piece."""

    NONE = 0
    UNKNOWN = 1
    STOP = 2
    CAUTION = 3
    GO = 4


EDGES: Final = (PieceKind.BOUNDARY, PieceKind.MEDIAN)


class Pieces(NamedTuple):
    """M pieces of one map.

    Attributes:
        pose: [M, 3] middle (m) and direction (rad), world frame, float64.
        token: [M] shape token.
        kind: [M] `PieceKind`.
        light: [M] `Light` at the step asked for.
        feature: [M] index of the map feature in the scenario.
    """

    pose: Floats
    token: Ints
    kind: Ints
    light: Ints
    feature: Ints

    def take(self, rows: NDArray[np.intp]) -> Pieces:
        """Some of the pieces."""
        return Pieces(self.pose[rows], self.token[rows], self.kind[rows], self.light[rows], self.feature[rows])


def piece_kind(feature: MapFeature) -> PieceKind:
    """The kind of a map feature (stop signs are attributes of lanes, see `map_pieces`)."""
    name = feature.type
    if feature.is_lane:
        if "BIKE" in name:
            return PieceKind.BIKE
        return PieceKind.FREEWAY if "FREEWAY" in name else PieceKind.STREET
    if feature.is_road_edge:
        return PieceKind.MEDIAN if "MEDIAN" in name else PieceKind.BOUNDARY
    if name.startswith("ROAD_LINE") or name.startswith("LINE"):
        return PieceKind.BROKEN_LINE if "BROKEN" in name else PieceKind.SOLID_LINE
    return PieceKind.CROSSWALK if name == "CROSSWALK" else PieceKind.OTHER


def cut(points: NDArray[np.floating], closed: bool) -> Floats:
    """Pieces [n, 3, 2] (start, middle, end) of a polyline [N, 2], or of the outline of a polygon."""
    line = np.asarray(points[:, :2], dtype=np.float64)
    line = line[np.isfinite(line).all(-1)]
    if closed and len(line) > 2:
        line = np.concatenate([line, line[:1]])
    if len(line) < 2:
        return np.zeros((0, PIECE_POINTS, 2))
    length = arc_lengths(line)[-1]
    if length < 0.1:
        return np.zeros((0, PIECE_POINTS, 2))
    count = int(np.ceil(length / PIECE_LENGTH))
    marks, _ = interpolate_polyline(line, np.linspace(0.0, length, 2 * count + 1))
    return np.stack([marks[:-2:2], marks[1:-1:2], marks[2::2]], 1)


def lane_lights(scenario: Scenario, step: int) -> dict[str, Light]:
    """Light of each controlled lane at `step`; never looks at a later one."""
    found: dict[str, Light] = {}
    for key, light in scenario.lights.items():
        states = light.get("state", {}).get("object_state", ())
        if step >= len(states) or not states[step]:
            continue
        name = str(states[step]).upper()
        if "STOP" in name or "RED" in name:
            value = Light.STOP
        elif "CAUTION" in name or "YELLOW" in name:
            value = Light.CAUTION
        elif "GO" in name or "GREEN" in name:
            value = Light.GO
        else:
            value = Light.UNKNOWN
        found[str(light.get("lane", key))] = value
    return found


def _stop_sign_lanes(features: Sequence[MapFeature]) -> set[str]:
    """Ids of lanes that a stop sign controls."""
    lanes: set[str] = set()
    for feature in features:
        if feature.type == "STOP_SIGN":
            controlled = feature.extras.get("lane", ())
            lanes.update(str(lane) for lane in np.atleast_1d(np.asarray(controlled)).tolist())
    return lanes


def nearest_pieces(shapes: Floats, vocabulary: Vocabulary) -> Ints:
    """Shape token [M] of pieces [M, 3, 2] in their own frame: least mean squared distance over the three points."""
    flat = shapes.reshape(len(shapes), shapes.shape[1] * shapes.shape[2])
    known = vocabulary.pieces.reshape(len(vocabulary.pieces), -1).astype(np.float64)
    squared = (flat**2).sum(-1)[:, None] - 2 * flat @ known.T + (known**2).sum(-1)
    return np.asarray(squared.argmin(-1), dtype=np.int64)


def shapes_of(features: Sequence[MapFeature]) -> tuple[Floats, list[int]]:
    """All pieces [M, 3, 2] in the world, and the number of pieces of each feature."""
    parts = [cut(feature.points, feature.closed) for feature in features]
    counts = [len(part) for part in parts]
    return np.concatenate([np.zeros((0, PIECE_POINTS, 2)), *parts]), counts


def map_pieces(scenario: Scenario, vocabulary: Vocabulary, step: int, *, lines: bool = False) -> Pieces:
    """The map of a scene as pieces.

    Args:
        scenario: The scene.
        vocabulary: Shape tokens.
        step: Whose traffic lights.
        lines: Whether lane markings are pieces too; the lanes' centre lines say nearly the same, at half the cost.
    """
    rows = [row for row, feature in enumerate(scenario.features) if len(feature.points) > 1]
    kinds = {row: piece_kind(scenario.features[row]) for row in rows}
    if not lines:
        rows = [row for row in rows if kinds[row] not in (PieceKind.BROKEN_LINE, PieceKind.SOLID_LINE)]
    signs = _stop_sign_lanes(scenario.features)
    for row in rows:
        if kinds[row] == PieceKind.STREET and scenario.features[row].id in signs:
            kinds[row] = PieceKind.STOP_SIGN_LANE
    shapes, counts = shapes_of([scenario.features[row] for row in rows])
    chord = shapes[:, 2] - shapes[:, 0]
    pose = np.concatenate([shapes[:, 1], np.arctan2(chord[:, 1], chord[:, 0])[:, None]], -1)
    feature = np.repeat(np.array(rows, dtype=np.int64), counts)
    return Pieces(
        pose,
        nearest_pieces(centred(shapes), vocabulary),
        np.repeat(np.array([kinds[row] for row in rows], dtype=np.int64), counts),
        piece_lights(scenario, feature, step),
        feature,
    )


def piece_lights(scenario: Scenario, feature: Ints, step: int) -> Ints:
    """`Light` [M] at a step of pieces that belong to map features [M]."""
    lights = lane_lights(scenario, step)
    own = [lights.get(item.id, Light.NONE) if item.is_lane else Light.NONE for item in scenario.features]
    return np.array(own, dtype=np.int64)[feature]


def thin(pieces: Pieces) -> Pieces:
    """Drop pieces that lie on top of another one of the same kind and light (give poses in a canonical frame)."""
    cells = np.stack(
        [
            np.round(pieces.pose[:, 0] / _THIN[0]),
            np.round(pieces.pose[:, 1] / _THIN[0]),
            np.round(pieces.pose[:, 2] / _THIN[1]) % round(2 * np.pi / _THIN[1]),
            pieces.kind,
            pieces.light,
        ],
        -1,
    ).astype(np.int64)
    _, rows = np.unique(cells, axis=0, return_index=True)
    return pieces.take(np.sort(rows))
