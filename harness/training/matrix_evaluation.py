"""The final evaluation of a matrix: every trained policy in the same scenes against the same adversaries."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from harness import registry
from harness.episodes.protocol import protocol_of
from harness.episodes.rules import EndRules, RuledEnv
from harness.errors import ConfigError, PolicyError, RunError
from harness.files import JsonDict, file_name, read_json, write_json
from harness.interfaces import Adversary
from harness.metrics.intervals import Estimate, Interval, bootstrap_mean
from harness.metrics.paired import RESAMPLES, PairedDifference, paired_difference
from harness.report.tables import Column
from harness.training.config import TrainConfig
from harness.training.evaluation import COLUMNS, Evaluator, Row, Stage, rows_of
from harness.training.matrix import TrainedCell
from harness.training.setup import CACHED_SCENES, make_adversary, train_and_test
from scenarios.scenario import ScenarioSource

logger = logging.getLogger(__name__)

EVALUATION_SEED: Final = 0
"""One for all egos, so that they meet the same attacks on the same terms."""
ENDINGS: Final = (
    Column("collision", "Collision", "mean", digits=2, arrow="down"),
    Column("off_road", "Left the road", "mean", digits=2, arrow="down"),
    Column("collision_or_off_road", "Either", "mean", digits=2, arrow="down"),
    Column("arrived", "Arrived", "mean", digits=2, arrow="up"),
)
"""How episodes end, as shares of scenes. The papers' six columns lack this: a policy that swerves off the road ends its
episode, and so has fewer collisions."""
MEASURED: Final = tuple(dict.fromkeys(column.key for column in (*COLUMNS, *ENDINGS)))


def evaluate(
    cells: Sequence[TrainedCell],
    adversaries: Sequence[str],
    out: Path,
    progress: Callable[[int, int], None] | None = None,
) -> dict[tuple[str, str], list[Row]]:
    """Play every finished ego as recorded and against each adversary, in one engine.

    Args:
        cells: Finished runs, which share their test scenes.
        adversaries: Registry names.
        out: Where each evaluation is kept (`evaluations/EGO-ADVERSARY.json`): none is made twice.
        progress: Called with the numbers of finished and of all episodes.

    Returns:
        By (run, adversary): two rows per test scene. A run whose policy cannot be used has none.

    Raises:
        GauntletError: An adversary or the scenes cannot be used.
    """
    wanted = [(cell, name) for cell in cells for name in adversaries]
    found = {(cell.name, name): _kept(_file(out, cell, name)) for cell, name in wanted}
    (out / "evaluations").mkdir(exist_ok=True)
    missing = [(cell, name) for cell, name in wanted if found[cell.name, name] is None]
    if missing:
        config = missing[0][0].config
        _, test = train_and_test(config)
        env = _environment(config, test)
        attackers = {name: make_adversary(name, config) for name in adversaries}
        done, total = 0, 2 * len(test) * len(missing)
        try:
            for cell, name in missing:
                rows = []
                try:
                    for row in _rows(env, cell, attackers[name], len(test)):
                        rows.append(row)
                        done += 1
                        if progress is not None:
                            progress(done, total)
                except PolicyError as error:
                    logger.warning("%s is left out of the tables: %s", cell.name, error)
                    continue
                write_json(_file(out, cell, name), [asdict(row) for row in rows])
                found[cell.name, name] = rows
        finally:
            env.close()
    return {key: rows for key, rows in found.items() if rows is not None}


def _environment(config: TrainConfig, test: ScenarioSource) -> RuledEnv:
    from harness.engine.config import EngineConfig
    from harness.engine.env import GauntletEnv

    options = EngineConfig(
        horizon=config.eval_horizon,
        observation=config.observation,
        reward=config.reward,
        traffic=config.traffic,
        cache_scenes=CACHED_SCENES,
        seed=EVALUATION_SEED,
    )
    return RuledEnv(GauntletEnv(test, options), EndRules(config.eval_horizon, crash_ends=config.eval_crash_ends))


def _rows(env: RuledEnv, cell: TrainedCell, adversary: Adversary | None, scenes: int) -> Iterator[Row]:
    config = cell.config
    policy = registry.make("policy", "td3", path=cell.folder / "policy.zip", observation=config.observation)
    evaluator = Evaluator(
        env,
        policy,
        adversary,
        range(scenes),
        intensity=config.eval_intensity,
        seed=EVALUATION_SEED,
        protocol=protocol_of(config.protocol),
    )
    return evaluator.rows(config.steps)


def _file(out: Path, cell: TrainedCell, adversary: str) -> Path:
    return out / "evaluations" / f"{cell.name}-{file_name(adversary, '-_@.')}.json"


def _kept(path: Path) -> list[Row] | None:
    if not path.exists():
        return None
    try:
        return rows_of(read_json(path), path) or None
    except RunError as error:
        logger.warning("%s The evaluation is made again.", error)
        return None


@dataclass(frozen=True, slots=True)
class Scores:
    """One row of a table.

    Attributes:
        row: Which.
        stage: `normal` or `adversarial`.
        adversary: Adversary of the evaluation.
        values: Per column of `MEASURED`, [seeds, scenes]; NaN where an episode failed.
        scenes: Their ids.
    """

    row: str
    stage: Stage
    adversary: str
    values: JsonDict
    scenes: tuple[str, ...]

    def interval(self, column: str) -> Interval:
        """Mean over seeds and scenes with a 95 % interval: both are resampled (the seeds where there are several)."""
        return bootstrap_mean(self.values[column].T, EVALUATION_SEED, crossed=True, resamples=RESAMPLES)

    def estimate(self, column: str) -> Estimate:
        """The interval with the spread over seeds, as tables show it."""
        return Estimate(self.interval(column), len(self.scenes), self.spread(column))

    def spread(self, column: str) -> float:
        """Standard deviation over seeds (NaN with one): the papers' ±."""
        values = self.values[column]
        return float(np.nanmean(values, 1).std(ddof=1)) if len(values) > 1 else float("nan")


def scores(
    cells: Sequence[TrainedCell], rows: dict[tuple[str, str], list[Row]], adversary: str, stage: Stage
) -> list[Scores]:
    """One `Scores` per table row, in the cells' order.

    Raises:
        ConfigError: Two runs were evaluated on different scenes.
    """
    grouped: dict[str, list[list[Row]]] = {}
    for cell in cells:
        if (cell.name, adversary) in rows:
            chosen = [row for row in rows[cell.name, adversary] if row.stage == stage]
            grouped.setdefault(cell.row, []).append(chosen)
    found = []
    first = next(iter(grouped.values()), [[]])[0]
    scenes = tuple(row.scene for row in first)
    for name, runs in grouped.items():
        if any(tuple(row.scene for row in run) != scenes for run in runs):
            raise ConfigError(f"the runs of {name!r} were evaluated on different scenes. Remove `evaluations/`.")
        values = {column: np.array([[_value(row, column) for row in run] for run in runs]) for column in MEASURED}
        found.append(Scores(name, stage, adversary, values, scenes))
    return found


def _value(row: Row, column: str) -> float:
    if row.error:
        return math.nan
    return max(row.collision, float(row.off_road)) if column == "collision_or_off_road" else float(getattr(row, column))


def difference(first: Scores, second: Scores, column: str) -> PairedDifference:
    """First minus second, paired over scenes (means over seeds)."""
    a, b = (np.nanmean(table.values[column], 0) for table in (first, second))
    return paired_difference(a, b, EVALUATION_SEED)


def as_json(tables: Sequence[Scores]) -> list[JsonDict]:
    """Plain values of tables, for a file."""
    return [
        {
            "row": table.row,
            "stage": table.stage,
            "adversary": table.adversary,
            "seeds": len(table.values["reward"]),
            "scenes": len(table.scenes),
            "columns": {
                column: table.interval(column)._asdict() | {"seed_std": table.spread(column)} for column in MEASURED
            },
        }
        for table in tables
    ]
