"""Constants of the Waymo Open Sim Agents Challenge (WOSAC) realism metrics, and their quirks by name.

Source: `challenge_2024_config.textproto` and `challenge_2025_sim_agents_config.textproto` of
waymo-open-dataset 1.6.7 (Montali et al., "The Waymo Open Sim Agents Challenge", 2023).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Literal

from harness.errors import ConfigError

Version = Literal["2024", "2025"]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Histogram estimator: `bins` equal bins over [low, high] in the unit of the feature; values beyond are clipped."""

    low: float
    high: float
    bins: int


ESTIMATORS: Final[dict[str, Histogram | None]] = {
    "linear_speed": Histogram(0.0, 25.0, 10),
    "linear_acceleration": Histogram(-12.0, 12.0, 11),
    "angular_speed": Histogram(-0.628, 0.628, 11),
    "angular_acceleration": Histogram(-3.14, 3.14, 11),
    "distance_to_nearest_object": Histogram(-5.0, 40.0, 10),
    "collision_indication": None,
    "time_to_collision": Histogram(0.0, 5.0, 10),
    "distance_to_road_edge": Histogram(-20.0, 40.0, 10),
    "offroad_indication": None,
    "traffic_light_violation": None,
}
"""Feature → estimator; None: Bernoulli. Units: m/s, m/s², rad/s, rad/s², m, s."""
FEATURES: Final = tuple(ESTIMATORS)
BUCKETS: Final[dict[str, tuple[str, ...]]] = {
    "kinematic": FEATURES[:4],
    "interactive": FEATURES[4:7],
    "map": FEATURES[7:],
}
OF_ROAD_EDGES: Final = ("distance_to_road_edge", "offroad_indication")
"""What cannot be judged on a map without road edges."""
HISTOGRAM_PSEUDOCOUNT: Final = 0.1
BERNOULLI_PSEUDOCOUNT: Final = 0.001

_COMMON: Final = {
    "linear_speed": 0.05,
    "linear_acceleration": 0.05,
    "angular_speed": 0.05,
    "angular_acceleration": 0.05,
    "distance_to_nearest_object": 0.10,
    "collision_indication": 0.25,
    "time_to_collision": 0.10,
    "offroad_indication": 0.25,
}
WEIGHTS: Final[dict[str, dict[str, float]]] = {
    "2024": {**_COMMON, "distance_to_road_edge": 0.10, "traffic_light_violation": 0.0},
    "2025": {**_COMMON, "distance_to_road_edge": 0.05, "traffic_light_violation": 0.05},
}
"""Weight of each feature in the meta metric, by year of the challenge."""


@dataclass(frozen=True, slots=True)
class Quirks:
    """Departures of the official code from what it evidently means. True: do as the official code does.

    Attributes:
        single_precision_world: Positions and map are rounded to float32 in the world frame (about 1 mm at 10 km).
        undefined_values_count: A simulated speed or acceleration that has no neighbours in time (NaN) is counted in
            the top bin, and a time to collision without speeds is 5 s. Corrected: left out, of the log as well.
        validity_from_future_only: The log's validity of speeds and accelerations is derived from the 80 future
            steps alone, so that the first step(s) never count. Corrected: from all 91 steps.
        invalid_rows_count: A simulated acceleration (step 11) or logged time to collision that rests on a row that
            is invalid in the log counts as it comes. Corrected: left out.
        unwrapped_yaw: In the time to collision, heading differences are not wrapped: 359° apart is not aligned.
        cyclic_only_longest: A closed road edge is treated as closed only if no other edge has more points.
        degenerate_segments: Repeated points of a road edge are segments of length zero, with distance zero whenever
            such a segment is the nearest. Corrected: repeated points are dropped.
        lane_offset_added: The nearest lane of a point is searched with `point - start + t (end - start)` where a
            minus is meant.
        lane_padding: Every lane but the longest has one more segment, from its last point to the world's origin.
        missing_light_at_origin: At steps at which the log says nothing about a light, its stop point is the world's
            origin, which can fake a crossing or hide one.
        ade_with_history: Displacement errors are averaged over all 91 steps; the 11 of the history are zero.
        red_light_rate_of_all: The simulated red-light rate includes pedestrians and cyclists.
    """

    single_precision_world: bool = False
    undefined_values_count: bool = False
    validity_from_future_only: bool = False
    invalid_rows_count: bool = False
    unwrapped_yaw: bool = False
    cyclic_only_longest: bool = False
    degenerate_segments: bool = False
    lane_offset_added: bool = False
    lane_padding: bool = False
    missing_light_at_origin: bool = False
    ade_with_history: bool = False
    red_light_rate_of_all: bool = False


CORRECTED: Final = Quirks()
OFFICIAL: Final = Quirks(**{field.name: True for field in fields(Quirks)})


def weights(config: str) -> dict[str, float]:
    """Weights of a year.

    Raises:
        ConfigError: Unknown year.
    """
    if config not in WEIGHTS:
        raise ConfigError(f"realism config {config!r} is unknown. Known: {', '.join(WEIGHTS)}.")
    return WEIGHTS[config]
