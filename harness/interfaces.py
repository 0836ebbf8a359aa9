"""The contracts between Gauntlet's parts. No logic lives here.

State layout, everywhere: `STATE` = (x, y, heading, vx, vy); m, rad, m/s; float64; the scenario's own world
frame. Row k of a trajectory is the state at *absolute* step k of the scene (step 0 is the reset state).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scenarios.scenario import CURRENT_STEP, Kind, Scenario

X: Final = 0
Y: Final = 1
HEADING: Final = 2
VX: Final = 3
VY: Final = 4
STATE: Final = 5
"""Number of state columns."""
LATE_ANSWER: Final = 124
"""Exit code of a worker that ended itself, because nothing else could end what a policy computed (as of `timeout`)."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Trajectory(NamedTuple):
    """States [T, STATE] with `valid` [T], indexed by absolute step."""

    states: Floats
    valid: Bools


@dataclass(frozen=True, slots=True)
class AttackContext:
    """Everything an adversary may look at.

    Attributes:
        scenario: The recorded scene.
        opponent: Index of who attacks.
        ego_trajectories: What the ego did (or, before it ever drove here, its log); newest last, never empty.
        intensity: 0 natural … 1 vicious. Values outside [0, 1] extrapolate where the adversary can.
        rng: The only source of randomness an adversary may use.
        step: The last step that the adversary may observe; its plan moves the opponent from `step + 1` on.
        ego_size: Ego length and width, m.
    """

    scenario: Scenario
    opponent: int
    ego_trajectories: tuple[Trajectory, ...]
    intensity: float
    rng: np.random.Generator
    ego_size: tuple[float, float]
    step: int = CURRENT_STEP


@dataclass(frozen=True, slots=True)
class VehicleModel:
    """What a reactive controller may know of the car that it drives: a bicycle until its tyres slip.

    Attributes:
        front_axle, rear_axle: Distance of the axles ahead of and behind the position in `STATE`, m.
        max_steering: Front wheel angle at action 1, rad.
        throttle: Acceleration at action 1, m/s².
        brake: Deceleration per unit of negative action before the tyres slip, m/s².
        grip: Hardest acceleration in any direction, m/s².
        rolling: Deceleration at action 0, m/s².
    """

    front_axle: float
    rear_axle: float
    max_steering: float
    throttle: float
    brake: float
    grip: float
    rolling: float


@dataclass(frozen=True, slots=True)
class ControlContext:
    """What a reactive controller is told when an episode begins.

    Attributes:
        scenario: The recorded scene.
        opponent: Index of the vehicle that it will drive.
        opponent_size, ego_size: Length and width, m.
        vehicle: How the opponent answers to actions.
    """

    scenario: Scenario
    opponent: int
    opponent_size: tuple[float, float]
    ego_size: tuple[float, float]
    vehicle: VehicleModel


@runtime_checkable
class ReactiveController(Protocol):
    """Drives the opponent by physics from `AttackPlan.takeover_step` on. Deterministic.

    It travels to workers inside its plan, so it holds plain data and can be pickled. One plan may be played any
    number of times in turn: `reset` forgets the last episode. One may also watch (`harness.episodes.watching`).
    """

    def reset(self, plan: AttackPlan, context: ControlContext) -> None:
        """Begin an episode of `plan`."""
        ...

    def act(self, step: int, opponent: Floats, ego: Floats) -> Floats:
        """Drive from absolute step `step` to the next; called at every step from `takeover_step - 1` on.

        Args:
            step: The present.
            opponent: [STATE], where it truly is.
            ego: [STATE], where it truly is.

        Returns:
            [2] steering and throttle/brake, each in [-1, 1] (left and accelerate positive); clipped.
        """
        ...


@dataclass(frozen=True, slots=True)
class AttackPlan:
    """Where the opponent is at every absolute step.

    Attributes:
        states: [T, STATE]; row k is the opponent's state *after* step k, no lag. T = `scenario.num_steps`.
        valid: [T]; before its first valid row the opponent follows its log, after the last it is removed.
        candidates: [K, T, STATE] every trajectory that was considered (for pictures and metrics), or None.
        scores: Named scores per candidate, each [K].
        chosen: Index of the chosen candidate, or None.
        takeover_step: First step whose row is not the plan's but physics' (SEAL): rows before it are exact, later
            ones only what was expected (open-loop metrics take them for the attack). Without a controller: no effect.
        info: Anything worth logging (scalars and strings).
        controller: Who drives from `takeover_step` on, or None.
    """

    states: Floats
    valid: Bools
    candidates: Floats | None = None
    scores: Mapping[str, Floats] = field(default_factory=dict)
    chosen: int | None = None
    takeover_step: int | None = None
    info: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    controller: ReactiveController | None = None


@runtime_checkable
class Adversary(Protocol):
    """Plans the opponent's motion in one scene. Stateless but for caches, or `harness.training.co_training`."""

    name: str

    def plan(self, context: AttackContext) -> AttackPlan | None:
        """Return the attack, or None to leave the scene as recorded.

        Raises:
            AdversaryError: The scene cannot be attacked (no opponent, no candidates).
        """
        ...


@dataclass(frozen=True, slots=True)
class EgoView:
    """What a privileged policy may see of the present; the future of others only where it declares so.

    Attributes:
        step, dt: Absolute step, and seconds per step.
        ego, ego_size: [STATE], and length and width, m.
        route: [N, 2] polyline of the logged ego path, and of the way beyond it where it goes on, m.
        agents: [M, STATE] every other present agent, with `agent_sizes` [M, 2] length and width, m.
        speed_limit: m/s, where known.
        futures: [M, H, STATE] where `agents[m]` will be after absolute step `step + 1 + h`, H up to the end of the log:
            the attack plan for the opponent that follows one, the log for everybody else. NaN where the agent will be
            gone, or where nobody knows. Only for policies with `sees_futures = True`, else None.
        foreseen: [M] how many rows of `futures` are known: none of traffic that reacts, of an opponent with a
            controller those before it takes over. NaN in a known row is an agent that will be gone. None as `futures`.
    """

    step: int
    dt: float
    ego: Floats
    ego_size: tuple[float, float]
    route: Floats
    agents: Floats
    agent_sizes: Floats
    speed_limit: float | None = None
    futures: Floats | None = None
    foreseen: NDArray[np.intp] | None = None


@runtime_checkable
class EgoPolicy(Protocol):
    """A system under test.

    Attributes:
        name: Registry name.
        control: `action` drives by `act`; `replay` follows the log; `trajectory` plans (see `ego_policies.tracked`).
        observation: Observation preset that `act` expects (`cat`, `metadrive`), or `none`.
        privileged: True if it reads `EgoView` or more: tables label it.

    It may have `sees_futures = True` (is shown `EgoView.futures`, must be `privileged`) and `measured() -> numbers`.
    """

    name: str
    control: Literal["action", "replay"]
    observation: str
    privileged: bool

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Begin an episode."""
        ...

    def act(self, observation: NDArray[np.float32], view: EgoView) -> NDArray[np.float32]:
        """Action [2]: steering and throttle/brake, each in [-1, 1] (left and accelerate positive)."""
        ...


class AttackSchedule(NamedTuple):
    """How often and how hard to attack right now."""

    probability: float
    intensity: float


@dataclass(frozen=True, slots=True)
class EpisodeOutcome:
    """What a curriculum may learn from a finished episode.

    Attributes:
        attacked: Whether a plan was played.
        intensity: The intensity of the attack; 0 where there was none.
        crashed: Whether the ego hit a vehicle or the opponent, by the engine's contact flag or by boxes that met.
        route_completion: Share of the logged ego path, 0 … 1; NaN where that path leads nowhere (a parked ego).
        arrived: Whether the ego reached the end of its path.
        off_road: Whether the ego left the road.
        scene: Id of the scene, or empty where nobody asked.
        regret: What a careful driver achieves minus what the ego did, 0 … 1; None where nobody asked.
    """

    attacked: bool
    intensity: float
    crashed: bool
    route_completion: float
    arrived: bool
    off_road: bool = False
    scene: str = ""
    regret: float | None = None


@runtime_checkable
class Curriculum(Protocol):
    """Schedules attacks over training. Resumable through its state dict (JSON-able).

    A curriculum may also choose scenes (`harness.episodes.schedules.ChoosingCurriculum`).
    """

    name: str

    def schedule(self, progress: float) -> AttackSchedule:
        """Attack probability and intensity at `progress` in [0, 1] of the training budget."""
        ...

    def record(self, outcome: EpisodeOutcome) -> None:
        """Learn from a finished training episode."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs to go on exactly."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore."""
        ...


@runtime_checkable
class TrafficPolicy(Protocol):
    """Moves every agent that is neither ego nor opponent."""

    name: str

    def reset(self, scenario: Scenario, rng: np.random.Generator) -> None:
        """Begin an episode."""
        ...

    def step(self, step: int, states: Floats, valid: Bools) -> tuple[Floats, Bools]:
        """States [A, STATE] and validity [A] at `step + 1`, given all agents (ego and opponent as they truly are)."""
        ...


class Newcomer(NamedTuple):
    """Somebody who enters an episode.

    Attributes:
        slot: Row that it takes among the agents.
        kind: Vehicle, pedestrian or cyclist.
        size: Length, width and height, m.
    """

    slot: int
    kind: Kind
    size: tuple[float, float, float]


@runtime_checkable
class SpawningTraffic(TrafficPolicy, Protocol):
    """A `TrafficPolicy` whose agents enter and leave, optional beside it.

    Its scenes have `reserve` slots as their last rows (`Scenario.with_reserve`). Whoever is valid in a slot has been
    there before, or is named by `spawned`. Who is no longer valid has left, and its slot is empty for one step at
    least before somebody else takes it. Where the ego is in the way nobody enters: the slot is then not valid in the
    next call of `step`, and free.

    Attributes:
        reserve: Number of slots: the most newcomers at once.
    """

    reserve: int

    def spawned(self) -> Sequence[Newcomer]:
        """Who enters with the states that `step` has just returned."""
        ...


@dataclass(frozen=True, slots=True)
class Episode:
    """The record of one finished episode: enough to compute every metric and draw it again.

    Attributes:
        scenario_id: Scene.
        policy, adversary: Registry names.
        intensity: Intensity of the attack (0 when there is none).
        seed: Episode seed.
        ego, opponent: What they truly did, by absolute step.
        agents: [A, T, STATE] what everyone truly did, with `agents_valid` [A, T].
        plan: The attack, or None.
        steps: Simulated steps.
        reward, cost: Sums over the episode.
        route_completion: Share of the logged ego path that was driven, 0 … 1; NaN where it leads nowhere.
        arrived, off_road, truncated: How it ended.
        crash_contact: First step at which the engine reported a contact with a vehicle, or with an opponent of another
            kind, or None.
        crash_geometry: First step at which the ego's box met the box of any vehicle or of the opponent, or None.
        crash_opponent: First step at which the ego's box met the opponent's box, or None.
        mean_speed: m/s, over the episode.
        mean_jerk: m/s³, mean absolute longitudinal jerk over the episode.
        engine_force, brake_force: Forces of the ego's car, N per wheel at action 1 and -1, or NaN.
        error: Why the episode failed (then the other numbers are meaningless), or empty.
        newcomers: Who entered, in this order: the last rows of `agents`, one each, beside the scene's own.
        route: [N, 2] the ego's route where it went on beyond the log, m; else None.
        end_of_map: Whether the episode ended because that route did.
    """

    scenario_id: str
    policy: str
    adversary: str
    intensity: float
    seed: int
    ego: Trajectory
    opponent: Trajectory | None
    agents: Floats
    agents_valid: Bools
    plan: AttackPlan | None
    steps: int
    reward: float
    cost: float
    route_completion: float
    arrived: bool
    off_road: bool
    truncated: bool
    crash_contact: int | None
    crash_geometry: int | None
    crash_opponent: int | None
    mean_speed: float
    mean_jerk: float
    engine_force: float = float("nan")
    brake_force: float = float("nan")
    error: str = ""
    newcomers: tuple[Newcomer, ...] = ()
    route: Floats | None = None
    end_of_map: bool = False

    @property
    def crashed(self) -> bool:
        """Whether the ego hit a vehicle or the opponent, by contact or by geometry."""
        return self.crash_contact is not None or self.crash_geometry is not None


class MetricValue(NamedTuple):
    """A number that travels with its validity."""

    value: float
    valid: bool
