"""The messages of the Waymo Open Motion Dataset that Gauntlet reads, declared at run time.

Field names, numbers and types are those of the published `scenario.proto`, `map.proto` and
`sim_agents_submission.proto`; laser and camera fields are left out (protobuf skips what it does not know).
No generated code, no TensorFlow.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE: Final = "gauntlet.womd"
"""Not Waymo's own package name: its generated modules may be loaded in the same process."""

_SCHEMA: Final[dict[str, str]] = {
    "MapPoint": "1 x double | 2 y double | 3 z double",
    "ObjectState": (
        "2 center_x double | 3 center_y double | 4 center_z double | 5 length float | 6 width float | 7 height float"
        " | 8 heading float | 9 velocity_x float | 10 velocity_y float | 11 valid bool"
    ),
    "Track": "1 id int32 | 2 object_type int32 | 3 states ObjectState*",
    "TrafficSignalLaneState": "1 lane int64 | 2 state int32 | 3 stop_point MapPoint",
    "DynamicMapState": "1 lane_states TrafficSignalLaneState*",
    "BoundarySegment": (
        "1 lane_start_index int32 | 2 lane_end_index int32 | 3 boundary_feature_id int64 | 4 boundary_type int32"
    ),
    "LaneNeighbor": (
        "1 feature_id int64 | 2 self_start_index int32 | 3 self_end_index int32 | 4 neighbor_start_index int32"
        " | 5 neighbor_end_index int32 | 6 boundaries BoundarySegment*"
    ),
    "LaneCenter": (
        "1 speed_limit_mph double | 2 type int32 | 3 interpolating bool | 8 polyline MapPoint* | 9 entry_lanes int64*"
        " | 10 exit_lanes int64* | 11 left_neighbors LaneNeighbor* | 12 right_neighbors LaneNeighbor*"
        " | 13 left_boundaries BoundarySegment* | 14 right_boundaries BoundarySegment*"
    ),
    "RoadLine": "1 type int32 | 2 polyline MapPoint*",
    "RoadEdge": "1 type int32 | 2 polyline MapPoint*",
    "StopSign": "1 lane int64* | 2 position MapPoint",
    "Polygon": "1 polygon MapPoint*",
    "MapFeature": (
        "1 id int64 | 3 lane LaneCenter | 4 road_line RoadLine | 5 road_edge RoadEdge | 7 stop_sign StopSign"
        " | 8 crosswalk Polygon | 9 speed_bump Polygon | 10 driveway Polygon"
    ),
    "RequiredPrediction": "1 track_index int32 | 2 difficulty int32",
    "Scenario": (
        "1 timestamps_seconds double* | 2 tracks Track* | 4 objects_of_interest int32* | 5 scenario_id string"
        " | 6 sdc_track_index int32 | 7 dynamic_map_states DynamicMapState* | 8 map_features MapFeature*"
        " | 10 current_time_index int32 | 11 tracks_to_predict RequiredPrediction*"
    ),
    "SimulatedTrajectory": (
        "2 center_x float* | 3 center_y float* | 4 center_z float* | 5 heading float* | 6 object_id int32"
    ),
    "JointScene": "1 simulated_trajectories SimulatedTrajectory*",
    "ScenarioRollouts": "1 scenario_id string | 2 joint_scenes JointScene*",
    "Submission": "1 scenario_rollouts ScenarioRollouts*",
}
"""Message → `number name type` (`*`: repeated), separated by bars. Enumerations are read as int32: the same on the
wire. Crosswalks, speed bumps and driveways have one layout. Repeated numbers are declared unpacked; parsers accept both
forms."""

OBJECT_TYPES: Final = ("UNSET", "VEHICLE", "PEDESTRIAN", "CYCLIST", "OTHER")
"""MetaDrive's names by `Track.object_type`."""
LANE_TYPES: Final = ("LANE_UNKNOWN", "LANE_FREEWAY", "LANE_SURFACE_STREET", "LANE_BIKE_LANE")
LINE_TYPES: Final = (
    "UNKNOWN_LINE",
    "ROAD_LINE_BROKEN_SINGLE_WHITE",
    "ROAD_LINE_SOLID_SINGLE_WHITE",
    "ROAD_LINE_SOLID_DOUBLE_WHITE",
    "ROAD_LINE_BROKEN_SINGLE_YELLOW",
    "ROAD_LINE_BROKEN_DOUBLE_YELLOW",
    "ROAD_LINE_SOLID_SINGLE_YELLOW",
    "ROAD_LINE_SOLID_DOUBLE_YELLOW",
    "ROAD_LINE_PASSING_DOUBLE_YELLOW",
)
EDGE_TYPES: Final = ("UNKNOWN", "ROAD_EDGE_BOUNDARY", "ROAD_EDGE_MEDIAN")
LIGHT_STATES: Final = (
    "LANE_STATE_UNKNOWN",
    "LANE_STATE_ARROW_STOP",
    "LANE_STATE_ARROW_CAUTION",
    "LANE_STATE_ARROW_GO",
    "LANE_STATE_STOP",
    "LANE_STATE_CAUTION",
    "LANE_STATE_GO",
    "LANE_STATE_FLASHING_STOP",
    "LANE_STATE_FLASHING_CAUTION",
)


@cache
def message(name: str) -> Any:
    """The message class `name` of the schema above."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="gauntlet_womd.proto", package=_PACKAGE, syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, text in _SCHEMA.items():
        made = file.message_type.add(name=name)
        for entry in text.split("|"):
            number, field, kind = entry.split()
            repeated, kind = kind.endswith("*"), kind.removesuffix("*")
            declared = made.field.add(name=field, number=int(number))
            declared.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind in _SCHEMA:
                declared.type, declared.type_name = kinds.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                declared.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
