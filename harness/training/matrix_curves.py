"""How the egos of a matrix learnt: one curve per row of its tables, over its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.commands.runs import read_records
from harness.training.evaluation import STAGES, Row, Stage, rows_of
from harness.training.matrix import TrainedCell
from harness.training.matrix_scores import EITHER, value_of

Floats = NDArray[np.float64]

RECORDS: Final = ("validation.jsonl", "evaluation.jsonl")
"""Where runs tell how they fared as they learnt: on the scenes that choose the policy, or else on test scenes."""
LEARNT: Final = ("completion", "collision", EITHER, "speed")
"""What a curve shows; speed, because who races outruns attacks."""


@dataclass(frozen=True, slots=True)
class MethodCurve:
    """One row of a matrix in one stage.

    Attributes:
        row: Which.
        stage: As recorded, or attacked.
        steps: [K] environment steps of the evaluations, means over the seeds.
        values: Per name of `LEARNT`, [seeds, K] means over scenes.
    """

    row: str
    stage: Stage
    steps: Floats
    values: dict[str, Floats]

    def band(self, name: str) -> tuple[Floats, Floats, Floats]:
        """Mean over seeds [K], and that minus and plus one standard deviation over seeds (0 with one seed)."""
        values = self.values[name]
        mean = values.mean(0)
        spread = values.std(0, ddof=1) if len(values) > 1 else np.zeros_like(mean)
        return mean, mean - spread, mean + spread


def learning_curves(cells: Sequence[TrainedCell]) -> list[MethodCurve]:
    """The curves of every row, in the cells' order.

    Runs evaluate themselves at the end of the episode or round in which a multiple of `eval_every` is passed: the k-th
    evaluations of a row's seeds belong together. A curve is as long as the shortest of its seeds.

    Raises:
        RunError: The records of a run are damaged.
    """
    histories: dict[str, list[list[tuple[int, list[Row]]]]] = {}
    for cell in cells:
        histories.setdefault(cell.row, []).append(_history(cell.folder))
    found = []
    for row, seeds in histories.items():
        length = min(len(history) for history in seeds)
        if length == 0:
            continue
        steps = np.array([[step for step, _ in history[:length]] for history in seeds], np.float64).mean(0)
        for stage in STAGES:
            values = {
                name: np.array([[_mean(rows, stage, name) for _, rows in history[:length]] for history in seeds])
                for name in LEARNT
            }
            found.append(MethodCurve(row, stage, steps, values))
    return found


def _history(folder: Path) -> list[tuple[int, list[Row]]]:
    """The evaluations of a run by step."""
    for name in RECORDS:
        file = folder / name
        rows = rows_of(read_records(file), file)
        if rows:
            by_step: dict[int, list[Row]] = {}
            for row in (row for row in rows if row.horizon == 0):
                by_step.setdefault(row.step, []).append(row)
            return sorted(by_step.items())
    return []


def _mean(rows: Sequence[Row], stage: Stage, name: str) -> float:
    """Mean over the episodes of a stage that did not fail."""
    values = np.array([value_of(row, name) for row in rows if row.stage == stage])
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
