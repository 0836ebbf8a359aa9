"""`python -m harness.sage_analysis`: what SAGE's experts and their mixtures do, in numbers and pictures.

Fronts of the three mixing strategies, monotone response to λ, preference vectors, reward landscape on the plane of the
experts, linearity along their segment, and extrapolation; against the logged ego, by geometry.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress, TaskID

from adversaries.sage.analysis import analyse
from harness.commands.runs import RunDirectory, default_folder
from harness.drawing.sage import draw_analysis
from harness.errors import ConfigError, GauntletError
from harness.files import write_json
from harness.report.sage_tables import tables
from scenarios.selection import open_part

VERB: Final = "sage_analysis"


@dataclass(frozen=True)
class SageAnalysisConfig:
    """Analyse a pair of experts."""

    data: str = "procedural"
    """Folder of ScenarioNet pickles, or `procedural` for the generated scenes."""
    scenes: str = "test"
    """Scenes to judge on: a split name, or indices such as `0:280` or `0:100,120,130:140`."""
    experts: Path | None = None
    """Folder that `train_experts` wrote; the shipped experts by default."""
    prior: Path | None = None
    """Prior weights, where they are not beside the experts."""
    steps: int = 9
    """Intensities of the fronts, evenly over [0, 1] (0, 0.25, 0.5, 0.75 and 1 are always there)."""
    grid: int = 9
    """Points per side of the reward landscape."""
    out: Path | None = None
    """Run folder; a new one under `runs/` by default."""

    def __post_init__(self) -> None:
        """Reject what cannot work."""
        if self.steps < 2 or self.grid < 2:
            raise ConfigError(f"sage_analysis: expected steps >= 2 and grid >= 2, got {self.steps}, {self.grid}.")


def run(config: SageAnalysisConfig, console: Console) -> tuple[dict[str, Any], Path]:
    """Analyse; return the numbers and the run folder.

    Raises:
        GauntletError: Unusable data, weights or folder.
    """
    scenes = open_part(config.data, config.scenes)
    record = RunDirectory.create(config.out or default_folder(VERB), VERB, asdict(config))
    tasks: dict[str, TaskID] = {}
    with record, Progress(console=console, disable=not console.is_terminal) as progress:

        def tick(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total or len(scenes))
            progress.update(tasks[what], completed=done)

        result: dict[str, Any] = analyse(
            str(config.experts) if config.experts else "",
            scenes,
            prior=str(config.prior) if config.prior else None,
            intensities=tuple(np.linspace(0, 1, config.steps).tolist()),
            grid=config.grid,
            tick=tick,
        )
        write_json(record.path / "analysis.json", result)
        draw_analysis(result, record.path)
    return result, record.path


def main(argv: Sequence[str] | None = None) -> None:
    """Parse options, analyse, print the tables and where everything lies."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    console = Console()
    config = tyro.cli(SageAnalysisConfig, args=argv, description=__doc__)
    try:
        result, folder = run(config, console)
    except GauntletError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(2)
    for shown in tables(result):
        console.print(shown.rich())
    rho = ", ".join(f"{key} {value:.2f}" for key, value in result["monotone"].items())
    found = result["vectors"]
    console.print(f"Spearman's ρ with λ: {rho}", highlight=False)
    console.print(
        f"Δ_adv {found['norm_adv']:.2f}, Δ_real {found['norm_real']:.2f} (prior {found['norm_reference']:.1f}), "
        f"angle {found['angle_degrees']:.0f}°",
        highlight=False,
    )
    console.print(f"written to {folder.resolve()}", highlight=False)


if __name__ == "__main__":
    main()
