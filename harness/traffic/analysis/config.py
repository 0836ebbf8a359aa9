"""Options of `traffic_analysis`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.commands.configs import at_least
from harness.commands.options import AllDataOptions, OutOption
from harness.errors import ConfigError
from harness.traffic.longterm.config import LongtermOptions
from harness.traffic.observers import Observer


@dataclass(frozen=True)
class TokenFrequencyConfig(OutOption, AllDataOptions):
    """How often motion tokens occur, beside words: whether both follow Zipf's law (RosettaSim, figure 2)."""

    vocabulary: Path | None = None
    """Motion tokens (of `train_traffic vocabulary`); those that come with the package by default."""
    text: tuple[Path, ...] = ()
    """Text files whose words are counted beside those of Python's documentation."""


@dataclass(frozen=True)
class AttentionConfig(OutOption, AllDataOptions):
    """Where the sequence model of RosettaSim looks: attention by distance and by part of the sequence (figure 6)."""

    weights: tuple[Path, ...] = ()
    """Models (of `train_traffic --stage rosetta`) that are compared on the same decisions."""
    decisions: int = 4
    """Decisions of each scene that are looked at, drawn at random; 0 for all."""
    observer: Observer = "ego"
    """Around whom, as in training: the `ego`, or somebody in the `middle` of the scene."""
    seed: int = 0
    """Seed of that drawing."""
    device: str = "cpu"
    """Device of PyTorch (`cpu`, `cuda`, …)."""

    def __post_init__(self) -> None:
        """Reject what cannot work.

        Raises:
            ConfigError: No model is named, or one twice, or a number is too small.
        """
        at_least(0, decisions=self.decisions, seed=self.seed)
        if not self.weights or len(set(self.weights)) != len(self.weights):
            raise ConfigError(
                "--weights: expected at least one file of `train_traffic --stage rosetta`, and each only once."
            )


@dataclass(frozen=True)
class ReferencesConfig(OutOption, LongtermOptions, AllDataOptions):
    """What recorded windows are retrieved for windows of a roll-out, as a picture (RosettaSim, figure 13)."""

    traffic: str = "smart"
    """The model that is rolled out: `log` for the recordings themselves, or as for `evaluate_longterm --traffic`."""
    windows: int = 4
    """Windows that are drawn, evenly spread over all of all scenes."""
    seed: int = 0
    """Seed of the roll-outs."""

    def __post_init__(self) -> None:
        """Reject what cannot work.

        Raises:
            ConfigError: A number is too small, or the retrieval is none.
        """
        super().__post_init__()
        at_least(1, windows=self.windows)
        at_least(0, seed=self.seed)
