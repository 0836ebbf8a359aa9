"""Options of `train_traffic` and of `train_traffic vocabulary`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

import tyro

from harness.commands.options import (
    DATA_HELP,
    NO_SCENES,
    DataOptions,
    RunOptions,
    TestScenes,
    TrainScenes,
    ValScenes,
)
from harness.traffic.infgen.config import InfGenConfig
from harness.traffic.rosetta.config import RosettaConfig
from harness.traffic.tokens.config import SceneOptions, VocabularyConfig
from harness.traffic.training.config import FREE, ExampleOptions, LoopConfig, StageOptions
from scenarios.scenario import ScenarioSource
from scenarios.selection import open_scenes
from scenarios.sources import PROCEDURAL

MAY_DIFFER: Final = ("cache", *(f"loop.{name}" for name in sorted(FREE)))
"""Options that a resumed run may have otherwise."""


@dataclass(frozen=True)
class TrainTrafficConfig(RunOptions, TestScenes, ValScenes, TrainScenes):
    """Train a traffic model on the logs of a scenario set."""

    test_split: str = "test"
    """Split that is never trained on, or `none`; it only leaves scenes of `--extra` out."""
    extra: tuple[str, ...] = ()
    """More folders (or GPUDrive, WOMD files) to train on, with `@train` for one split of a folder: all of their scenes,
    save those that are windows of a held-out drive."""
    held_out: tuple[str, ...] = ()
    """More scenes that are never trained on, as folders or files, with `@test` for one split of a folder: of no drive
    among them is there a window in training. Those of `--data` that are held out need not be named."""
    stage: str = "bc"
    """What to do: bc, catk and its rivals, mpo, ppo, dpo, grpo, grbo, distil, or the recipe sft-rft-sft; for an ego
    policy with a mixture head gmm, then gmm_catk and its rivals, gmm_hard among them; for traffic that enters and
    leaves rosetta, or its rival infgen."""
    size: Literal["nano", "mini", "tiny"] = "nano"
    """Size of a new model; later stages keep that of the weights which they start from."""
    init: Path | None = None
    """Weights to start from (safetensors); required by all stages but bc, gmm, rosetta and infgen. The last three
    take weights of bc for their scene encoder, or their own."""
    dropout: float | None = None
    """Dropout share instead of the model's (nano: 0.1); small models on few epochs do better with 0."""
    vocabulary: Path | None = None
    """Vocabulary of a new model (safetensors); the shipped one by default."""
    mirror: bool = True
    """Train on mirrored scenes too."""
    examples: ExampleOptions = field(default_factory=ExampleOptions)
    """Whom of the logs to learn from, and how often."""
    cache: Path | None = None
    """Folder for tokenised scenes, so that runs can share them; inside the run folder by default."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    """Optimisation."""
    options: StageOptions = field(default_factory=StageOptions)
    """Options of the objectives."""
    scene: SceneOptions = field(default_factory=SceneOptions)
    """What of a scene a new model sees."""
    rosetta: RosettaConfig = field(default_factory=RosettaConfig)
    """What a new model of the stage rosetta has behind its scene encoder."""
    infgen: InfGenConfig = field(default_factory=InfGenConfig)
    """What a new model of the stage infgen has behind its scene encoder."""


@dataclass(frozen=True)
class VocabularyCommand(DataOptions):
    """Build motion and map tokens by k-disks, and measure how well they reconstruct logs."""

    data: Annotated[str, tyro.conf.arg(help=f"{DATA_HELP} Or `none` for analytic motion alone.")] = PROCEDURAL
    split: str = "train"
    """Split to build from: `train`, `val`, `test`, or `all` for every scene."""
    measure_data: str | None = None
    """Folder whose logs are reconstructed for the table; the same data by default."""
    measure_split: str = "val"
    """Split of those logs: `train`, `val`, `test`, or `all`."""
    measure_scenes: str | None = None
    """Scenes of that split, written as for `--scenes`; all by default."""
    out: Path = Path("vocabulary.safetensors")
    """File to write."""
    config: VocabularyConfig = field(default_factory=VocabularyConfig)
    """Sizes of the vocabulary and of the samples that it is built from."""

    def open_measured(self) -> ScenarioSource | None:
        """The scenes of the table, or None where there is no data at all."""
        data = self.measure_data or self.data
        if data == NO_SCENES:
            return None
        return open_scenes(data, self.measure_split, self.measure_scenes, fit_only=self.fit_only, where=self.where)
