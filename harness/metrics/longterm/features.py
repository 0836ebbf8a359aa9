"""What traffic does in each window: the features of the sim-agents challenge, counted where agents come and go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import ConfigError
from harness.metrics.longterm.distributions import Counts, counts_per_step
from harness.metrics.longterm.scores import LONG_TERM_BUCKETS
from harness.metrics.longterm.windows import WINDOW, Starts, in_windows, over_windows
from harness.metrics.wosac.config import ESTIMATORS
from harness.metrics.wosac.interaction import nearest_distance, time_to_collision
from harness.metrics.wosac.kinematics import kinematics
from harness.metrics.wosac.road_edges import RoadEdges, distance_off_road

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LONG_TERM_FEATURES = tuple(name for members in LONG_TERM_BUCKETS.values() for name in members)
"""Names of the features, as in the challenge."""


@dataclass(frozen=True, slots=True, eq=False)
class TrafficTrack:
    """Everybody's motion in a log or a roll-out. A agents (slots), T steps at 10 Hz.

    Attributes:
        poses: [A, T, 4] x, y, z (m), heading (rad), one frame with the road edges; anything where invalid.
        valid: [A, T] who is there, and can be met.
        sizes: [A, 3] length, width, height, m.
        vehicle: [A] whose time to collision counts.
        counted: [A, T] whose motion is judged: road users near the observer.
        edges: The road's; None where the map has none.
    """

    poses: Floats
    valid: Bools
    sizes: Floats
    vehicle: Bools
    counted: Bools
    edges: RoadEdges | None

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises:
            ConfigError: They do not belong together.
        """
        agents, steps = self.valid.shape
        expected = {"poses": (agents, steps, 4), "sizes": (agents, 3), "vehicle": (agents,), "counted": (agents, steps)}
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ConfigError(f"TrafficTrack: {name} has the shape {found}; expected {shape}.")


@torch.no_grad()
def traffic_features(track: TrafficTrack, dt: float = 0.1) -> dict[str, Floats]:
    """Features of the challenge for everybody at every step, NaN where undefined: [A, T] each.

    Distances to the road edge are those of agents that are judged; all else is computed for everybody.

    Speeds and accelerations need the neighbours in time, so that nothing is said of an agent's first and last steps,
    and who has no speed leads nobody (the corrected reading of the challenge). The yes/no features are their
    quantities here: the distance to the nearest object, overlap being negative, and that to the road edge.
    """
    valid = torch.tensor(track.valid)
    poses = torch.as_tensor(np.where(track.valid[..., None], track.poses, np.nan))
    there = torch.nan_to_num(poses).float()[None]
    sizes = torch.tensor(track.sizes).float()
    everybody = torch.arange(len(sizes))
    motion = {name: value.masked_fill(~valid, torch.nan) for name, value in kinematics(poses, dt)._asdict().items()}
    speed = motion["linear_speed"]
    nearest = nearest_distance(there, sizes, valid[None], everybody)[0]
    ahead = time_to_collision(
        there, sizes, (valid & ~speed.isnan())[None], speed.float()[None], everybody, unwrapped=False
    )[0]
    follows = ~speed.isnan() & torch.tensor(track.vehicle)[:, None]
    edge = _off_road(track.edges, poses, sizes, valid & torch.tensor(track.counted))
    found: dict[str, Tensor] = {
        **motion,
        "distance_to_nearest_object": nearest.masked_fill(~valid, torch.nan),
        "collision_indication": nearest.masked_fill(~valid, torch.nan),
        "time_to_collision": ahead.masked_fill(~follows, torch.nan),
        "distance_to_road_edge": edge,
        "offroad_indication": edge,
    }
    return {name: found[name].double().numpy() for name in LONG_TERM_FEATURES}


def _off_road(edges: RoadEdges | None, poses: Tensor, sizes: Tensor, asked: Tensor) -> Tensor:
    """Distance off the road [A, T], m; NaN but where it is asked for: looking up places far off the map takes long."""
    found = torch.full(asked.shape, torch.nan)
    if edges is not None and len(edges) > 0:
        row, _ = asked.nonzero(as_tuple=True)
        found[asked] = distance_off_road(edges, poses[asked].float()[:, None], sizes[row])[:, 0]
    return found


def window_counts(
    features: Mapping[str, Floats], counted: Bools, starts: Starts, length: int = WINDOW
) -> dict[str, Counts]:
    """Histograms of every feature in every window.

    Args:
        features: [A, T] each, as `traffic_features` gives them.
        counted: [A, T] whose motion is judged.
        starts: [W] first steps of the windows.
        length: Steps of a window.

    Returns:
        [W, bins] each: how many values of agents and steps fall into each bin; for a yes/no feature, how many agents
        did not, and did, at any step of the window.
    """
    result = {}
    for name, values in features.items():
        estimator = ESTIMATORS[name]
        if estimator is not None:
            result[name] = over_windows(counts_per_step(values, counted, estimator), starts, length)
            continue
        known = counted & ~np.isnan(values)
        happened = values < 0 if name == "collision_indication" else values > 0
        judged, did = in_windows(known, starts, length), in_windows(known & happened, starts, length)
        result[name] = np.stack([(judged & ~did).sum(1), did.sum(1)], -1).astype(np.int64)
    return result
