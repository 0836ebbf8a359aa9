"""The trained ego: a Stable-Baselines3 TD3 checkpoint."""

from __future__ import annotations

from ego_policies.sb3 import SB3Policy


class TD3Policy(SB3Policy):
    """A TD3 actor from an SB3 zip, such as `train_ego` writes. Reads observations only."""

    name = "td3"
