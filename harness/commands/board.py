"""TensorBoard's event file of a run, made when the first number comes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.files import explained

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Board:
    """Writes scalars into `tensorboard/` of a folder."""

    def __init__(self, run: Path, resumed_at: int | None = None) -> None:
        """Keep where to write.

        Args:
            run: The run folder.
            resumed_at: Step that a run goes on from; what an earlier process wrote after it is hidden.
        """
        self._folder, self._resumed_at = run / "tensorboard", resumed_at
        self._writer: SummaryWriter | None = None

    def add(self, name: str, value: float, step: int) -> None:
        """Write a number.

        Raises:
            RunError: It, or one before it, could not be written.
        """
        with explained(self._folder, "write in"):
            if self._writer is None:
                # Imported here: it takes seconds.
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(self._folder), purge_step=self._resumed_at)
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Hand over what was written.

        Raises:
            RunError: It could not be written.
        """
        if self._writer is not None:
            with explained(self._folder, "write in"):
                self._writer.flush()

    def close(self) -> None:
        """Hand over and close; a second call does nothing.

        Raises:
            RunError: What was written before could not be.
        """
        writer, self._writer = self._writer, None
        if writer is not None:
            with explained(self._folder, "write in"):
                writer.close()
