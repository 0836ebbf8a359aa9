"""SEAL's networks, all small: scorers of encounters, the skill autoencoder, and the prior over skills.

Sources: the scorer's architecture is SEAL's (`decision32/train.py`: three point layers of 32 with layer norm and
max-pooling, a head 32-16-2, sigmoid). Skills follow ReSkill, which SEAL uses: an LSTM encoder, a decoder that is asked
again at every step with what it then sees (closed loop), and a conditional flow of affine couplings as prior, with 8
latent numbers, 10 steps a skill and 4 couplings as in SEAL's configuration. Hidden layers are smaller (64 and 64
instead of 256 and 512), because the opponent sees 9 numbers here instead of MetaDrive's 101: see `skills.observe`.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

HIDDEN: Final = 32
LATENT: Final = 8
SKILL_STEPS: Final = 10
OBSERVATION: Final = 9
ACTIONS: Final = 2
COUPLINGS: Final = 4
SKILL_HIDDEN: Final = 64
PRIOR_HIDDEN: Final = 64


class TrackScorer(nn.Module):
    """From a relative track to [collision closeness, induced ego deviation], each in (0, 1)."""

    def __init__(self, hidden: int = HIDDEN) -> None:
        """Build it."""
        super().__init__()
        self.points = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.ReLU())
            for width in (3, 2 * hidden, 2 * hidden)
        )
        self.head = nn.Sequential(
            nn.Linear(hidden, hidden),
            nn.LayerNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden // 2),
            nn.LayerNorm(hidden // 2),
            nn.ReLU(),
            nn.Linear(hidden // 2, 2),
        )

    def forward(self, tracks: Tensor) -> Tensor:
        """Scores [B, 2] of tracks [B, T, 3] (x, y, valid)."""
        features = tracks
        for number, layer in enumerate(self.points):
            features = layer(features)
            pooled = features.amax(-2)
            if number < len(self.points) - 1:
                features = torch.cat([features, pooled[..., None, :].expand_as(features)], -1)
        return torch.sigmoid(self.head(pooled))


class SkillModel(nn.Module):
    """Autoencoder of action sequences."""

    def __init__(self) -> None:
        """Build it."""
        super().__init__()
        self.lstm = nn.LSTM(OBSERVATION + ACTIONS, SKILL_HIDDEN, batch_first=True)
        self.encoder = nn.Sequential(nn.Linear(SKILL_HIDDEN, 32), nn.LeakyReLU(), nn.Linear(32, 2 * LATENT))
        self.decoder = nn.Sequential(
            nn.Linear(OBSERVATION + LATENT, SKILL_HIDDEN),
            nn.LeakyReLU(),
            nn.Linear(SKILL_HIDDEN, 32),
            nn.LeakyReLU(),
            nn.Linear(32, ACTIONS),
            nn.Tanh(),
        )

    def encode(self, seen: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance [B, LATENT] of the skill behind observations [B, S, 9] and actions [B, S, 2]."""
        _, (state, _) = self.lstm(torch.cat([seen, actions], -1))
        mean, spread = self.encoder(state[-1]).chunk(2, -1)
        return mean, spread.clamp(-8.0, 4.0)

    def decode(self, seen: Tensor, skill: Tensor) -> Tensor:
        """Action [..., 2] in (-1, 1) for observations [..., 9] under skills [..., LATENT]."""
        return self.decoder(torch.cat([seen, skill], -1))


class SkillPrior(nn.Module):
    """Density of skills given the observation: affine couplings between skills and standard normal noise."""

    def __init__(self) -> None:
        """Build it."""
        super().__init__()
        half = LATENT // 2
        self.couplings = nn.ModuleList(
            nn.Sequential(nn.Linear(half + OBSERVATION, PRIOR_HIDDEN), nn.ReLU(), nn.Linear(PRIOR_HIDDEN, 2 * half))
            for _ in range(COUPLINGS)
        )

    def noise(self, skill: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Noise [B, LATENT] of skills and the log-determinant [B] of the map."""
        total = skill.new_zeros(len(skill))
        for coupling in self.couplings:
            kept, moved = skill.chunk(2, -1)
            scale, shift = self._affine(coupling, kept, seen)
            skill = torch.cat([(moved - shift) * torch.exp(-scale), kept], -1)
            total = total - scale.sum(-1)
        return skill, total

    def log_prob(self, skill: Tensor, seen: Tensor) -> Tensor:
        """Log-density [B]."""
        noise, determinant = self.noise(skill, seen)
        return determinant - 0.5 * (noise**2).sum(-1) - 0.5 * LATENT * float(torch.log(torch.tensor(2 * torch.pi)))

    def skill(self, noise: Tensor, seen: Tensor) -> Tensor:
        """Skills [B, LATENT] for noise [B, LATENT]: the inverse of `noise`."""
        skill = noise
        for coupling in reversed(self.couplings):
            moved, kept = skill.chunk(2, -1)
            scale, shift = self._affine(coupling, kept, seen)
            skill = torch.cat([kept, moved * torch.exp(scale) + shift], -1)
        return skill

    @staticmethod
    def _affine(coupling: nn.Module, kept: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = coupling(torch.cat([kept, seen], -1)).chunk(2, -1)
        return 2.0 * torch.tanh(scale / 2.0), shift
