"""What `evaluate_longterm retrieval` measures of a retrieval, on which scenes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import tyro

from harness.commands.configs import at_least, check_finite, option
from harness.commands.options import AllDataOptions
from harness.errors import ConfigError
from harness.traffic.longterm.config import TRAJECTORIES, vae_file
from scenarios.scenario import CURRENT_STEP, FUTURE_STEPS

DECODINGS: Final = tuple(
    f"top_k={count}&temperature={temperature}"
    for count in (2, 5, 10, 20, 48)
    for temperature in (0.5, 0.8, 1.0, 1.3, 2)
)
"""Ways of decoding a model: with two models 50 variants. RosettaSim has 63 and does not say which."""


@dataclass(frozen=True)
class ValidateRetrievalConfig(AllDataOptions):
    """Whether a retrieval finds what is alike, and whether scores that rest on it follow those of the challenge."""

    retrieval: str = TRAJECTORIES
    """What is validated: `vae:FILE`, the latents of a scene autoencoder, or `trajectories`."""
    traffic: Annotated[tuple[str, ...], tyro.conf.arg(aliases=("--models",))] = ("idm-lane", "smart")
    """Models whose roll-outs ask for their own recording, and that are ranked with good and with bad retrieval."""
    decoded: tuple[str, ...] = ("smart",)
    """Models that are decoded in many ways, such as `smart` and `smart:FILE`, for the correlation; none for none."""
    decodings: tuple[str, ...] = DECODINGS
    """In which ways: options of those models."""
    queries: int = 0
    """How many scenes, the first ones, are rolled out. All scenes can be retrieved: the others distract. 0: one in
    four, at least one."""
    rollouts: int = 1
    """Roll-outs per scene and model."""
    references: tuple[int, ...] = (1, 3, 5, 10)
    """Numbers K of retrieved windows that are compared; the correlation is told for the one nearest to 5."""
    map_weights: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0)
    """Weights λ of the map that are compared; the correlation is told for the one nearest to 1."""
    config: Literal["2025", "2024"] = "2025"
    """Year of the challenge whose scores are followed."""
    horizon: int = 311
    """Steps of 0.1 s of the roll-outs that are ranked with good and with bad retrieval, where scenes have so many."""
    seed: int = 0
    """Seed of the roll-outs."""
    threads: int | None = None
    """Threads of Torch; by default as many as Torch chooses."""
    json: Path | None = None
    """File for all numbers."""

    def __post_init__(self) -> None:
        """Reject what cannot work.

        Raises:
            ConfigError: A number is too small, nothing is to be compared, or there is no such retrieval.
        """
        at_least(1, rollouts=self.rollouts)
        at_least(0, seed=self.seed, queries=self.queries)
        vae_file(self.retrieval)
        if self.threads is not None:
            at_least(1, threads=self.threads)
        for name in ("traffic", "references", "map_weights", "decoded", "decodings"):
            values = getattr(self, name)
            # Without models that are decoded in many ways there is no correlation, which is allowed.
            if len(set(values)) < len(values) or not (values or name == "decoded"):
                raise ConfigError(f"{option(name)}: expected at least one value, and each only once.")
        at_least(1, references=min(self.references))
        at_least(0, map_weights=min(self.map_weights))
        for weight in self.map_weights:
            check_finite({"map_weights": weight})
        at_least(CURRENT_STEP + FUTURE_STEPS + 1, horizon=self.horizon)

    def asked(self, scenes: int) -> int:
        """How many of so many scenes are rolled out."""
        return min(self.queries or max(1, scenes // 4), scenes)
