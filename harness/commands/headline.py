"""The headline tables of the documentation, and the command that makes each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

TableName = Literal["attacks", "egos", "traffic"]
Scale = Literal["full", "small"]


@dataclass(frozen=True, slots=True)
class HeadlineTable:
    """One table.

    Attributes:
        verb: The command that makes it.
        data: Its option of the scenes.
        out: Its option of the run folder, or of a file in it.
        file: Name of that file; empty where the option names the folder.
        arguments: All else, as in the documentation.
        small: Arguments that replace options of the same name, or are added, so that it takes minutes.
    """

    verb: str
    data: str
    out: str
    file: str
    arguments: Sequence[str]
    small: Sequence[str]

    def command(self, data: str, out: Path, scale: Scale) -> list[str]:
        """The verb and its arguments.

        Args:
            data: What the option of the scenes takes.
            out: Run folder.
            scale: As in the documentation, or small.
        """
        place = str(out / self.file if self.file else out)
        # An option that is given twice counts as given last.
        changed = self.small if scale == "small" else ()
        return [self.verb, *self.arguments, *changed, self.data, data, self.out, place]


TABLES: Final[dict[TableName, HeadlineTable]] = {
    "attacks": HeadlineTable(
        verb="benchmark",
        data="--data",
        out="--out",
        file="",
        arguments=(
            *("--split", "test", "--sut", "replay", "idm", "rule_expert", "ppo"),
            *("--adversary", "rule", "cat", "king", "adv_traj_opt", "seal", "sage@0", "sage@0.5", "sage"),
        ),
        small=("--scenes", "2"),
    ),
    "egos": HeadlineTable(
        verb="train_matrix",
        data="--train.data",
        out="--out",
        file="",
        arguments=(
            *("best", "--adversary", "none", "rule", "cat", "sage?levels=4", "--seed", "0", "1", "2", "3", "4"),
            *("--evaluate-against", "sage", "cat", "rule", "seal", "--against-log", "--train.steps", "6_000_000"),
        ),
        small=(
            *("--adversary", "none", "sage?levels=4", "--seed", "0", "--evaluate-against", "sage"),
            *("--train.steps", "100_000", "--train.train-scenes", "8", "--train.val-scenes", "2"),
            *("--train.test-scenes", "2"),
        ),
    ),
    "traffic": HeadlineTable(
        verb="evaluate_traffic",
        data="--data",
        out="--json",
        file="traffic.json",
        arguments=(
            *("--split", "test", "--traffic", "log", "idm-lane", "smart", "smart?shield=true"),
            *("--rollouts", "16"),
        ),
        small=("--scenes", "2", "--rollouts", "2"),
    ),
}
"""By name."""
