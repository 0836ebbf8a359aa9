"""Importer of Argoverse 2 motion forecasting: `scenario_*.parquet` with `log_map_archive_*.json` beside it.

Argoverse 2 gives no box sizes (`SIZES` are typical ones of our choosing), no heights of agents (taken from the lane
boundaries around them) and no road edges (the outline of the union of the drivable areas, road on the left).
Scenes last 11 s; step 10 is our current step (theirs is 50).
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from harness.errors import ConfigError, ScenarioError, reading
from harness.files import MEGABYTE, Json, read_bounded, read_json
from scenarios.bounds import refuse_crowd, refuse_excess
from scenarios.description import from_description
from scenarios.importers.outlines import road_outlines
from scenarios.scenario import DT, Scenario
from scenarios.source_format import Description
from scenarios.values import MAX_NAME, points_of

Floats = NDArray[np.float64]

EGO: Final = "AV"
SIZES: Final[dict[str, tuple[str, tuple[float, float, float]]]] = {
    "vehicle": ("VEHICLE", (4.6, 1.9, 1.6)),
    "bus": ("VEHICLE", (11.0, 2.6, 3.0)),
    "pedestrian": ("PEDESTRIAN", (0.7, 0.7, 1.75)),
    "motorcyclist": ("CYCLIST", (2.1, 0.8, 1.6)),
    "cyclist": ("CYCLIST", (1.8, 0.7, 1.75)),
    "riderless_bicycle": ("OTHER", (1.8, 0.6, 1.1)),
    "construction": ("TRAFFIC_CONE", (0.5, 0.5, 0.9)),
    "static": ("OTHER", (1.0, 1.0, 1.0)),
    "background": ("OTHER", (1.0, 1.0, 1.0)),
    "unknown": ("OTHER", (1.0, 1.0, 1.0)),
}
"""MetaDrive type and assumed length, width, height (m) by object type."""
MARKS: Final = {
    "DASH_SOLID_YELLOW": "ROAD_LINE_PASSING_DOUBLE_YELLOW",
    "SOLID_DASH_YELLOW": "ROAD_LINE_PASSING_DOUBLE_YELLOW",
    "DASHED_WHITE": "ROAD_LINE_BROKEN_SINGLE_WHITE",
    "DASHED_YELLOW": "ROAD_LINE_BROKEN_SINGLE_YELLOW",
    "DASH_SOLID_WHITE": "ROAD_LINE_SOLID_SINGLE_WHITE",
    "SOLID_DASH_WHITE": "ROAD_LINE_SOLID_SINGLE_WHITE",
    "DOUBLE_DASH_WHITE": "ROAD_LINE_BROKEN_SINGLE_WHITE",
    "DOUBLE_DASH_YELLOW": "ROAD_LINE_BROKEN_DOUBLE_YELLOW",
    "DOUBLE_SOLID_WHITE": "ROAD_LINE_SOLID_DOUBLE_WHITE",
    "DOUBLE_SOLID_YELLOW": "ROAD_LINE_SOLID_DOUBLE_YELLOW",
    "SOLID_WHITE": "ROAD_LINE_SOLID_SINGLE_WHITE",
    "SOLID_YELLOW": "ROAD_LINE_SOLID_SINGLE_YELLOW",
}
"""Road line by lane mark; the others (none, unknown, blue) are not drawn as lines."""
SCORED: Final = (2, 3)
"""`object_category` of tracks that the benchmark scores: scored and focal."""
MAX_PARQUET: Final = 100 * MEGABYTE
"""Bytes of a scene's tracks, also unpacked; published ones have less than 1 MB."""
MAX_TABLE: Final = 500_000
"""Rows of a scene's tracks; published ones have 2,000 to 20,000."""
COLUMNS: Final = (
    "track_id",
    "object_type",
    "object_category",
    "timestep",
    "position_x",
    "position_y",
    "heading",
    "velocity_x",
    "velocity_y",
    "scenario_id",
    "focal_track_id",
    "num_timestamps",
    "city",
)

TEXTS: Final = ("track_id", "object_type", "scenario_id", "focal_track_id", "city")
"""Those of `COLUMNS` that hold text."""


def load(path: str | Path) -> Scenario:
    """The scene of one parquet file; its map must lie beside it.

    Raises:
        ConfigError: pyarrow is not installed.
        ScenarioError: A file is missing, broken, or something else; one clear line.
    """
    path = Path(path)
    with reading(path, "an Argoverse 2 scenario"):
        table = _read_table(path)
        if not len(table["scenario_id"]):
            raise ScenarioError(f"{path}: has no rows. Expected an Argoverse 2 scenario.")
        map_path = path.with_name(f"log_map_archive_{table['scenario_id'][0]}.json")
    try:
        archive = read_json(map_path, error=ScenarioError, depth=math.inf)
    except ScenarioError as error:
        raise ScenarioError(f"{path}: its map cannot be read: {error} Put both files together.") from error
    with reading(path, "an Argoverse 2 scene"):
        return from_description(to_description(table, archive, str(path)), str(path))


def _read_table(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(
            f"{path}: reading parquet needs pyarrow: pip install 'gauntlet-drive[argoverse]' ({error})."
        ) from error
    try:
        # Text is kept as a dictionary: a long text that every row repeats is held once.
        data = io.BytesIO(read_bounded(path, MAX_PARQUET, ScenarioError))
        file = pyarrow.parquet.ParquetFile(data, read_dictionary=list(TEXTS))
        missing = set(COLUMNS) - set(file.schema_arrow.names)
        if missing:
            raise ScenarioError(f"{path}: column {min(missing)} is missing. Expected an Argoverse 2 scenario.")
        groups = [file.metadata.row_group(place) for place in range(file.metadata.num_row_groups)]
        rows, size = file.metadata.num_rows, sum(group.total_byte_size for group in groups)
        if rows > MAX_TABLE or size > MAX_PARQUET or rows != sum(group.num_rows for group in groups):
            raise ScenarioError(
                f"{path}: {rows:,} rows of {size:,} bytes; up to {MAX_TABLE:,} rows of {MAX_PARQUET:,} bytes are read."
            )
        table = file.read(columns=list(COLUMNS), use_threads=False)
        table.validate(full=True)  # A damaged column may point outside of its texts, which Arrow then reads unchecked.
        return {name: _column(table[name], name, str(path)) for name in COLUMNS}
    except ScenarioError:
        raise
    except (OSError, ValueError, MemoryError, pyarrow.lib.ArrowException) as error:
        raise ScenarioError(f"{path}: cannot be read as parquet: {error}. Fetch the file again.") from error


def _column(values: Any, name: str, source: str) -> NDArray[np.generic]:
    """One column as an array: text of bounded length, or numbers."""
    import pyarrow

    if name in TEXTS:
        if not pyarrow.types.is_dictionary(values.type) or not pyarrow.types.is_string(values.type.value_type):
            raise ScenarioError(f"{source}: column {name} holds {values.type} instead of text.")
        values = values.combine_chunks()
        texts = values.dictionary.to_numpy(zero_copy_only=False)
        if values.null_count or any(text is None or len(text) > MAX_NAME for text in texts):
            raise ScenarioError(f"{source}: column {name}: a text is missing, or has more than {MAX_NAME} characters.")
        # References: an array of text would hold the longest one's size in every row.
        return np.asarray(texts[values.indices.to_numpy()] if len(texts) else texts, dtype=object)
    column = np.asarray(values.to_numpy())
    if column.dtype.kind not in "iuf" or values.null_count:
        raise ScenarioError(f"{source}: column {name} holds {values.type}, or nothing in a row. Expected numbers.")
    return column


def to_description(table: Mapping[str, NDArray[np.generic]], archive: Json, source: str = "") -> Description:
    """`ScenarioDescription` dictionary of the columns of a scenario and its parsed map.

    Raises:
        ScenarioError: There is no ego, or a step is out of range.
    """
    ids = table["track_id"].astype(object)
    steps = int(table["num_timestamps"][0])
    if EGO not in set(ids):
        raise ScenarioError(f"{source}: there is no track {EGO!r}. Expected an Argoverse 2 scenario.")
    when = table["timestep"].astype(np.int64)
    if when.min() < 0 or when.max() >= steps:
        raise ScenarioError(f"{source}: timestep {when.min()} … {when.max()} outside 0 … {steps - 1}.")
    groups = _groups(ids)
    refuse_excess(source, len(groups), steps)
    ground = _Ground(archive)
    tracks, predict = {}, {}
    for name, rows in groups.items():
        tracks[name] = _track(table, rows, when[rows], steps, name, ground)
        if int(table["object_category"][rows[0]]) in SCORED:
            kind = tracks[name]["type"]
            predict[name] = {"track_index": len(tracks) - 1, "track_id": name, "difficulty": 0, "object_type": kind}
    focal = str(table["focal_track_id"][0])
    scene = str(table["scenario_id"][0])
    metadata = {
        "coordinate": "argoverse2",
        "ts": np.arange(steps) * DT,
        "metadrive_processed": False,
        "sdc_id": EGO,
        "dataset": "argoverse2",
        "scenario_id": scene,
        "city": str(table["city"][0]),
        "track_length": steps,
        "current_time_index": 50,
        "sdc_track_index": list(tracks).index(EGO),
        "objects_of_interest": [EGO, focal] if focal in tracks and focal != EGO else [EGO],
        "tracks_to_predict": predict,
    }
    return {
        "id": scene,
        "version": "gauntlet import",
        "length": steps,
        "metadata": metadata,
        "tracks": tracks,
        "dynamic_map_states": {},
        "map_features": _features(archive, ground),
    }


def _groups(ids: NDArray[np.object_]) -> dict[str, NDArray[np.intp]]:
    """Rows of each track, tracks in the order in which they first occur."""
    numbers = np.unique(ids, return_inverse=True)[1]
    order = np.argsort(numbers, kind="stable")
    begins = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    groups = sorted(np.split(order, begins[1:]), key=lambda rows: int(rows[0]))
    return {str(ids[rows[0]]): rows for rows in groups}


def _track(
    table: Mapping[str, NDArray[np.generic]],
    rows: NDArray[np.intp],
    when: NDArray[np.int64],
    steps: int,
    name: str,
    ground: _Ground,
) -> Description:
    kind, size = SIZES.get(str(table["object_type"][rows[0]]), SIZES["unknown"])
    position, velocity = np.zeros((steps, 3)), np.zeros((steps, 2))
    heading, valid = np.zeros(steps), np.zeros(steps, dtype=bool)
    points = np.stack([table["position_x"][rows], table["position_y"][rows]], -1).astype(np.float64)
    position[when, :2] = points
    position[when, 2] = ground.height(points) + size[2] / 2
    velocity[when] = np.stack([table["velocity_x"][rows], table["velocity_y"][rows]], -1)
    heading[when] = table["heading"][rows]
    valid[when] = True
    if valid.sum() < len(rows):
        raise ValueError(f"track {name} has two rows for one timestep")
    sizes = {key: np.where(valid, value, 0.0) for key, value in zip(("length", "width", "height"), size, strict=True)}
    state = {"position": position, **sizes, "heading": heading, "velocity": velocity, "valid": valid}
    metadata = {"track_length": steps, "type": kind, "object_id": name, "dataset": "argoverse2"}
    return {"type": kind, "state": state, "metadata": metadata}


class _Ground:
    """Heights of the lane boundaries: the only ones that the files have for the road."""

    def __init__(self, archive: Json) -> None:
        lanes = archive["lane_segments"].values()
        sides = [points_of(lane[f"{side}_lane_boundary"]) for lane in lanes for side in ("left", "right")]
        self._points = np.concatenate([np.zeros((0, 3)), *sides])
        refuse_crowd(self._points[:, :2])
        self._tree = cKDTree(self._points[:, :2]) if len(self._points) else None

    def height(self, points: Floats) -> Floats:
        """Height [N] at points [N, 2], m; 0 where the map has no lane."""
        if self._tree is None:
            return np.zeros(len(points))
        return self._points[self._tree.query(points[:, :2])[1], 2]


def _features(archive: Json, ground: _Ground) -> Description:
    features: Description = {}
    seen: set[bytes] = set()
    for name, lane in archive["lane_segments"].items():
        features[str(name)] = _lane(lane, ground)
        for side in ("left", "right"):
            kind = MARKS.get(str(lane[f"{side}_lane_mark_type"]))
            line = points_of(lane[f"{side}_lane_boundary"])
            # Neighbours share their boundary.
            keys = {line.tobytes(), line[::-1].tobytes()}
            if kind is not None and not keys & seen:
                seen |= keys
                features[f"{name}-{side}"] = {"type": kind, "polyline": line}
    for name, crossing in archive.get("pedestrian_crossings", {}).items():
        polygon = np.concatenate([points_of(crossing["edge1"]), points_of(crossing["edge2"])[::-1]])
        features[f"crossing-{name}"] = {"type": "CROSSWALK", "polygon": polygon}
    areas = [points_of(area["area_boundary"])[:, :2] for area in archive.get("drivable_areas", {}).values()]
    for place, line in enumerate(road_outlines(areas)):
        line = np.concatenate([line, ground.height(line)[:, None]], -1)
        features[f"edge-{place}"] = {"type": "ROAD_EDGE_BOUNDARY", "polyline": line}
    return features


def _lane(lane: Json, ground: _Ground) -> Description:
    line = points_of(lane["centerline"])
    line[:, 2] = ground.height(line)
    neighbours = {
        f"{side}_neighbor": [] if lane.get(f"{side}_neighbor_id") is None else [str(lane[f"{side}_neighbor_id"])]
        for side in ("left", "right")
    }
    return {
        "type": "LANE_BIKE_LANE" if lane["lane_type"] == "BIKE" else "LANE_SURFACE_STREET",
        "polyline": line,
        "entry_lanes": [str(name) for name in lane["predecessors"]],
        "exit_lanes": [str(name) for name in lane["successors"]],
        **neighbours,
        "is_intersection": bool(lane["is_intersection"]),
    }
