"""Sizes and limits of the motion prior, and the layout of its features.

Every length is in metres, every angle in radians, every speed in m/s. Features live in the target agent's frame at
the current step (origin at its centre, heading along +x).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError, WeightsError
from harness.fitting.stored import settings_from_json
from scenarios.scenario import CURRENT_STEP

ARCHITECTURE: Final = "gauntlet.goal_prior.v1"
"""Written into every weights file; a file with another value is refused."""

HISTORY: Final = CURRENT_STEP + 1
"""Observed steps, the current one included (1 s)."""

POSITION_SCALE: Final = 50.0
"""Positions are divided by this, m."""
SPEED_SCALE: Final = 10.0
"""Velocities are divided by this, m/s."""
CHUNK_POINTS: Final = 5
"""Points of one map vector group (a piece of lane or road edge)."""
CHUNK_LENGTH: Final = 20.0
"""Longest piece of lane or road edge that becomes one token, m."""
MAP_RADIUS: Final = 80.0
"""Map is cropped to this distance around a point `MAP_AHEAD` ahead of the agent (as in CAT's DenseTNT), m."""
MAP_AHEAD: Final = 30.0
"""See `MAP_RADIUS`, m."""
WAYPOINTS: Final = 5
"""Interior points of the path to a goal."""

AGENT_FEATURES: Final = HISTORY * 7 + 6
"""Per step x, y, cos, sin, vx, vy, valid; then length, width, vehicle, pedestrian, cyclist, ego."""
MAP_FEATURES: Final = CHUNK_POINTS * 2 + 2 + 6
"""Points; unit direction; lane, edge, red, yellow or unknown, green, speed limit."""
GOAL_FEATURES: Final = 20 + 2 * WAYPOINTS
"""See `goals.goal_features`."""


@dataclass(frozen=True, slots=True)
class PriorConfig:
    """Architecture of the motion prior.

    Attributes:
        hidden: Width of every token.
        heads: Attention heads.
        layers: Scene self-attention layers.
        dropout: Probability, in training only.
        max_lanes: Lane tokens.
        max_edges: Road-edge tokens.
        max_agents: Agent tokens, the target's first.
        lane_goals: Most goal candidates along reachable lanes.
        fan_goals: Goal candidates of the off-lane fan, the goal "stay" included.
        knots: Control points of acceleration and turn over the horizon.
        max_acceleration: Bound of longitudinal acceleration, m/s².
        max_braking: Bound of deceleration, m/s².
        max_lateral: Bound of lateral acceleration, m/s².
        max_yaw_rate: Bound of yaw rate, rad/s.
        max_curvature: Bound of path curvature, 1/m (a turning radius of 5 m).
    """

    hidden: int = 64
    heads: int = 4
    layers: int = 2
    dropout: float = 0.1
    max_lanes: int = 80
    max_edges: int = 32
    max_agents: int = 20
    lane_goals: int = 288
    fan_goals: int = 209
    knots: int = 17
    max_acceleration: float = 4.0
    max_braking: float = 6.0
    max_lateral: float = 5.0
    max_yaw_rate: float = 0.8
    max_curvature: float = 0.2

    @property
    def max_goals(self) -> int:
        """Goal candidates per agent."""
        return self.lane_goals + self.fan_goals

    @property
    def max_map(self) -> int:
        """Map tokens."""
        return self.max_lanes + self.max_edges

    def to_dict(self) -> dict[str, object]:
        """Plain values for a metadata header."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "configuration") -> PriorConfig:
        """Inverse of `to_dict`.

        Raises:
            WeightsError: A field is missing, unknown, of the wrong type or out of bounds.
        """
        known = {f.name for f in fields(cls)}
        if set(values) != known:
            raise WeightsError(
                f"{where}: the model configuration has other fields than this version of the motion prior "
                f"(missing {sorted(known - set(values))[:5]}, unknown {sorted(set(values) - known)[:5]}). "
                "Train it again with `python -m harness.train_prior`."
            )
        found = settings_from_json(cls, dict(values), where)
        if not found.hidden or not found.heads or found.hidden % found.heads or not found.max_agents or found.knots < 2:
            raise WeightsError(
                f"{where}: hidden {found.hidden} must be a multiple of heads {found.heads}, both at least 1, with "
                f"at least one agent (found {found.max_agents}) and two knots (found {found.knots})."
            )
        if found.dropout >= 1.0 or not found.fan_goals:
            raise WeightsError(
                f"{where}: dropout {found.dropout} must be below 1, fan_goals {found.fan_goals} above 0."
            )
        return found


def _signs(width: int, flipped: list[int]) -> NDArray[np.float32]:
    signs = np.ones(width, dtype=np.float32)
    signs[flipped] = -1.0
    return signs


AGENT_MIRROR: Final = _signs(AGENT_FEATURES, [7 * k + c for k in range(HISTORY) for c in (1, 3, 5)])
"""Multiply agent features by this to mirror the scene left to right."""
MAP_MIRROR: Final = _signs(MAP_FEATURES, [2 * k + 1 for k in range(CHUNK_POINTS)] + [2 * CHUNK_POINTS + 1])
"""The same for map features."""
GOAL_MIRROR: Final = _signs(GOAL_FEATURES, [1, 5, 7, 13] + [21 + 2 * k for k in range(WAYPOINTS)])
"""The same for goal features."""


FREE: Final = frozenset({"epochs", "minutes", "threads", "patience"})
"""Fields of `PriorTraining` that may differ when training goes on."""


@dataclass(frozen=True)
class PriorTraining:
    """How the motion prior is trained."""

    epochs: int = 40
    """Most passes over `--training.samples-per-epoch` samples; the learning rate reaches zero at the last."""
    samples_per_epoch: int = 6000
    """Samples drawn per epoch (all of them where there are fewer)."""
    batch_size: int = 32
    """Number of samples per update."""
    learning_rate: float = 1.5e-3
    """Peak learning rate of the cosine schedule (AdamW)."""
    weight_decay: float = 0.02
    """Weight decay of AdamW."""
    warmup: int = 100
    """Number of updates of linear warm-up."""
    average: float = 0.998
    """Decay per update of the moving average of the weights, which is what is evaluated and kept."""
    patience: int = 10
    """Number of epochs without a better minADE_32 on validation scenes after which training stops."""
    stationary: float = 0.2
    """Share of standing vehicles that is kept, 0 to 1."""
    minutes: float = 0.0
    """Minutes of training after which it stops and keeps the best epoch so far; 0 for no limit."""
    seed: int = 0
    """Seed of everything random."""
    threads: int = 1
    """Threads of PyTorch; with one the result is the same on every run."""
    model: PriorConfig = field(default_factory=PriorConfig)
    """Architecture of the network."""

    def __post_init__(self) -> None:
        """Check what can be checked without data."""
        for name in ("epochs", "samples_per_epoch", "batch_size", "patience", "threads"):
            if getattr(self, name) < 1:
                option = f"--training.{name.replace('_', '-')}"
                raise ConfigError(f"{option} {getattr(self, name)}: expected at least 1.")
        if self.learning_rate <= 0 or not 0 <= self.average < 1 or not 0 <= self.stationary <= 1:
            raise ConfigError("learning_rate must be > 0, average in [0, 1), stationary in [0, 1].")
