"""Evaluation on test scenes, as recorded and attacked, in the same process and engine as training."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

from harness.episodes.protocol import CORRECTED, Protocol
from harness.episodes.rollout import Played
from harness.episodes.two_stage import two_stages
from harness.errors import PolicyError, RunError, reading
from harness.files import JsonDict
from harness.interfaces import Adversary, EgoPolicy, Episode
from harness.metrics.intervals import Interval, bootstrap_mean
from harness.report.tables import Column

logger = logging.getLogger(__name__)

Stage = Literal["normal", "adversarial"]
STAGES: Final[dict[Stage, str]] = {"normal": "as recorded", "adversarial": "attacked"}
"""In the order in which they are played, with what tables and pictures call them."""
COLUMNS: Final = (
    Column("reward", "Reward", "mean", digits=1, arrow="up"),
    Column("cost", "Cost", "mean", digits=2, arrow="down"),
    Column("completion", "Completion", "mean", digits=2, arrow="up"),
    Column("collision", "Collision", "mean", digits=2, arrow="down"),
    Column("speed", "Speed m/s", "mean", digits=2, arrow="up"),
    Column("jerk", "Jerk m/s³", "mean", digits=1, arrow="down"),
)
"""The six columns of SAGE's tables 3 and 8, in their order."""
EXTRA_COLUMNS: Final = tuple(
    Column(name, kind="mean") for name in ("contact", "geometry", "opponent_hit", "arrived", "off_road")
)
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

    @classmethod
    def of(cls, episode: Episode, step: int, stage: Stage, protocol: Protocol) -> Row:
        """The row of an episode."""
        if episode.error:
            return cls(step, stage, episode.scenario_id, error=episode.error)
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
        """
        self.env = env
        self.scenes = list(scenes)
        self._policy, self._adversary = policy, adversary
        self._intensity, self._seed, self._protocol = intensity, seed, protocol

    def rows(self, step: int) -> Iterator[Row]:
        """Evaluate: two rows per scene. A failed episode becomes a row with its reason; it is never dropped.

        Args:
            step: Training step, for the rows.

        Raises:
            PolicyError: The policy fails: it would in every scene.
        """
        for index in self.scenes:
            for stage, played in self._stages(index):
                if isinstance(played.failure, PolicyError):
                    raise played.failure
                episode = played.episode
                if episode.error:
                    where = f"{stage}, scene {episode.scenario_id}"
                    logger.warning("evaluation at step %d, %s failed: %s", step, where, episode.error)
                yield Row.of(episode, step, stage, self._protocol)

    def episodes(self, index: int) -> dict[Stage, Episode]:
        """Both episodes of one scene.

        Raises:
            GauntletError: One of them fails.
        """
        found: dict[Stage, Episode] = {}
        for stage, played in self._stages(index):
            if played.failure is not None:
                raise played.failure
            found[stage] = played.episode
        return found

    def _stages(self, index: int) -> Iterator[tuple[Stage, Played]]:
        stages = two_stages(
            self.env,
            self._policy,
            [self._adversary],
            index,
            intensity=self._intensity,
            seed=self._seed,
            protocol=self._protocol,
        )
        return zip(STAGES, stages, strict=True)


@dataclass(frozen=True, slots=True)
class Summary:
    """One stage of one evaluation.

    Attributes:
        step, stage: Which.
        scenes: Episodes that count.
        failed: Episodes that failed (in no mean).
        attacked: Episodes with a plan.
        columns: Mean and 95 % interval (bootstrap over scenes) of each of `COLUMNS`, then `EXTRA_COLUMNS`.
    """

    step: int
    stage: Stage
    scenes: int
    failed: int
    attacked: int
    columns: dict[str, Interval]

    def as_dict(self) -> dict[str, object]:
        """Plain values."""
        values = asdict(self)
        values["columns"] = {name: interval._asdict() for name, interval in self.columns.items()}
        return values


def summarise(records: Sequence[JsonDict], seed: int = 0) -> list[Summary]:
    """Summaries of every evaluation in `evaluation.jsonl`, by step, then stage."""
    groups: dict[tuple[int, Stage], list[JsonDict]] = {}
    for record in records:
        groups.setdefault((record["step"], record["stage"]), []).append(record)
    summaries = []
    for (step, stage), rows in sorted(groups.items(), key=lambda item: (item[0][0], list(STAGES).index(item[0][1]))):
        good = [row for row in rows if not row["error"]]
        columns = {
            column.key: bootstrap_mean([_number(row[column.key]) for row in good], seed)
            for column in (*COLUMNS, *EXTRA_COLUMNS)
        }
        attacked = sum(bool(row["attacked"]) for row in good)
        summaries.append(Summary(step, stage, len(good), len(rows) - len(good), attacked, columns))
    return summaries


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
