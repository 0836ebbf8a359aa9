"""Evaluation on test scenes, as recorded and attacked, in the same process and engine as training."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Literal

from harness.episodes.cutting import MarkedEnv, cut_off
from harness.episodes.protocol import CORRECTED, Protocol
from harness.episodes.rollout import Played
from harness.episodes.two_stage import two_stages
from harness.errors import PolicyError, RunError, reading
from harness.files import JsonDict
from harness.interfaces import Adversary, EgoPolicy, Episode
from harness.metrics.intervals import Interval, bootstrap_mean
from harness.metrics.verdicts import beyond_care, judge_contact
from harness.report.tables import Column
from harness.traffic.slots import as_played
from scenarios.scenario import Scenario

logger = logging.getLogger(__name__)

Stage = Literal["normal", "adversarial"]
STAGES: Final[dict[Stage, str]] = {"normal": "as recorded", "adversarial": "attacked"}
"""In the order in which they are played, with what tables and pictures call them."""
UNAVOIDABLE: Final = "contacts that no careful driver would have avoided"
COLUMNS: Final = (
    Column("reward", "Reward", "mean", "what training rewards, over an episode", digits=1, arrow="up"),
    Column("cost", "Cost", "mean", "contacts and leaving the road, over an episode", digits=2, arrow="down"),
    Column("completion", "Completion", "mean", "share of the route", digits=2, arrow="up"),
    Column("collision", "Collision", "mean", "share of episodes", digits=2, arrow="down"),
    Column("speed", "Speed m/s", "mean", digits=2, arrow="up"),
    Column("jerk", "Jerk m/s³", "mean", digits=1, arrow="down"),
)
"""The six columns of SAGE's tables 3 and 8, in their order."""
BESIDE: Final = (
    Column("steps", "Steps", "mean", digits=1, about="of 0.1 s, an episode"),
    Column("arrived", "Arrived", "mean", digits=2, arrow="up"),
    Column("off_road", "Left the road", "mean", digits=2, arrow="down"),
    Column("unavoidable", "Unavoidable", "mean", UNAVOIDABLE, digits=2),
)
"""What stands beside the papers' columns: how fast an ego is done, how its episodes end, and for how many of its
contacts no driver is to blame; see `Row`."""
EXTRA_COLUMNS: Final = (*BESIDE, *(Column(name, kind="mean") for name in ("contact", "geometry", "opponent_hit")))
"""What files hold besides."""


_LARGEST: Final = 1e15
"""Larger than any number of an episode; what is smaller can be added up and squared."""


@dataclass(frozen=True, slots=True)
class Row:
    """One evaluated episode, as it stands in `evaluation.jsonl`.

    Attributes:
        step: Training step of the evaluation.
        stage: `normal` or `adversarial`.
        scene: Scene id.
        attacked: Whether a plan was played (never in the normal stage).
        steps: Simulated.
        reward, cost: Sums over the episode.
        completion: Share of the logged path, 0 … 1.
        collision: Whether the ego hit a vehicle, in the run's protocol.
        speed, jerk: Means, m/s and m/s³.
        contact, geometry, opponent_hit: The three ways to see a collision, whatever the protocol.
        arrived, off_road: How it ended.
        error: Why the episode failed (then nothing else counts), or empty.
        horizon: Steps after which the episode is cut off; 0: as the evaluation's rules say, by default where the
            scene ends. Rows of older runs have 0.
        unavoidable: Whether the ego hit a vehicle and no careful driver would have avoided it, by
            `harness.metrics.verdicts.beyond_care`; 0 without a contact, NaN in rows of older runs.
    """

    step: int
    stage: Stage
    scene: str
    attacked: bool = False
    steps: int = 0
    reward: float = float("nan")
    cost: float = float("nan")
    completion: float = float("nan")
    collision: float = float("nan")
    speed: float = float("nan")
    jerk: float = float("nan")
    contact: bool = False
    geometry: bool = False
    opponent_hit: bool = False
    arrived: bool = False
    off_road: bool = False
    error: str = ""
    horizon: int = 0
    unavoidable: float = float("nan")

    @classmethod
    def of(
        cls,
        episode: Episode,
        step: int,
        stage: Stage,
        protocol: Protocol,
        *,
        horizon: int = 0,
        unavoidable: float = float("nan"),
    ) -> Row:
        """The row of an episode."""
        if episode.error:
            return cls(step, stage, episode.scenario_id, error=episode.error, horizon=horizon)
        crashed = episode.crash_contact is not None if protocol.collision_by_flag else episode.crashed
        return cls(
            step=step,
            stage=stage,
            scene=episode.scenario_id,
            attacked=episode.plan is not None,
            steps=episode.steps,
            reward=episode.reward,
            cost=episode.cost,
            completion=episode.route_completion,
            collision=float(crashed),
            speed=episode.mean_speed,
            jerk=episode.mean_jerk,
            contact=episode.crash_contact is not None,
            geometry=episode.crash_geometry is not None,
            opponent_hit=episode.crash_opponent is not None,
            arrived=episode.arrived,
            off_road=episode.off_road,
            horizon=horizon,
            unavoidable=unavoidable,
        )


def rows_of(records: object, file: Path) -> list[Row]:
    """The rows that a file holds.

    Args:
        records: What was read: a list of objects, in which a number that is none is null.
        file: Where, for the message.

    Raises:
        RunError: One is no row.
    """
    with reading(file, "rows of evaluated episodes. Delete the file, or start anew", RunError):
        if not isinstance(records, list):
            raise TypeError(f"found {type(records).__name__} instead of a list")
        return [_row(record) for record in records]


def _row(record: JsonDict) -> Row:
    values: JsonDict = {name: math.nan if value is None else value for name, value in record.items()}
    row = Row(**values)
    kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,)}
    for item in fields(Row):
        value = getattr(row, item.name)
        if not isinstance(value, kinds.get(str(item.type), (str,))) or isinstance(value, bool) != (item.type == "bool"):
            raise TypeError(f"{item.name} is {type(value).__name__}")
        if isinstance(value, int | float) and abs(value) > _LARGEST:
            raise ValueError(f"{item.name} is larger than any episode gives")
    if row.stage not in STAGES:
        raise ValueError(f"unknown stage {row.stage[:60]!r}")
    return row


Undisturbed = dict[tuple[int, int], tuple[Played, list[Row]]]
"""What a policy does as recorded, and its rows, by scene and horizon."""


class Evaluator:
    """The two-stage evaluation: undisturbed, then attacked with the undisturbed drive as the target."""

    def __init__(
        self,
        env: Any,
        policy: EgoPolicy,
        adversary: Adversary | None,
        scenes: Sequence[int],
        *,
        intensity: float,
        seed: int,
        protocol: Protocol = CORRECTED,
        also_at: Sequence[int] = (),
        undisturbed: Undisturbed | None = None,
    ) -> None:
        """Settle what is evaluated.

        Args:
            env: Engine environment, in evaluation rules while `rows` runs.
            policy: Deterministic.
            adversary: None plays the second stage unattacked.
            scenes: Indices in the environment's source.
            intensity: Intensity of the attacks.
            seed: The same at every evaluation, so that a curve shows the policy and not luck.
            protocol: How attacks are played, and how a collision is counted.
            also_at: Shorter horizons at which the same evaluation is judged as well. Where observation and reward
                know nothing of the horizon, these are the beginnings of the same episodes, attacks included: such an
                attack was planned against the whole undisturbed drive. Otherwise both stages are played again.
            undisturbed: What evaluations of this policy against other adversaries have played as recorded, which is
                not played again; what is played here is added.
        """
        self.env = env
        self.scenes = list(scenes)
        self._policy, self._adversary = policy, adversary
        self._intensity, self._seed, self._protocol = intensity, seed, protocol
        self._also_at, self._undisturbed = tuple(also_at), undisturbed

    @property
    def count(self) -> int:
        """Rows of one evaluation."""
        return len(self.scenes) * len(STAGES) * (1 + len(self._also_at))

    def rows(self, step: int) -> Iterator[Row]:
        """Evaluate: a row per scene, stage and horizon.

        A failed episode becomes a row with its reason; it is never dropped.

        Args:
            step: Training step, for the rows.

        Raises:
            PolicyError: The policy fails: it would in every scene.
        """
        again = self.env.options.knows_horizon
        for index in self.scenes:
            yield from self._rows(index, step, () if again else self._also_at)
            for horizon in self._also_at if again else ():
                yield from self._rows(index, step, (), horizon)

    def _rows(self, index: int, step: int, also_at: Sequence[int], horizon: int = 0) -> Iterator[Row]:
        """Rows of one play of one scene, and of its beginnings."""
        marked, scene = MarkedEnv(self.env, also_at), self.env.source[index]
        known = None if self._undisturbed is None else self._undisturbed.get((index, horizon))
        for stage, played in self._stages(index, marked, horizon, known and known[0]):
            if known is not None and stage == "normal":
                yield from known[1]
                continue
            if isinstance(played.failure, PolicyError):
                raise played.failure
            episode = played.episode
            if episode.error:
                where = f"{stage}, scene {episode.scenario_id}"
                logger.warning("evaluation at step %d, %s failed: %s", step, where, episode.error)
            late = self._unavoidable(episode, scene)
            rows = [Row.of(episode, step, stage, self._protocol, horizon=horizon, unavoidable=late)]
            for steps in also_at:
                part = cut_off(episode, steps, marked.marks.get(steps), scene.dt)
                blameless = late if part.crash_geometry is not None else 0.0
                rows.append(Row.of(part, step, stage, self._protocol, horizon=steps, unavoidable=blameless))
            if self._undisturbed is not None and stage == "normal":
                self._undisturbed[index, horizon] = played, rows
            yield from rows

    def episodes(self, index: int) -> dict[Stage, Episode]:
        """Both episodes of one scene.

        Raises:
            GauntletError: One of them fails.
        """
        found: dict[Stage, Episode] = {}
        for stage, played in self._stages(index, self.env):
            if played.failure is not None:
                raise played.failure
            found[stage] = played.episode
        return found

    def _unavoidable(self, episode: Episode, scene: Scenario) -> float:
        """See `Row.unavoidable`. A contact that only the engine has felt is not judged, and counts as avoidable."""
        if episode.error or episode.crash_geometry is None:
            return 0.0
        box = self.env.options.ego_box_in(scene, replay=self._policy.control == "replay")
        return float(beyond_care(judge_contact(as_played(scene, episode.newcomers), episode, box)))

    def _stages(
        self, index: int, env: Any, horizon: int = 0, first: Played | None = None
    ) -> Iterator[tuple[Stage, Played]]:
        """Both stages, by the environment's rules, or with another horizon; the first where it is not given."""
        rules = self.env.rules
        if horizon:
            self.env.rules = replace(rules, horizon=horizon)
        try:
            stages = two_stages(
                env,
                self._policy,
                [self._adversary],
                index,
                intensity=self._intensity,
                seed=self._seed,
                protocol=self._protocol,
                first=first,
            )
            yield from zip(STAGES, stages, strict=True)
        finally:
            self.env.rules = rules


@dataclass(frozen=True, slots=True)
class Summary:
    """One stage of one evaluation.

    Attributes:
        step, stage: Which.
        scenes: Episodes that count.
        failed: Episodes that failed (in no mean).
        attacked: Episodes with a plan.
        columns: Mean and 95 % interval (bootstrap over scenes) of each of `COLUMNS`, then `EXTRA_COLUMNS`.
        horizon: As in `Row`.
    """

    step: int
    stage: Stage
    scenes: int
    failed: int
    attacked: int
    columns: dict[str, Interval]
    horizon: int = 0

    @property
    def place(self) -> str:
        """Stage and horizon in words."""
        return STAGES[self.stage] + (f", {self.horizon} steps" if self.horizon else "")

    def as_dict(self) -> dict[str, object]:
        """Plain values."""
        values = asdict(self)
        values["columns"] = {name: interval._asdict() for name, interval in self.columns.items()}
        return values


def summarise(records: Sequence[JsonDict], seed: int = 0) -> list[Summary]:
    """Summaries of every evaluation in `evaluation.jsonl`, by step, then stage, then horizon (the whole episode first).

    Rows of older runs lack some columns; their means are NaN.
    """
    groups: dict[tuple[int, int, int], list[JsonDict]] = {}
    stages = list(STAGES)
    for record in records:
        key = record["step"], stages.index(record["stage"]), record.get("horizon", 0)
        groups.setdefault(key, []).append(record)
    summaries = []
    for (step, stage, horizon), rows in sorted(groups.items()):
        good = [row for row in rows if not row["error"]]
        columns = {
            column.key: bootstrap_mean([_number(row.get(column.key)) for row in good], seed)
            for column in (*COLUMNS, *EXTRA_COLUMNS)
        }
        attacked = sum(bool(row["attacked"]) for row in good)
        summaries.append(Summary(step, stages[stage], len(good), len(rows) - len(good), attacked, columns, horizon))
    return summaries


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
