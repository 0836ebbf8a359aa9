"""Options of `train_traffic vae`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from harness.commands.options import RunOptions, TrainScenes, ValScenes
from harness.traffic.scene_vae.config import FREE, SceneVaeConfig, VaeTraining

VAE_MAY_DIFFER: Final = tuple(f"training.{name}" for name in sorted(FREE))
"""Options that a resumed run may have otherwise."""


@dataclass(frozen=True)
class TrainVaeCommand(RunOptions, ValScenes, TrainScenes):
    """Train the scene autoencoder that says which recorded windows a simulated one is like (RosettaSim's RTE)."""

    training: VaeTraining = field(default_factory=VaeTraining)
    """Optimisation."""
    model: SceneVaeConfig = field(default_factory=SceneVaeConfig)
    """Sizes of a new autoencoder, and what it sees."""
