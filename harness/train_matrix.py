"""Train egos against every adversary, over seeds and curricula; SAGE's tables 3 and 8."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from harness.commands.scaffold import Session, command
from harness.training.config import BEST, PAPER, QUICK
from harness.training.matrix import MATRIX_MAY_DIFFER, MatrixConfig

PRESETS: Final[dict[str, tuple[str, MatrixConfig]]] = {
    "best": (
        "Five seeds of `none`, `rule`, `cat` and `sage` on the fast engine, minutes each; two adversaries held out.",
        MatrixConfig(
            # At four levels of intensity candidates are made once; else every attack of `sage` asks its networks.
            adversary=("none", "rule", "cat", "sage?levels=4"),
            ablate=(),
            seed=(0, 1, 2, 3, 4),
            evaluate_against=("sage", "cat", "rule", "seal", "king"),
            # A thread per run, and as many runs side by side as there are processors.
            train=replace(BEST, pictures=False, threads=1, eval_also_at=(50,)),
        ),
    ),
    "quick": (
        "64 + 16 procedural scenes, 60,000 steps per run: minutes instead of hours.",
        MatrixConfig(train=replace(QUICK, pictures=False)),
    ),
    "paper": (
        "1,000,000 steps per run (SAGE, tables 3 and 8; five seeds there).",
        MatrixConfig(train=replace(PAPER, pictures=False)),
    ),
}
RENAMED: Final = {
    "--adversaries": "--adversary",
    "--seeds": "--seed",
    "--parallel": "--workers",
    "--train.prior-weights": "--train.prior",
}


@command(MatrixConfig, __doc__, presets=PRESETS, renamed=RENAMED, may_differ=MATRIX_MAY_DIFFER)
def main(config: MatrixConfig, session: Session) -> None:
    """Train what is missing, evaluate, print the tables."""
    # Imported late: `--help` should not wait for torch and the simulator.
    from harness.training.matrix_run import run_matrix

    run_matrix(config, session)


if __name__ == "__main__":
    main()
