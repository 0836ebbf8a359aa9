"""Egos trained by PPO (Schulman et al. 2017)."""

from __future__ import annotations

from ego_policies.sb3 import SB3Policy


class PPOPolicy(SB3Policy):
    """A PPO actor: from a policy file, whose mean action tanh bounds, or from a Stable-Baselines3 zip, whose is cut.

    Reads observations only.

    Limits: The weights that come with the package have learnt from procedural scenes, as a baseline to test against.
    """

    name = "ppo"
