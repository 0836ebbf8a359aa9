"""TensorBoard scalars of a run."""

from __future__ import annotations

import math
from pathlib import Path

from harness.commands.board import Board
from harness.files import Json
from harness.training.evaluation import COLUMNS, Row, summarise
from harness.training.rounds import Watcher


class TensorBoardWatcher(Watcher):
    """Writes losses, speed, schedule and evaluation means to an event file."""

    def __init__(self, run: Path, resumed_at: int) -> None:
        """Keep where to write.

        Args:
            run: Run folder.
            resumed_at: Step that the run goes on from; what an earlier process wrote after it is hidden.
        """
        self._board = Board(run, resumed_at or None)

    def metrics(self, record: Json) -> None:
        """Scalars of training."""
        for name, value in record.items():
            if name != "step" and value is not None and math.isfinite(value):
                self._board.add(f"train/{name}", value, record["step"])

    def evaluated(self, step: int, rows: list[Row]) -> None:
        """Means of an evaluation."""
        from dataclasses import asdict

        for summary in summarise([asdict(row) for row in rows]):
            place = f"{summary.stage}_{summary.horizon}" if summary.horizon else summary.stage
            for column in COLUMNS:
                self._board.add(f"{place}/{column.key}", summary.columns[column.key].mean, step)
        self._board.flush()

    def close(self) -> None:
        """Flush and close."""
        self._board.close()
