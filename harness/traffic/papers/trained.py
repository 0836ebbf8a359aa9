"""What the rows of the papers' tables need to have trained: a tree of stages from one base, each in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from harness import registry
from harness.errors import RunError, WorkerError
from harness.executors import WorkerSetup, run_jobs
from harness.files import file_name, write_json
from harness.fitting.events import unheard
from harness.traffic.model.smart import SHIPPED
from harness.traffic.papers.config import TrafficTablesConfig
from harness.traffic.papers.rows import TABLES
from harness.traffic.papers.table import PaperStep
from harness.traffic.tokens.config import SceneOptions
from harness.traffic.training.config import LoopConfig, StageOptions
from harness.traffic.training.policy_losses import METHODS
from harness.traffic.training.recipe import StagePlan, run_stages
from harness.traffic.training.stages import JUDGED
from harness.training.matrix_worker import stand_in
from scenarios.scenario import ScenarioSource
from scenarios.selection import edged_scenes
from scenarios.splits import Subset

NODES: Final = "trained"
"""Folder of what was trained, in the run folder."""
TOKENS: Final = "tokens"
"""Folder of tokenised scenes, in the run folder."""
HISTORY: Final = "history.json"
"""The epochs of a finished stage, in its folder."""
_SMART: Final = "smart"
_ROSETTA: Final = "rosetta."
"""What options of `RosettaConfig` begin with."""


@dataclass(frozen=True)
class TrainedNode:
    """A model that is trained: the stages from the base, the last of which is its own.

    Attributes:
        head: Head of the base.
        steps: Stages from the base.
        seed: Seed of all of them.
        out: Run folder.
    """

    head: str
    steps: tuple[PaperStep, ...]
    seed: int
    out: Path

    def __str__(self) -> str:
        return f"{' > '.join(step.name for step in self.steps)}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Where it is trained."""
        name = "--".join([*(step.name for step in self.steps), f"seed{self.seed}"])
        return self.out / NODES / file_name(name, "-_.")

    @property
    def traffic(self) -> str:
        """Name of the traffic that it is: that of its stage, where there is such traffic, or `smart`."""
        own = self.steps[-1].stage if self.steps else ""
        return own if own in registry.targets("traffic") else _SMART

    @property
    def _trained(self) -> Path:
        # Stages name their weights after the traffic.
        return self.folder / f"{self.traffic}.safetensors"

    @property
    def finished(self) -> bool:
        """Whether its training is over."""
        return (self.folder / HISTORY).is_file() and self._trained.is_file()

    def weights(self, config: TrafficTablesConfig) -> Path:
        """Its weights; those of the base where there is nothing to train."""
        if self.steps:
            return self._trained
        return bases_of(config)[self.head]

    @property
    def before(self) -> TrainedNode:
        """What its own stage starts from."""
        return replace(self, steps=self.steps[:-1])


def bases_of(config: TrafficTablesConfig) -> dict[str, Path]:
    """Weights that rows start from, by their head."""
    mixtures = {} if config.ego_init is None else {"gmm": config.ego_init}
    return {"tokens": SHIPPED if config.init is None else config.init, **mixtures}


def nodes_of(config: TrafficTablesConfig, out: Path) -> list[TrainedNode]:
    """Everything that the rows need, each once: seeds outermost, then what starts from the base first."""
    chains: dict[tuple[str, tuple[PaperStep, ...]], None] = {}
    for name in config.table:
        head = TABLES[name].head
        for row in config.rows(name):
            chains.update({(head, row.steps[:count]): None for count in range(1, len(row.steps) + 1)})
    ordered = sorted(chains, key=lambda chain: len(chain[1]))
    return [TrainedNode(head, steps, seed, out) for seed in config.seed for head, steps in ordered]


def train_nodes(config: TrafficTablesConfig, out: Path) -> Iterator[tuple[TrainedNode, str]]:
    """Train what is not finished, side by side where nothing waits for anything; yields each with why it failed, if so.

    Raises:
        GauntletError: The scenes cannot be used, or workers cannot be started.
    """
    nodes = nodes_of(config, out)
    for depth in range(1, 1 + max((len(node.steps) for node in nodes), default=0)):
        waiting = []
        for node in nodes:
            if len(node.steps) != depth or node.finished:
                continue
            if node.before.steps and not node.before.finished:
                yield node, "what it starts from could not be trained"
                continue
            node.folder.mkdir(parents=True, exist_ok=True)
            waiting.append(node)
        if waiting:
            setup = WorkerSetup("harness.traffic.papers.trained:build", {"config": config, "place": Path.cwd()})
            for result in run_jobs(waiting, setup, config.executor, config.workers):
                yield result.job, result.error


def build(config: TrafficTablesConfig, place: Path) -> NodeTrainer:
    """Target of `harness.executors.crew.WorkerSetup`.

    Args:
        config: What is trained.
        place: Working directory, from which relative paths start.

    Raises:
        GauntletError: The scenes cannot be used, or the directory does not exist on the worker's machine.
    """
    stand_in(place)
    return NodeTrainer(config)


class NodeTrainer:
    """A worker that trains one model after the other on the same scenes."""

    def __init__(self, config: TrafficTablesConfig) -> None:
        self.config = config
        self._train, self._val = config.open_train(), config.open_val()

    def __call__(self, node: TrainedNode) -> None:
        """Train a model, or go on with it.

        Raises:
            WorkerError: It failed: a loss that is not finite, or an unusable checkpoint.
        """
        step = node.steps[-1]
        train, val = self._scenes(step)
        try:
            _, rows = run_stages(self._plan(node, step), train, val, node.folder, unheard)
        except RunError as error:
            # One row's failure is that row's; a worker that raises RunError would end the whole run.
            raise WorkerError(str(error)) from error
        write_json(node.folder / HISTORY, rows)

    def _scenes(self, step: PaperStep) -> tuple[ScenarioSource, ScenarioSource]:
        train, val = self._train, self._val
        if step.stage in JUDGED:
            train, val = (edged_scenes(source, f"stage {step.stage}") for source in (train, val))
        if step.nth > 1:
            train = Subset(train, range(0, len(train), step.nth))
        return train, val

    def _plan(self, node: TrainedNode, step: PaperStep) -> StagePlan:
        config = self.config
        loop = config.reinforced if step.stage in METHODS else config.loop
        changes = dict(step.changes)
        behind = {key.removeprefix(_ROSETTA): changes.pop(key) for key in list(changes) if key.startswith(_ROSETTA)}
        return StagePlan(
            stages=(step.stage,),
            size="nano",
            init=node.before.weights(config),
            vocabulary=None,
            mirror=config.mirror,
            examples=config.examples,
            scene=SceneOptions(),
            dropout=None,
            loop=budgeted(replace(loop, seed=node.seed), step.nth),
            options=changed(config.options, changes),
            cache=node.out / TOKENS,
            info={"data": config.origin, "seed": node.seed},
            rosetta=replace(config.rosetta, **behind),
            infgen=config.infgen,
        )


def budgeted(loop: LoopConfig, nth: int) -> LoopConfig:
    """The loop of as many updates where only every so many-th scene is learnt from.

    An epoch has so many times fewer scenes. There are so many times more of them, and training stops after so many
    times more without a better value, or it would stop after fewer updates.
    """
    return replace(
        loop,
        epochs=loop.epochs * nth,
        patience=loop.patience * nth,
        scenes_per_epoch=-(-loop.scenes_per_epoch // nth),
    )


def changed(options: StageOptions, changes: dict[str, Any]) -> StageOptions:
    """Options with other values under dotted names.

    Raises:
        ConfigError: A value cannot work.
    """
    for name, value in changes.items():
        part, _, key = name.rpartition(".")
        if part:
            options = replace(options, **{part: replace(getattr(options, part), **{key: value})})
        else:
            options = replace(options, **{key: value})
    return options
