"""Egos trained by SAC (Haarnoja et al. 2018)."""

from __future__ import annotations

from ego_policies.sb3 import SB3Policy


class SACPolicy(SB3Policy):
    """The mean action of a SAC actor: from a policy file or a Stable-Baselines3 zip.

    Reads observations only.
    """

    name = "sac"
