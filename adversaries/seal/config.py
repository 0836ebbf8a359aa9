"""How SEAL's networks are learnt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FitConfig:
    """Optimisation (Adam, as SEAL; mean squared error for the scorers)."""

    scorer_epochs: int = 50
    """Number of epochs of the candidate scorer (SEAL: 50)."""
    scorer_batch: int = 64
    """Number of candidates per batch (SEAL: 64)."""
    scorer_rate: float = 1e-3
    """Learning rate of both scorers and of the skill prior (SEAL: 1e-3)."""
    reactive_epochs: int = 20
    """Number of epochs of the reactive scorer."""
    skill_epochs: int = 30
    """Number of epochs of the skill autoencoder (SEAL: 100, on more data)."""
    skill_rate: float = 1e-3
    """Learning rate of the skill autoencoder (SEAL: 1e-4)."""
    divergence: float = 1e-4
    """Weight of the autoencoder's divergence from a standard normal (ReSkill: 1e-8, which hardly regularises)."""
    prior_epochs: int = 60
    """Number of epochs of the skill prior."""
    batch: int = 256
    """Batch size of everything but the candidate scorer."""
    held_out: float = 0.15
    """Share of scenes, 0 to 1, on which the best epoch is chosen (SEAL: 0.15)."""
