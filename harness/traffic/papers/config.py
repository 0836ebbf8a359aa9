"""Options of `traffic_tables`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harness.commands.configs import at_least, option
from harness.commands.options import NO_SCENES, RunOptions, TestScenes, TrainScenes, ValScenes, WorkerOptions
from harness.errors import ConfigError, UnknownNameError
from harness.traffic.infgen.config import InfGenConfig
from harness.traffic.longterm.config import LongtermOptions
from harness.traffic.papers.rows import TABLES
from harness.traffic.papers.table import PaperRow
from harness.traffic.rosetta.config import RosettaConfig
from harness.traffic.training.config import ExampleOptions, LoopConfig, StageOptions

TABLES_MAY_DIFFER: Final = ("table", "only", "seed", "score_on", "beside", "decoding", "executor", "workers")
"""Options in which a resumed run may differ: only what is missing is trained and scored."""


@dataclass(frozen=True)
class TrafficTablesConfig(RunOptions, WorkerOptions, TestScenes, ValScenes, TrainScenes):
    """Train and score the rows of the papers' tables from one base; a row that several tables have is trained once."""

    table: tuple[str, ...] = ("r1",)
    """Tables: catk (CAT-K, table 5), ego (its table 6), r1, policies, alpha, beta (SMART-R1, tables 2 to 6), grbo (GRBO
    and Warm-K), shield (distillation); of RosettaSim rosetta_tunable, rosetta_depth, rosetta_random, rosetta_corruption
    (by likelihood: tables 2 to 6, figures 5 and 7), rosetta_short (table 1), rosetta_long, rosetta_density,
    rosetta_heuristics (over minutes: tables 7 and 9, figure 10, F.7)."""
    only: tuple[str, ...] = ()
    """Rows that are trained and shown: those whose label contains one of these texts, and the first; all by default."""
    init: Path | None = None
    """Weights that all rows start from (of `train_traffic --stage bc`); the shipped model by default."""
    ego_init: Path | None = None
    """Weights of a mixture policy (of `train_traffic --stage gmm`) that the rows of `--table ego` start from."""
    seed: tuple[int, ...] = (0,)
    """Seeds: every row is trained once with each. Seeds that are added later only train what is missing. Three or more
    tell what a seed does."""
    score_on: tuple[str, ...] = ("val",)
    """What rows are scored on: `val` or `test` of `--data`, or other scenes as `DATA@SPLIT`. What is chosen is chosen
    on val; look at test once."""
    beside: tuple[str, ...] = ("log", "idm-lane")
    """Other traffic that is scored on the same scenes, as for `evaluate_traffic --traffic`; none in tables by
    likelihood."""
    decoding: tuple[str, ...] = ("",)
    """Options with which every row is rolled out, beside its own: `"" shield=true` scores all rows without and with the
    shield."""
    rollouts: int = 16
    """Roll-outs per scene of 8 s; the challenge has 32."""
    longterm: LongtermOptions = field(default_factory=LongtermOptions)
    """How tables of traffic over minutes are rolled out and judged."""
    mirror: bool = True
    """Train on mirrored scenes too."""
    examples: ExampleOptions = field(default_factory=ExampleOptions)
    """Whom of the logs to learn from, and how often."""
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(epochs=5))
    """Optimisation of stages that learn from logs, the same for all rows (CAT-K, tables 5 and 6: 5 epochs)."""
    reinforced: LoopConfig = field(default_factory=lambda: LoopConfig(epochs=5))
    """Optimisation of stages of reinforcement."""
    options: StageOptions = field(default_factory=StageOptions)
    """Options of the objectives, where a row does not set its own."""
    rosetta: RosettaConfig = field(default_factory=RosettaConfig)
    """What models of the stage rosetta have behind their scene encoder, where a row does not set its own."""
    infgen: InfGenConfig = field(default_factory=InfGenConfig)
    """What models of the stage infgen have behind their scene encoder."""

    def __post_init__(self) -> None:
        """Reject what cannot work.

        Raises:
            UnknownNameError: There is no such table.
            ConfigError: Names the option.
        """
        for name in self.table:
            if name not in TABLES:
                raise UnknownNameError("table", name, TABLES)
        for name in ("table", "seed", "score_on", "decoding"):
            values = getattr(self, name)
            # What is there twice would count as two seeds, and make intervals too narrow.
            if not values or len(set(values)) < len(values):
                raise ConfigError(f"{option(name)}: expected at least one, and each only once, found {values}.")
        if len(set(self.beside)) < len(self.beside):
            raise ConfigError(f"--beside: expected each only once, found {self.beside}.")
        at_least(1, rollouts=self.rollouts)
        for seed in self.seed:
            at_least(0, seed=seed)
        if self.workers is not None:
            at_least(1, workers=self.workers)
        for part in ("loop", "reinforced"):
            if getattr(self, part).seed:
                raise ConfigError(f"--{part}.seed: rows are trained with the seeds of --seed; leave it out.")
        self._check_places()
        trained, judged = self.options.observer, self.longterm.observer
        if trained != judged and any(TABLES[name].measure == "longterm" for name in self.table):
            raise ConfigError(
                f"--options.observer {trained} and --longterm.observer {judged}: rows would be judged around another "
                "observer than they are trained around. Give both alike."
            )
        if self.ego_init is None and any(TABLES[name].head == "gmm" for name in self.table):
            raise ConfigError(
                "--table ego: its rows start from a mixture policy. Give --ego-init FILE (of --stage gmm)."
            )

    def _check_places(self) -> None:
        for place in self.score_on:
            if place not in ("val", "test") and "@" not in place:
                raise ConfigError(f"--score-on {place}: expected val, test or DATA@SPLIT.")
        if "test" in self.score_on and self.test_split == NO_SCENES:
            raise ConfigError("--score-on test, and --test-split none: there are no such scenes.")

    def rows(self, table: str) -> tuple[PaperRow, ...]:
        """The rows of a table that are wanted: the first one is always there, as the others are compared with it."""
        first, *others = TABLES[table].rows
        kept = [row for row in others if not self.only or any(part in row.label for part in self.only)]
        return (first, *kept)
