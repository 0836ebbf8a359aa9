"""TensorBoard scalars of a run."""

from __future__ import annotations

import math
from pathlib import Path

from harness.files import Json
from harness.training.evaluation import COLUMNS, Row, summarise
from harness.training.loop import Watcher


class TensorBoardWatcher(Watcher):
    """Writes losses, speed, schedule and evaluation means to an event file."""

    def __init__(self, folder: Path, resumed_at: int) -> None:
        """Open an event file in `folder`.

        Args:
            folder: Made if missing.
            resumed_at: Step that the run goes on from; what an earlier process wrote after it is hidden.
        """
        # Imported here: it takes seconds.
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=resumed_at or None)

    def metrics(self, record: Json) -> None:
        """Scalars of training."""
        for name, value in record.items():
            if name != "step" and value is not None and math.isfinite(value):
                self._writer.add_scalar(f"train/{name}", value, record["step"])

    def evaluated(self, step: int, rows: list[Row]) -> None:
        """Means of an evaluation."""
        from dataclasses import asdict

        for summary in summarise([asdict(row) for row in rows]):
            for column in COLUMNS:
                self._writer.add_scalar(f"{summary.stage}/{column.key}", summary.columns[column.key].mean, step)
        self._writer.flush()

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()
