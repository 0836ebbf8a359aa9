"""What the evaluations of a matrix say: means over seeds and scenes, and differences between rows of its tables.

**Matched speed.** Who drives fast outruns attacks and meets less traffic in a given time, so that rows are ranked at
the same speed only. An ego's speed in a scene is that of its drive *as recorded*, mean over its seeds: the speed under
an attack is a part of how the ego answers it. Two rows count as equally fast where their means over scenes differ by at
most `SPEED_TOLERANCE` of the larger; otherwise their difference is marked. Beside every difference stands that over
those scenes alone in which the two egos' speeds differ by no more. What this does not do: it says nothing about scenes
in which the two always drive differently; it does not tell how an ego would fare at another speed; and a drive that
ends early has the speed of its beginning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.errors import ConfigError
from harness.files import JsonDict
from harness.metrics.intervals import Estimate, Interval, bootstrap_mean
from harness.metrics.paired import RESAMPLES, PairedDifference, crossed_difference, holm
from harness.report.tables import Column
from harness.training.evaluation import COLUMNS, UNAVOIDABLE, Row, Stage
from harness.training.matrix import TrainedCell

Floats = NDArray[np.float64]

EITHER: Final = "collision_or_off_road"
ENDINGS: Final = (
    Column("collision", "Collision", "mean", digits=2, arrow="down"),
    Column("off_road", "Left the road", "mean", digits=2, arrow="down"),
    Column(EITHER, "Either", "mean", "share of episodes with a collision or off the road", digits=2, arrow="down"),
    Column("unavoidable", "Unavoidable", "mean", UNAVOIDABLE, digits=2),
    Column("arrived", "Arrived", "mean", digits=2, arrow="up"),
    Column("speed", "Speed m/s", "mean", digits=2),
    Column("steps", "Steps", "mean", digits=0),
)
"""How episodes end, as shares of scenes, and how fast. The papers' six columns lack this: a policy that swerves off the
road ends its episode, and so has fewer collisions. Unavoidable are collisions that no careful driver would have
avoided: the share below which no ego can get."""
MEASURED: Final = tuple(dict.fromkeys(column.key for column in (*COLUMNS, *ENDINGS)))
TESTED: Final = {
    "completion": "completion",
    "collision": "collision",
    "off_road": "left the road",
    EITHER: "collision or off the road",
}
"""What differences are tested of, with its name."""
SPEED_TOLERANCE: Final = 0.1
"""Largest difference of speeds that count as equal, as a share of the larger."""


@dataclass(frozen=True, slots=True)
class Scores:
    """One row of a table.

    Attributes:
        row: Which.
        stage: `normal` or `adversarial`.
        adversary: Adversary of the evaluation.
        horizon: Steps after which episodes are cut off; 0 as the evaluation's rules say.
        values: Per column of `MEASURED`, [seeds, scenes]; NaN where an episode failed.
        scenes: Their ids.
    """

    row: str
    stage: Stage
    adversary: str
    horizon: int
    values: dict[str, Floats]
    scenes: tuple[str, ...]

    def interval(self, column: str) -> Interval:
        """Mean over seeds and scenes with a 95 % interval: both are resampled (the seeds where there are several)."""
        return bootstrap_mean(self.values[column].T, crossed=True, resamples=RESAMPLES)

    def mean(self, column: str) -> float:
        """Mean over seeds and scenes; NaN where nothing is known."""
        return float(_mean_of(self.values[column].ravel()))

    def estimate(self, column: str) -> Estimate:
        """The interval with the spread over seeds, as tables show it."""
        return Estimate(self.interval(column), len(self.scenes), self.spread(column))

    def spread(self, column: str) -> float:
        """Standard deviation over seeds (NaN with one): the papers' ±."""
        values = self.values[column]
        return float(_mean_of(values.T).std(ddof=1)) if len(values) > 1 else float("nan")


Evaluations = Mapping[tuple[str, str], Sequence[Row]]
"""Rows by run and adversary, as `harness.training.matrix_evaluation.evaluate` gives them."""


def horizons_of(rows: Evaluations) -> list[int]:
    """Horizons at which every evaluation was judged, the whole episode (0) first."""
    found = [{row.horizon for row in evaluation} for evaluation in rows.values()]
    return sorted(set.intersection(*found)) if found else []


def scores(
    cells: Sequence[TrainedCell], rows: Evaluations, adversary: str, stage: Stage, horizon: int = 0
) -> list[Scores]:
    """One `Scores` per table row, in the cells' order.

    Args:
        cells: Runs that were evaluated.
        rows: Their evaluations.
        adversary: Which of these.
        stage: As recorded, or attacked.
        horizon: One of `horizons_of`.

    Raises:
        ConfigError: Two runs were evaluated on different scenes.
    """
    grouped: dict[str, list[list[Row]]] = {}
    for cell in cells:
        if (cell.name, adversary) in rows:
            chosen = [row for row in rows[cell.name, adversary] if (row.stage, row.horizon) == (stage, horizon)]
            grouped.setdefault(cell.row, []).append(chosen)
    found = []
    first = next(iter(grouped.values()), [[]])[0]
    scenes = tuple(row.scene for row in first)
    for name, runs in grouped.items():
        if any(tuple(row.scene for row in run) != scenes for run in runs):
            raise ConfigError(f"the runs of {name!r} were evaluated on different scenes. Remove `evaluations/`.")
        values = {column: np.array([[value_of(row, column) for row in run] for run in runs]) for column in MEASURED}
        found.append(Scores(name, stage, adversary, horizon, values, scenes))
    return found


def value_of(row: Row, column: str) -> float:
    """What an episode counts in a column of `MEASURED`; NaN where it failed."""
    if row.error:
        return math.nan
    return max(row.collision, float(row.off_road)) if column == EITHER else float(getattr(row, column))


@dataclass(frozen=True, slots=True)
class MatrixComparison:
    """Two rows of a table.

    Attributes:
        first, second: Names of the rows.
        stage, adversary, horizon: What the table shows.
        speeds: Mean speeds as recorded, m/s.
        equally_fast: Whether these differ by at most `SPEED_TOLERANCE`.
        differences: First minus second by column of `TESTED`, over seeds and scenes.
        holm: Their p values, adjusted (Holm) for all pairs and columns of the table.
        matched: The same as `differences`, in the scenes where the two are equally fast.
        matched_holm: Their p values, adjusted (Holm) for all pairs and columns of the table, in these scenes.
    """

    first: str
    second: str
    stage: Stage
    adversary: str
    horizon: int
    speeds: tuple[float, float]
    equally_fast: bool
    differences: dict[str, PairedDifference]
    holm: dict[str, float]
    matched: dict[str, PairedDifference]
    matched_holm: dict[str, float]


def compare_rows(tables: Sequence[Scores], recorded: Sequence[Scores]) -> list[MatrixComparison]:
    """Every pair of rows of one table, the later row minus the earlier one.

    Args:
        tables: The rows: one stage, one adversary.
        recorded: The same egos in the same scenes as recorded, in the same order; their speeds count.
    """
    pairs = list(combinations(range(len(tables)), 2))
    same = [equally_fast(recorded[b], recorded[a]) for a, b in pairs]
    everywhere = [_differences(tables[b], tables[a]) for a, b in pairs]
    matched = [_differences(tables[b], tables[a], scenes) for (a, b), scenes in zip(pairs, same, strict=True)]
    found = []
    columns = zip(pairs, everywhere, _adjusted(everywhere), matched, _adjusted(matched), strict=True)
    for (a, b), differences, adjusted, at_speed, at_speed_adjusted in columns:
        first, second = tables[b], tables[a]
        speeds = (recorded[b].mean("speed"), recorded[a].mean("speed"))
        found.append(
            MatrixComparison(
                first.row,
                second.row,
                first.stage,
                first.adversary,
                first.horizon,
                speeds,
                bool(_near(*map(np.array, speeds))),
                differences,
                adjusted,
                at_speed,
                at_speed_adjusted,
            )
        )
    return found


def equally_fast(first: Scores, second: Scores) -> NDArray[np.bool_]:
    """Scenes [S] in which two rows drive as recorded at speeds (means over seeds) that count as equal."""
    return _near(*(_mean_of(table.values["speed"]) for table in (first, second)))


def _near(first: Floats, second: Floats) -> NDArray[np.bool_]:
    return np.abs(first - second) <= SPEED_TOLERANCE * np.maximum(first, second)


def _mean_of(values: Floats) -> Floats:
    """Means over the first axis of what is known (an episode that failed is not); NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(0)
    total = np.where(known, values, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _differences(
    first: Scores, second: Scores, scenes: NDArray[np.bool_] | slice = slice(None)
) -> dict[str, PairedDifference]:
    return {
        column: crossed_difference(first.values[column][:, scenes], second.values[column][:, scenes])
        for column in TESTED
    }


def _adjusted(family: Sequence[dict[str, PairedDifference]]) -> list[dict[str, float]]:
    """The p values of all pairs and columns, adjusted together."""
    adjusted = iter(holm([gap.p_value for pair in family for gap in pair.values()]))
    return [{column: float(next(adjusted)) for column in pair} for pair in family]


def as_json(tables: Sequence[Scores]) -> list[JsonDict]:
    """Plain values of tables, for a file."""
    return [
        {
            "row": table.row,
            "stage": table.stage,
            "adversary": table.adversary,
            "horizon": table.horizon,
            "seeds": len(table.values["reward"]),
            "scenes": len(table.scenes),
            "columns": {
                column: table.interval(column)._asdict() | {"seed_std": table.spread(column)} for column in MEASURED
            },
        }
        for table in tables
    ]
