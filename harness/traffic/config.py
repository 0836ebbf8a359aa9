"""What `simulate` and `evaluate_traffic` simulate, with which models, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from harness.commands.configs import at_least
from harness.commands.options import AllDataOptions, RunOptions
from harness.engine.config import MAX_HORIZON
from harness.errors import ConfigError
from scenarios.scenario import DT, FUTURE_STEPS

_LEFT: Final = 1.0
"""Shortest time after the warm-up, s: with the first second of the scene it makes two."""


@dataclass(frozen=True)
class SimulateConfig(RunOptions, AllDataOptions):
    """Which scenes are rolled out, by whom, and how often."""

    scenes: str | None = "1"
    """Scenes of the split: `20` for the first 20, `10:20` for a range, `#3` for one, a scene's id, or several with
    commas."""
    traffic: str = "smart"
    """The model that moves everybody: `smart`, `rosetta` (or `smart:FILE`, `rosetta:FILE`), `infgen:FILE`, `log`,
    `constant_velocity`, `idm-lane`, `idm-flow`, `idm-path` or `module:Class`. Options follow a question mark, as in
    `smart:FILE?temperature=0.9` (smart: temperature, top_k, method=top_k|warm_k, continuity, choices,
    rule=likelihood|overlaps, shield=true, device, and how drivers drive: pace=1.2 times as fast as the lane allows,
    gap=2 s to the vehicle ahead, attention=0.5, spread, gap_spread)."""
    rollouts: int = 16
    """Independent roll-outs of each scene."""
    seconds: float = FUTURE_STEPS * DT
    """Length of the roll-outs, s. Beyond 8 s, and with traffic that enters and leaves (`idm-flow`, `rosetta`,
    `infgen`), who leaves is gone; in 8 s of any other model everybody of the first second stays, as in the sim agents
    challenge."""
    warm_up: float = 0.0
    """Time at the beginning that exported scenes leave out, s: with traffic that enters and leaves, what is left has
    little to do with how the recording began. The ego is somebody who is there then."""
    seed: int = 0
    """Seed of the roll-outs: the same seed gives the same ones."""
    gifs: int = 1
    """Moving pictures of the first so many roll-outs of each scene (10 frames per second: real time); 0 for none."""
    export: bool = False
    """Write every roll-out as a scene of ScenarioNet, too (`scenes` in each scene's folder)."""
    export_openscenario: bool = False
    """The same as OpenSCENARIO 1.2 on OpenDRIVE roads (`openscenario`); needs the extra `openscenario`."""
    threads: int | None = None
    """Threads of Torch; by default as many as Torch chooses."""

    def __post_init__(self) -> None:
        """Reject numbers that cannot work.

        Raises:
            ConfigError: A number is too small.
        """
        at_least(1, rollouts=self.rollouts)
        at_least(0, gifs=self.gifs, seed=self.seed)
        if not DT <= self.seconds <= MAX_HORIZON * DT:
            raise ConfigError(f"--seconds {self.seconds:g}: expected {DT} to {MAX_HORIZON * DT:g} s.")
        if not 0 <= self.warm_up <= self.seconds - _LEFT:
            raise ConfigError(
                f"--warm-up {self.warm_up:g}: expected 0 to {max(self.seconds - _LEFT, 0):g} s: "
                f"{_LEFT:g} s less than --seconds."
            )
        if self.warm_up and not (self.export or self.export_openscenario):
            raise ConfigError("--warm-up only matters to what is exported. Give --export or --export-openscenario too.")
        if self.threads is not None:
            at_least(1, threads=self.threads)

    @property
    def steps(self) -> int:
        """Simulated steps."""
        return round(self.seconds / DT)


@dataclass(frozen=True)
class EvaluateTrafficConfig(AllDataOptions):
    """Which models are compared, on which scenes, and by what."""

    traffic: tuple[str, ...] = ("log", "constant_velocity", "idm-lane")
    """The models: `log`, `constant_velocity`, `idm-lane`, `idm-path`, `smart`, `smart:FILE` or `module:Class`. Options
    follow a question mark, as in `smart:FILE?temperature=0.9` or `smart?shield=true` (beside `smart`: what a shield
    changes)."""
    rollouts: int = 32
    """Roll-outs per scene and model; the challenge has 32."""
    config: Literal["2025", "2024"] = "2025"
    """Year of the challenge whose weights are used."""
    agents: Literal["official", "near"] = "official"
    """Who is scored: `official` (the AV and the few that the challenge names: two agents in an interactive scene of
    WOMD), or `near` (everybody within 100 m of the AV at step 10). Values of one do not compare with values of the
    other."""
    parity: bool = False
    """Reproduce the official code with its quirks, bit for bit where it counts, instead of what it evidently means."""
    reactivity: bool = False
    """Measure, instead of realism, how often followers hit an ego that brakes hard in its lane if the models move the
    background; the others are compared with the first."""
    causes: bool = False
    """Measure, instead of realism, who causes the contacts of one roll-out a scene: everything is rolled out again
    with one of the two replaced by a careful driver; whose care prevents the contact could have prevented it."""
    dial: str | None = None
    """Measure, instead of realism, how traffic answers to one of its options, at some levels of it: `pace=0.8,1,1.2`
    (drivers' conditions are pace, gap and attention). Mean speed, mean time gap, contacts, and hits of an ego that
    brakes hard."""
    deceleration: float = 6.0
    """Deceleration of the ego of `--reactivity` and `--dial`, m/s² (6: hard, on a dry road)."""
    seed: int = 0
    """Seed of the simulators and of the bootstrap."""
    threads: int | None = None
    """Threads of Torch; by default as many as Torch chooses."""
    json: Path | None = None
    """File for means, intervals, paired differences and the numbers of every scene."""

    def __post_init__(self) -> None:
        """Reject what cannot work.

        Raises:
            ConfigError: A number is too small, or no model is named, or one twice.
        """
        at_least(1, rollouts=self.rollouts)
        at_least(0, seed=self.seed)
        if self.threads is not None:
            at_least(1, threads=self.threads)
        if self.causes + self.reactivity + (self.dial is not None) > 1:
            raise ConfigError("--causes, --reactivity and --dial measure different things. Give one of them.")
        if not self.deceleration > 0:
            raise ConfigError(f"--deceleration {self.deceleration}: expected more than 0 m/s².")
        if not self.traffic or len(set(self.traffic)) != len(self.traffic):
            raise ConfigError(f"--traffic {' '.join(self.traffic)}: expected at least one model, and each only once.")
