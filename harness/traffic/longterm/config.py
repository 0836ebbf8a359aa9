"""What `evaluate_longterm` compares, on which scenes, and by what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import tyro

from harness import specs
from harness.commands.configs import at_least, check_finite
from harness.commands.options import AllDataOptions
from harness.errors import ConfigError
from harness.traffic.observers import Observer
from scenarios.scenario import CURRENT_STEP, FUTURE_STEPS

TRAJECTORIES: Final = "trajectories"
"""Retrieval by everybody's ways, which needs no learned model."""
LATENTS: Final = "vae"
"""Retrieval by the latents of a scene autoencoder: the paper's."""


def vae_file(retrieval: str) -> Path | None:
    """The weights that `vae:FILE` names; None for `trajectories`.

    Raises:
        ConfigError: It is neither, or has options.
    """
    spec = specs.parse(retrieval)
    if retrieval == TRAJECTORIES:
        return None
    if spec.name != LATENTS or not spec.file or spec.options or spec.intensity is not None:
        raise ConfigError(
            f"--retrieval {retrieval}: expected `{TRAJECTORIES}`, or `{LATENTS}:FILE` with weights of "
            "`train_traffic vae`."
        )
    return Path(spec.file)


@dataclass(frozen=True)
class LongtermOptions:
    """How traffic over minutes is rolled out and judged."""

    horizon: int = 311
    """Steps of 0.1 s that are looked at, of scenes that have so many; shorter ones are judged over their own length."""
    rollouts: int = 1
    """Roll-outs per scene and model."""
    observer: Observer = "ego"
    """Around whom 75 m are observed: the `ego`, which drives as recorded, or somebody in the `middle` of the scene, who
    sees the area in which anybody was recorded; the ego is one among others then."""
    references: int = 5
    """Recorded windows that each simulated one is compared with (K of the retrieval)."""
    every: int = 4
    """Which recorded windows can be retrieved: every so many-th of each scene, which begin every .5 s. Neighbours are
    nearly the same, and comparing takes its time."""
    retrieval: str = "trajectories"
    """How the most similar recorded windows are found: `vae:FILE` by the latents of a scene autoencoder (weights of
    `train_traffic vae`), as RosettaSim does, or `trajectories` by everybody's ways, which needs no weights."""
    map_weight: float = 1.0
    """Weight λ of the map against the objects with `--retrieval vae:FILE`: each distance is divided by its median over
    the recorded windows first."""
    passed_over: float = 0.0
    """Share of the most similar recorded windows that is passed over. It only serves to see what bad retrieval does
    (RosettaSim, table 10: 0.8)."""
    foreign: bool = False
    """Retrieve windows of other scenes only."""

    def __post_init__(self) -> None:
        """Reject what cannot work.

        Raises:
            ConfigError: A number is too small, or the retrieval is none.
        """
        at_least(1, rollouts=self.rollouts, references=self.references, every=self.every)
        at_least(0, map_weight=self.map_weight)
        if not 0 <= self.passed_over < 1:
            raise ConfigError(f"--passed-over {self.passed_over}: expected a share from 0 to below 1.")
        check_finite({"map_weight": self.map_weight})
        vae_file(self.retrieval)
        at_least(CURRENT_STEP + FUTURE_STEPS + 1, horizon=self.horizon)


@dataclass(frozen=True)
class EvaluateLongtermConfig(LongtermOptions, AllDataOptions):
    """Which models are compared, on which scenes, and by what."""

    traffic: Annotated[tuple[str, ...], tyro.conf.arg(aliases=("--models",))] = ("log", "idm-lane", "smart")
    """The models: `log`, `idm-lane`, `idm-flow`, `constant_velocity`, `smart`, `smart:FILE`, `rosetta`, `rosetta:FILE`,
    `infgen:FILE` or `module:Class`, whatever moves the background of an environment. Whoever is not there at step 10
    does not enter unless the model lets it; `log` is the recording itself, the ceiling."""
    seed: int = 0
    """Seed of the roll-outs and of the bootstrap."""
    threads: int | None = None
    """Threads of Torch; by default as many as Torch chooses."""
    json: Path | None = None
    """File for means, intervals, scores by windows and the numbers of every scene."""
    picture: Path | None = None
    """File (PNG) for the scores by windows."""

    def __post_init__(self) -> None:
        """Reject what cannot work.

        Raises:
            ConfigError: A number is too small, or no model is named, or one twice.
        """
        super().__post_init__()
        at_least(0, seed=self.seed)
        if self.threads is not None:
            at_least(1, threads=self.threads)
        if not self.traffic or len(set(self.traffic)) != len(self.traffic):
            raise ConfigError(f"--traffic {' '.join(self.traffic)}: expected at least one model, and each only once.")
