"""Show what SAGE's experts and their mixtures do: fronts, merging, kinds of encounter, landscapes and theory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from adversaries.sage.merging_config import MergingConfig
from harness.commands.configs import at_least
from harness.commands.options import DataOptions, OutOption, split_or_scenes
from harness.commands.scaffold import Session, command
from harness.errors import ConfigError
from harness.specs import Spec, parse


@dataclass(frozen=True)
class SageAnalysisConfig(OutOption, DataOptions):
    """Analyse a pair of experts."""

    adversary: str = "sage"
    """Experts that are analysed: `sage` for the shipped ones, `sage:EXPERTS` for a folder of `train_experts`."""
    prior: Path | None = None
    """Motion prior weights (safetensors), where they do not lie beside the experts."""
    steps: int = 9
    """Number of intensities of the fronts, evenly over [0, 1]; 0, 0.25, 0.5, 0.75 and 1 are always added."""
    grid: int = 9
    """Number of points along each side of the landscapes."""
    candidates: tuple[int, ...] = (1, 2, 4, 32)
    """Numbers of candidates at which the strategies are compared: the fewer, the more the policies decide."""
    merging: MergingConfig = field(default_factory=MergingConfig)
    """Ways of merging, and the third expert."""
    novelties: tuple[float, ...] = (0.0, 1.0, 3.0, 10.0)
    """Weights of `sage?novelty=W` whose attacks are compared by how evenly they cover the kinds of encounter."""

    def __post_init__(self) -> None:
        """Reject what cannot work."""
        at_least(2, steps=self.steps, grid=self.grid)
        at_least(1, candidates=min(self.candidates, default=0))
        at_least(0, novelties=min(self.novelties, default=-1))
        if self.spec.name != "sage" or self.spec.options or self.spec.intensity is not None:
            raise ConfigError(f"--adversary {self.adversary}: expected sage or sage:EXPERTS, nothing behind it.")

    @property
    def spec(self) -> Spec:
        """The adversary in its parts."""
        return parse(self.adversary)


RENAMED: Final = {"--experts": lambda folder: ["--adversary", f"sage:{folder}"], "--scenes": split_or_scenes}


def run(config: SageAnalysisConfig, session: Session) -> tuple[dict[str, Any], Path]:
    """Analyse, write numbers and pictures; return the numbers and the run folder.

    Raises:
        GauntletError: Unusable data, weights or folder.
    """
    from adversaries.sage.analysis import analyse
    from harness.commands.progress import FitDisplay
    from harness.drawing.sage import draw_analysis
    from harness.files import write_json
    from harness.fitting.events import Advanced

    scenes = config.open()
    with session.open_run(config, scenes) as record:
        with FitDisplay(session.console) as display:
            result: dict[str, Any] = analyse(
                config.spec.file,
                scenes,
                prior=str(config.prior) if config.prior else None,
                intensities=[place / (config.steps - 1) for place in range(config.steps)],
                grid=config.grid,
                candidates=config.candidates,
                merging=config.merging,
                novelties=config.novelties,
                tick=lambda what, done, total: display(Advanced(what, done, total or len(scenes))),
            )
        write_json(record.path / "analysis.json", result)
        write_json(record.path / "coefficients.json", result["merging"]["ways"]["coefficients"])
        draw_analysis(result, record.path)
    return result, record.path


@command(SageAnalysisConfig, __doc__, renamed=RENAMED)
def main(config: SageAnalysisConfig, session: Session) -> None:
    """Analyse, print the tables and where everything lies."""
    from harness.report.sage_tables import remarks, tables

    result, folder = run(config, session)
    for table in tables(result):
        session.console.print(table.rich())
    for line in (*remarks(result), f"written to {folder.resolve()}"):
        session.say(line)


if __name__ == "__main__":
    main()
