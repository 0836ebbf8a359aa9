"""Sizes of the scene autoencoder, and how it is trained.

RosettaSim (section 5.2) takes the published weights of Scenario Dreamer (Rowe et al. 2025), which were trained on WOMD
and cannot be had here. What that model is, its code says: one moment in a square of 64 m, 30 agents, 100 lanes of 20
points, latents of 8 and 24 numbers, and the losses of `harness.traffic.scene_vae.elbo`. Widths and depths here are
ours, for one CPU core. Its head for the number of lanes serves generation alone, and is left out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from harness.commands.configs import at_least, check_finite, option
from harness.errors import ConfigError, WeightsError
from harness.fitting.stored import settings_from_json

ARCHITECTURE: Final = "gauntlet-scene-vae-1"
"""Written into every weights file; a file with another value is refused."""
FREE: Final = frozenset({"epochs", "minutes", "threads", "patience"})
"""Fields of `VaeTraining` that may differ when a run goes on."""


@dataclass(frozen=True)
class SceneVaeConfig:
    """Architecture of the scene autoencoder, and what it sees of a moment."""

    hidden: int = 64
    """Width of all features; ours."""
    heads: int = 4
    """Attention heads; ours."""
    layers: int = 2
    """Blocks of the encoder, and of the decoder; ours."""
    pair: int = 16
    """Width of what the decoder makes of two lanes; ours."""
    object_latent: int = 8
    """Numbers of an object's latent (Scenario Dreamer)."""
    map_latent: int = 24
    """Numbers of a lane's latent (Scenario Dreamer)."""
    side: float = 64.0
    """Side of the square around the observer that is seen, m (Scenario Dreamer, RosettaSim section 6.2)."""
    objects: int = 30
    """Largest number of objects, the nearest ones (Scenario Dreamer)."""
    lanes: int = 100
    """Largest number of lanes, the nearest ones (Scenario Dreamer)."""
    points: int = 20
    """Points of a lane (Scenario Dreamer)."""

    def __post_init__(self) -> None:
        """Check what belongs together.

        Raises:
            ConfigError: It does not.
        """
        sizes = {name: value for name, value in asdict(self).items() if name != "side"}
        if min(sizes.values()) < 1 or self.hidden % self.heads or self.points < 2 or self.side <= 0:
            raise ConfigError(
                f"scene autoencoder: hidden {self.hidden} must be a multiple of heads {self.heads}, all sizes at least "
                f"1, a lane of two points at least, and the side, {self.side:g} m, above 0."
            )

    def to_dict(self) -> dict[str, object]:
        """JSON-able."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str) -> SceneVaeConfig:
        """Back from `to_dict`.

        Raises:
            WeightsError: A field is unknown, missing, of the wrong type or out of bounds.
        """
        missing = sorted(set(asdict(cls())) - set(values))
        if missing:
            raise WeightsError(f"{where}: configuration field {missing[0]!r} is unknown or missing.")
        return settings_from_json(cls, values, where, {"heads": 64, "objects": 1024, "lanes": 1024, "points": 256})


@dataclass(frozen=True)
class VaeTraining:
    """The training loop of the scene autoencoder."""

    epochs: int = 60
    """Most passes over the moments; the learning rate reaches its end at the last."""
    batch: int = 32
    """Number of moments per update."""
    learning_rate: float = 1e-3
    """Peak learning rate (AdamW). Scenario Dreamer has 1e-4 for a network of many times the width."""
    final_rate: float = 0.01
    """Share of the peak learning rate that is left at the end of its cosine."""
    weight_decay: float = 1e-4
    """Weight decay of AdamW, on matrices only (Scenario Dreamer)."""
    warmup: int = 200
    """Number of updates of linear warm-up."""
    clip: float = 1.0
    """Largest norm of a gradient."""
    average: float = 0.998
    """Decay per update of the moving average of the weights, which is what is validated and kept; 0 for none."""
    patience: int = 15
    """Number of epochs without a better value on validation scenes after which training stops."""
    minutes: float = 0.0
    """Minutes of training after which it stops and keeps the best epoch so far; 0 for no limit."""
    moments: int = 4
    """Moments of each scene, evenly spread over its length."""
    divergence: float = 0.01
    """Weight β of the Kullback-Leibler divergence (Scenario Dreamer)."""
    lanes: float = 10.0
    """Weight of the error of lane points (Scenario Dreamer)."""
    relations: float = 10.0
    """Weight of the cross-entropy of how lanes are connected (Scenario Dreamer)."""
    seed: int = 0
    """Seed of everything random."""
    threads: int = 1
    """Threads of PyTorch; with one the result is the same on every run."""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            ConfigError: Out of range.
        """
        values = {f"training.{name}": value for name, value in asdict(self).items()}
        check_finite(values)
        counts = ("epochs", "batch", "patience", "threads", "moments")
        at_least(1, **{f"training.{name}": getattr(self, name) for name in counts})
        at_least(0, **values)
        for name, fits, expected in (
            ("learning_rate", self.learning_rate > 0, "a number above 0"),
            ("clip", self.clip > 0, "a number above 0"),
            ("average", self.average < 1, "a decay from 0 to below 1"),
            ("final_rate", self.final_rate <= 1, "a share from 0 to 1"),
        ):
            if not fits:
                raise ConfigError(f"{option(f'training.{name}')} {getattr(self, name)}: expected {expected}.")
