"""What a paper's table is made of: rows, and the stages of training that lead from one base to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from harness.errors import ConfigError

Changes = tuple[tuple[str, Any], ...]
"""Options that a row sets: dotted names of `StageOptions`, or of `RosettaConfig` after `rosetta.`, with values."""
Measure = Literal["realism", "likelihood", "longterm"]
"""By what rows are compared: the sim-agents metrics of 8 s, the likelihood of held-out logs, or traffic over minutes.
"""


@dataclass(frozen=True)
class PaperStep:
    """One stage of fine-tuning.

    Attributes:
        stage: Name of a single stage of `train_traffic`.
        changes: Options that the row sets.
        share: Share of the training scenes that is learnt from: 1, 1/2, 1/3, …; every 1/share-th of them, in so many
            more epochs that the number of updates is the same.

    Raises:
        ConfigError: There is no such share.
    """

    stage: str
    changes: Changes = ()
    share: float = 1.0

    def __post_init__(self) -> None:
        """Check the share."""
        if not 0 < self.share <= 1 or abs(1 / self.share - self.nth) > 1e-6:
            raise ConfigError(f"step {self.stage}: share {self.share} of the scenes is not 1, 1/2, 1/3, ….")

    @property
    def nth(self) -> int:
        """Which scenes are learnt from: every so many-th."""
        return round(1 / self.share)

    @property
    def name(self) -> str:
        """Part of a folder's name; different steps of the tables have different ones."""
        parts = [self.stage, *(f"{key.rpartition('.')[2]}_{value}" for key, value in self.changes)]
        return "-".join([*parts, *([f"share_{self.share:g}"] if self.share != 1 else [])])


@dataclass(frozen=True)
class PaperRow:
    """One row of a table.

    Attributes:
        label: As the table has it.
        steps: Stages that follow one another from the base; none for the base itself.
        decoding: Options of the traffic with which it is rolled out, as in `top_k=48&method=warm_k`.
        level: Where the row lies on the axis of the table's picture; None for a row that is a level line there.
        series: What rows are joined to a curve there.
    """

    label: str
    steps: tuple[PaperStep, ...] = ()
    decoding: str = ""
    level: float | None = None
    series: str = ""


@dataclass(frozen=True)
class PaperTable:
    """Rows that are compared.

    Attributes:
        title: What is compared.
        source: Paper and number of the table.
        rows: In the table's order; the first is what the others' differences are from.
        head: Head of the model that all start from.
        measure: By what they are compared.
        axis: What `PaperRow.level` is; empty for a table without a picture over levels.
    """

    title: str
    source: str
    rows: tuple[PaperRow, ...]
    head: Literal["tokens", "gmm"] = "tokens"
    measure: Measure = "realism"
    axis: str = ""
