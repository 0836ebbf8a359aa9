"""Exported files read back: against the standards' schemas, and as positions. No simulator is needed.

The schemas come with the `scenariogeneration` library (OpenSCENARIO 1.0 to 1.3.1, OpenDRIVE 1.7).
"""

from __future__ import annotations

import functools
import importlib.resources
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError, RunError

Floats = NDArray[np.float64]

SCHEMAS: Final = {".xosc": "OpenSCENARIO_1_2.xsd", ".xodr": "opendrive_17_core.xsd"}


class Track(NamedTuple):
    """One stretch of an entity's track.

    Attributes:
        entity: Name.
        times: [N] s.
        poses: [N, 3] middle of the box (m) and heading (rad), in the file's coordinates.
        size: [2] length and width of the box, m.
    """

    entity: str
    times: Floats
    poses: Floats
    size: tuple[float, float]


def schema_errors(path: Path) -> list[str]:
    """What the standard's XML schema has against a file; empty if it is valid.

    Raises:
        ConfigError: The schemas are not installed.
    """
    return [f"{error.path}: {error.reason}" for error in _schema(SCHEMAS[path.suffix]).iter_errors(str(path))]


@functools.cache
def _schema(name: str) -> Any:
    try:
        import xmlschema

        folder = importlib.resources.files("schemas")
    except ImportError as error:
        raise ConfigError(
            f"checking exported files needs the scenariogeneration library ({error}). "
            "Install it: pip install 'gauntlet-drive[openscenario]'."
        ) from error
    return xmlschema.XMLSchema(str(folder / name))


def read_tracks(path: Path) -> list[Track]:
    """Where everybody is, by an OpenSCENARIO file alone.

    Raises:
        RunError: The file cannot be read.
    """
    root = _parse(path)
    boxes = {}
    for item in root.iter("ScenarioObject"):
        centre, size = item.find(".//BoundingBox/Center"), item.find(".//BoundingBox/Dimensions")
        if centre is not None and size is not None:
            boxes[item.get("name")] = (_number(centre, "x"), _number(size, "length"), _number(size, "width"))
    tracks = []
    for group in root.iter("ManeuverGroup"):
        actor = group.find("Actors/EntityRef")
        name = "" if actor is None else str(actor.get("entityRef"))
        ahead, length, width = boxes[name]
        for line in group.iter("Polyline"):
            vertices = list(line.iter("Vertex"))
            places = [next(vertex.iter("WorldPosition")) for vertex in vertices]
            poses = np.array([[_number(place, key) for key in ("x", "y", "h")] for place in places])
            poses[:, 0] += ahead * np.cos(poses[:, 2])
            poses[:, 1] += ahead * np.sin(poses[:, 2])
            times = np.array([_number(vertex, "time") for vertex in vertices])
            tracks.append(Track(name, times, poses, (length, width)))
    return tracks


def read_roads(path: Path, per_piece: int = 20) -> dict[str, Floats]:
    """Reference lines [N, 2] (m) by road name, sampled from an OpenDRIVE file as the standard defines them.

    Raises:
        RunError: The file cannot be read.
    """
    p = np.linspace(0.0, 1.0, per_piece)
    roads = {}
    for road in _parse(path).iter("road"):
        parts = []
        for geometry in road.iter("geometry"):
            x, y, heading, length = (_number(geometry, key) for key in ("x", "y", "hdg", "length"))
            cubic = geometry.find("paramPoly3")
            if cubic is None:
                u, v = p * length, np.zeros_like(p)
            else:
                powers = p[:, None] ** np.arange(4)
                u, v = (powers @ [_number(cubic, letter + axis) for letter in "abcd"] for axis in "UV")
            cos, sin = np.cos(heading), np.sin(heading)
            parts.append(np.stack([x + cos * u - sin * v, y + sin * u + cos * v], -1))
        roads[str(road.get("name"))] = np.concatenate(parts)
    return roads


def _parse(path: Path) -> ET.Element:
    try:
        return ET.parse(path).getroot()
    except (OSError, ET.ParseError) as error:
        raise RunError(f"{path} cannot be read: {error}. Export the scene again.") from error


def _number(element: ET.Element, key: str) -> float:
    return float(element.get(key, "nan"))
