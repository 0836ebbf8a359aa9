"""What the engine can be told, and the constants of its presets. Free of MetaDrive."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from harness.engine.drive_reward import DriveReward
from harness.errors import ConfigError
from scenarios.scenario import Scenario

ObservationName = Literal["cat", "metadrive", "route", "none"]
RewardName = Literal["cat", "metadrive", "drive"]

TICK: Final = 0.02
SUBSTEPS: Final = 5
"""Length of a physics step, s, and how many make an environment step (MetaDrive's defaults)."""
IDLE_BRAKE: Final = 2.0
"""Brake on every wheel while coasting (`BaseVehicle._apply_throttle_brake(0)`)."""
ROUTE_VIEW_SIZE: Final = 252
"""Length of the observation `route`."""
MAX_HORIZON: Final = 36_000
"""Longest episode, steps: an hour. What everybody does is recorded in rows that exist from the beginning."""
EGO_LENGTH: Final = 4.515
EGO_WIDTH: Final = 1.852
"""Body of the simulated ego, m: MetaDrive 0.4.3's `DefaultVehicle`, whatever the log's car measured."""


@dataclass(frozen=True, slots=True)
class SensorPreset:
    """Rays and neighbours in an observation; ranges in metres.

    Attributes:
        lidar: Rays against vehicles, people and objects.
        others: Nearest vehicles described by relative position and velocity.
        side: Rays against continuous lines and road edges.
        lane_line: Rays against every lane line (0: the lateral offset from the route instead).
        distance: Range of all of them.
        max_lateral: Lateral distance (m) that the route offset in the observation is scaled by.
        route: Whether the observation is `route`, which has a layout of its own: see `harness.fast.route_view`.
    """

    lidar: int
    others: int
    side: int
    lane_line: int
    distance: float = 50.0
    max_lateral: float = 4.0
    route: bool = False

    @property
    def low(self) -> float:
        """Least value that an observation can hold; the largest is 1."""
        return -1.0 if self.route else 0.0

    @property
    def knows_time(self) -> bool:
        """Whether the observation tells how much time is left, so that nothing can follow when it is up.

        Then time-outs are true ends for whoever learns values (Pardo et al. 2018, 'Time Limits in Reinforcement
        Learning'). States with no time left are never learnt from: a learner that goes on valuing what would follow
        asks its networks about states that nothing ties down, and their values drift without bound.
        """
        return self.route

    @property
    def blind(self) -> bool:
        """Whether nothing is observed at all."""
        return self.distance == 0

    @property
    def size(self) -> int:
        """Length of the observation: rays, five driving states, yaw rate, 22 navigation values, neighbours."""
        if self.blind:
            return 0
        if self.route:
            return ROUTE_VIEW_SIZE
        return max(self.side, 2) + 5 + 1 + max(self.lane_line, 1) + 22 + 4 * self.others + self.lidar


SENSORS: Final[dict[str, SensorPreset]] = {
    # CAT's and SAGE's training configuration (cat_RLtrain.py). MetaDrive 0.4.3 gives 112 numbers where their older
    # MetaDrive gave 101: ten way points and two route errors instead of fewer way points.
    "cat": SensorPreset(lidar=30, others=3, side=30, lane_line=12),
    # SCENARIO_ENV_CONFIG["vehicle_config"] of MetaDrive 0.4.3.
    "metadrive": SensorPreset(lidar=120, others=0, side=12, lane_line=0),
    # Way points sideways too, the corridor, and whoever comes closest.
    "route": SensorPreset(lidar=36, others=8, side=24, lane_line=24, route=True),
    # For policies that look at nothing or at `EgoView` only: a third of the time of a step is sensing.
    "none": SensorPreset(lidar=0, others=0, side=0, lane_line=0, distance=0.0),
}


@dataclass(frozen=True, slots=True)
class RewardPreset:
    """Rewards, costs and the off-road rule.

    `exclusive` means CAT's rule: exactly one of arrival, off-road, crash with a vehicle, crash with an object (in
    that priority) replaces the step's reward, and the cost is 1 for the first of off-road, vehicle, object.
    With `drive`, the reward is `drive_reward` instead, and a contact with a vehicle ends the episode.
    """

    success: float
    off_road: float
    crash_vehicle: float
    crash_object: float
    crash_human: float
    lane_line: float
    driving: float
    steering: float
    heading: float
    lateral: float
    max_lateral: float
    exclusive: bool
    off_road_at_yellow_line: bool
    no_negative: bool
    drive: DriveReward | None = None


REWARDS: Final[dict[str, RewardPreset]] = {
    # CAT-era scenario_env.py as vendored by SAGE: +10 / -10 / -1; off-road beyond 10 m or across a yellow
    # continuous line or a sidewalk.
    "cat": RewardPreset(
        success=10.0,
        off_road=10.0,
        crash_vehicle=1.0,
        crash_object=1.0,
        crash_human=0.0,
        lane_line=0.0,
        driving=1.0,
        steering=0.0,
        heading=0.0,
        lateral=0.0,
        max_lateral=10.0,
        exclusive=True,
        off_road_at_yellow_line=True,
        no_negative=False,
    ),
    # Off-road and cost as in `cat`; the reward is a sum, see `harness.engine.drive_reward`.
    "drive": RewardPreset(
        success=DriveReward().success,
        off_road=DriveReward().off_road,
        crash_vehicle=DriveReward().crash_vehicle,
        crash_object=DriveReward().touch,
        crash_human=DriveReward().touch,
        lane_line=0.0,
        driving=DriveReward().metre,
        steering=0.0,
        heading=0.0,
        lateral=0.0,
        max_lateral=10.0,
        exclusive=True,
        off_road_at_yellow_line=True,
        no_negative=False,
        drive=DriveReward(),
    ),
    # SCENARIO_ENV_CONFIG of MetaDrive 0.4.3.
    "metadrive": RewardPreset(
        success=5.0,
        off_road=5.0,
        crash_vehicle=1.0,
        crash_object=1.0,
        crash_human=1.0,
        lane_line=1.0,
        driving=1.0,
        steering=0.5,
        heading=1.0,
        lateral=0.5,
        max_lateral=4.0,
        exclusive=False,
        off_road_at_yellow_line=False,
        no_negative=True,
    ),
}


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Options of `GauntletEnv`.

    Attributes:
        horizon: Steps (0.1 s each) after which an episode is truncated; None: where the scene's recording ends, which
            is 90 for the 91 rows of a WOMD scene. CAT trains with 50 and attacks with 90.
        observation: `cat` or `metadrive`, see `SENSORS`; `none` where nobody needs one (steps are much faster).
        reward: `cat`, `metadrive` or `drive`, see `REWARDS`.
        traffic: What moves the background: `log`, `idm-path`, `idm-lane`, `idm-flow`, `constant_velocity`,
            `smart`, `rosetta` (or `smart:FILE`, `rosetta:FILE`), `infgen:FILE` (see `harness.traffic.make`), or a third
            party's name.
        crash_vehicle_done: Whether a contact with a vehicle ends the episode.
        static_vehicles: Whether vehicles that never move are present (CAT and SAGE drop them).
        filter_overlapping: Whether a logged vehicle waits to appear while the driven ego is where it would be
            (MetaDrive's rule: 8 m ahead or behind and 2 m aside). The opponent waits only while boxes overlap.
        ego_size: Length and width (m) of the ego in the geometric crash check; None: the simulated body's where the
            ego is driven, the log's where it is replayed (a replay says what happened to the car that was there).
        cache_scenes: Parsed scenes (map bodies, tracks) kept in memory, least recently used dropped first.
        seed: Seed of the sampling of scenes, until `reset(seed=...)` gives another.
        settle: Whether logged vehicles keep the pitch, roll and height that MetaDrive's wheel physics gives them.
            It costs one wheel simulation per scene, once, and makes lidar readings equal to stock's.
    """

    horizon: int | None = None
    observation: ObservationName = "cat"
    reward: RewardName = "cat"
    traffic: str = "log"
    crash_vehicle_done: bool = False
    static_vehicles: bool = False
    filter_overlapping: bool = True
    ego_size: tuple[float, float] | None = None
    cache_scenes: int = 512
    seed: int = 0
    settle: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: An option is out of range or unknown.
        """
        if self.horizon is not None and not (isinstance(self.horizon, Integral) and 1 <= self.horizon <= MAX_HORIZON):
            raise ConfigError(f"horizon is {self.horizon!r}; it must be a whole number of steps, 1 to {MAX_HORIZON:,}")
        if self.cache_scenes < 1:
            raise ConfigError(f"cache_scenes is {self.cache_scenes}; at least the current scene must fit")
        if not isinstance(self.traffic, str):
            raise ConfigError(f"traffic is {self.traffic!r:.80}; expected a name such as 'idm-path'")
        # Texts first: an array has no truth, and a list cannot be looked up.
        if not isinstance(self.observation, str) or self.observation not in SENSORS:
            raise ConfigError(f"unknown observation {self.observation!r:.80}; choose one of {', '.join(SENSORS)}")
        if not isinstance(self.reward, str) or self.reward not in REWARDS:
            raise ConfigError(f"unknown reward {self.reward!r:.80}; choose one of {', '.join(REWARDS)}")
        if self.ego_size is not None and min(self.ego_size) <= 0:
            raise ConfigError(f"ego_size is {self.ego_size}; length and width must be positive metres")

    @property
    def ego_box(self) -> tuple[float, float]:
        """Length and width of a driven ego in the geometric crash check, m."""
        return self.ego_size or (EGO_LENGTH, EGO_WIDTH)

    @property
    def knows_horizon(self) -> bool:
        """Whether what an ego observes, or what it is paid, depends on when the episode will be cut off."""
        return SENSORS[self.observation].route or REWARDS[self.reward].drive is not None

    def horizon_in(self, scenario: Scenario) -> int:
        """Steps after which an episode in this scene is truncated."""
        return scenario.num_steps - 1 if self.horizon is None else self.horizon

    def check_start(self, scene: str, start: int, there: NDArray[np.bool_]) -> None:
        """Refuse a step at which no episode can begin.

        Args:
            scene: Its id.
            start: Logged step.
            there: [T] at which steps the log has the ego.

        Raises:
            ConfigError: It is outside the log or the horizon, the ego is absent then, or traffic has a memory.
        """
        if start == 0:
            return
        end = min(len(there), len(there) - 1 if self.horizon is None else self.horizon)
        if not 0 < start < end:
            raise ConfigError(
                f"scene {scene}: an episode cannot begin at step {start}. Choose 0 … {end - 1}: the log has "
                f"{len(there)} steps, and the horizon is {self.horizon or len(there) - 1}."
            )
        if not there[start]:
            raise ConfigError(
                f"scene {scene}: an episode cannot begin at step {start}, because the log does not have the ego then. "
                "Choose a step at which it is there."
            )
        if self.traffic != "log":
            raise ConfigError(
                f"scene {scene}: an episode cannot begin at step {start} with traffic {self.traffic!r}, which has its "
                "own past. Choose step 0, or traffic 'log'."
            )

    def ego_box_in(self, scenario: Scenario, *, replay: bool) -> tuple[float, float]:
        """Length and width of the ego of one episode in the geometric crash check, m."""
        if replay and self.ego_size is None:
            return scenario.box(scenario.ego)
        return self.ego_box
