"""Egos trained by TD3 (Fujimoto et al. 2018)."""

from __future__ import annotations

from ego_policies.sb3 import SB3Policy


class TD3Policy(SB3Policy):
    """A TD3 actor, such as `train_ego` writes: from a Stable-Baselines3 zip or a policy file.

    Reads observations only.

    Limits: The weights that come with the package have learnt from procedural scenes, as a baseline to test against.
    """

    name = "td3"
