"""Align SAGE's experts on a folder of scenes, from one motion model.

The run folder then attacks as `--adversary sage:FOLDER` (`sage_smart:FOLDER` after `--backbone smart`). The experts
that ship with the package were made by this command with its defaults, on procedural scenes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adversaries.sage.config import FREE, ExpertsConfig
from harness.commands.options import NO_SCENES, RunOptions, TestScenes, TrainScenes, part
from harness.commands.progress import FitDisplay, ShownNumber, epochs_of
from harness.commands.scaffold import Session, command
from harness.errors import ConfigError
from harness.specs import build, parse

if TYPE_CHECKING:
    from adversaries.sage.backbone import Backbone

ADVERSARIES: Final = {"goals": "sage", "smart": "sage_smart"}
"""Which adversary takes the experts of a backbone."""


@dataclass(frozen=True)
class TrainExpertsConfig(RunOptions, TestScenes, TrainScenes):
    """Align experts by HGPO on the logged ego of every scene."""

    backbone: str = "goals"
    """Motion model to align: `goals`, the goal-conditioned prior that `sage` uses; `smart` (or `smart:FILE`,
    `smart:FILE?k=48&agents=8&temperature=1.0`), the traffic model's roll-outs, for `sage_smart`; or a registered
    one, or `module:Class`, of your own."""
    prior: Path | None = None
    """Weights of the goal-conditioned prior (safetensors); the shipped ones by default."""
    make: ExpertsConfig = field(default_factory=ExpertsConfig)
    """Experts that are made, and how."""

    def open_backbone(self) -> Backbone:
        """The motion model that is to be aligned.

        Raises:
            WeightsError: Missing or unreadable weights.
            ConfigError: Unknown name or options, or a prior for a backbone that has none.
        """
        if self.backbone == "goals":
            from adversaries.sage.make import load_goals

            return load_goals(self.prior, self.make.draw)
        if self.prior is not None:
            raise ConfigError("--prior holds weights of the goal-conditioned prior; others are named by --backbone.")
        made: Backbone = build("backbone", self.backbone)
        return made


RENAMED: Final = {"--train": part("train"), "--held-out": part("test")}
MAY_DIFFER: Final = ("make.experts", *(f"make.alignment.{name}" for name in sorted(FREE)))
"""Options that a resumed run may have otherwise: more epochs, and more experts."""
SHOWN: Final = ("feasible", "adversarial", "realism", "success", "top_feasible", "expected_feasible")
"""What is shown of an epoch."""


def run(config: TrainExpertsConfig, session: Session) -> Path:
    """Align, write experts and curves, print the tables; return the run folder.

    Raises:
        GauntletError: Unusable data, weights, options or folder.
    """
    from adversaries.sage.make import make_experts
    from harness.drawing.curves import draw_experts
    from harness.files import write_json
    from harness.report.training_tables import experts_tables

    reference, train, test = config.open_backbone(), config.open_train(), config.open_test()
    judged = "train" if config.test_split == NO_SCENES else "held_out"
    columns = [ShownNumber("loss", ".4f"), *(ShownNumber(f"{judged}.{key}", label=key) for key in SHOWN)]
    with session.open_run(config, train, test) as record:
        every, info = config.make.alignment.held_out_every, {"data": config.origin}
        with FitDisplay(session.console, columns, every=every, board=record.path) as display:
            histories = make_experts(config.make, reference, train, test, record.path, info=info, report=display)
        write_json(record.path / "curves.json", histories)
        with epochs_of(record.path):
            draw_experts(histories, record.path / "curves.png")
            for table in experts_tables(histories):
                session.console.print(table.rich())
    if adversary := ADVERSARIES.get(parse(config.backbone).name):
        session.say(f"use it as: --adversary {adversary}:{record.path.resolve()}")
    return record.path


@command(TrainExpertsConfig, __doc__, renamed=RENAMED, may_differ=MAY_DIFFER)
def main(config: TrainExpertsConfig, session: Session) -> None:
    """Align, print the table and where everything lies."""
    run(config, session)


if __name__ == "__main__":
    main()
