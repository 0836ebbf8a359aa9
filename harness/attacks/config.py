"""What a round of attacks is told, checked before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from harness.attacks.attackers import Attacker
from harness.commands.configs import at_least
from harness.commands.options import AttackedScenes, OutOption
from harness.episodes.protocol import ProtocolName
from harness.errors import ConfigError


@dataclass(frozen=True)
class AttackConfig(OutOption, AttackedScenes):
    """Plan attacks on the logged ego of every scene and judge them by geometry at every step."""

    adversary: tuple[str, ...] = ("cat", "rule")
    """`NAME[:FILE][?key=value&…][@λ]`, as in `cat`, `sage@0.5` (another intensity), `sage:EXPERTS?spacing=4`, or
    `module:Class`; `LABEL=…` gives another name in tables. `none` judges the logged opponent itself."""
    protocol: ProtocolName = "corrected"
    """`corrected`, or `as-published` to compare with the papers' tables; never both in one table."""
    intensity: float = 1.0
    """λ of adversaries with a dial (`sage`, `sage_smart`): 0 natural … 1 vicious; beyond, it extrapolates."""
    prior: Path | None = None
    """Motion prior weights (safetensors) for `cat`, `sage` and `seal`; the shipped ones by default. `sage` takes the
    experts that lie beside them (`train_experts` writes all three into a folder), `seal` takes `seal.safetensors`."""
    sut: str | None = None
    """System under test against which the attacks are played in the engine as well (`replay`, `idm`, `td3:FILE`,
    `FILE.onnx`, …); none by default."""
    horizon: int | None = None
    """With `--sut`: steps of 0.1 s after which an episode is cut off; by default where the scene's recording ends (90
    in WOMD). Adversaries plan the 8 s after the first second; in longer scenes an opponent whose plan has ended is
    gone."""
    pictures: int = 0
    """Number of attacks that are drawn per adversary."""
    export: bool = False
    """Write every attacked scene as a ScenarioNet folder per adversary, `scenes/ADVERSARY/`."""
    export_openscenario: bool = False
    """Write every attacked scene as ASAM OpenSCENARIO with OpenDRIVE roads, `openscenario/ADVERSARY/` (needs the
    optional library: `pip install 'gauntlet-drive[openscenario]'`)."""
    freeze: Path | None = None
    """Write the attacks into a file, to be replayed against systems with `benchmark --attacks`. Those that a controller
    drives (`seal`) are left out."""
    seed: int = 0
    """Seed of adversaries and bootstrap intervals."""

    def __post_init__(self) -> None:
        """Reject what cannot work before anything is loaded."""
        if not self.adversary:
            raise ConfigError("attack: name at least one adversary (--adversary cat rule none).")
        if self.freeze is not None and self.protocol != "corrected":
            raise ConfigError("--freeze: attacks as published are played a step late. Use --protocol corrected.")
        if self.pictures < 0:
            raise ConfigError(f"--pictures {self.pictures}: expected 0 or more.")
        if self.horizon is not None:
            at_least(1, horizon=self.horizon)
            if self.sut is None:
                raise ConfigError(f"--horizon {self.horizon} ends episodes: name a system under test, too (--sut idm).")
        if not math.isfinite(self.intensity):
            raise ConfigError(f"--intensity {self.intensity}: expected a finite number.")
        labels = [item.label for item in self.attackers]
        if len(set(labels)) != len(labels):
            raise ConfigError(f"attack: two adversaries are called the same among {', '.join(labels)}.")

    @property
    def attackers(self) -> tuple[Attacker, ...]:
        """The adversaries, each with its label and intensity."""
        return tuple(Attacker.parse(text, self.intensity) for text in self.adversary)
