"""What a benchmark run is told, checked before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.attacks.attackers import Attacker
from harness.attacks.frozen import frozen_spec, opened
from harness.commands.configs import at_least, seconds_of
from harness.commands.options import AttackedScenes, RunOptions, WorkerOptions
from harness.episodes.protocol import ProtocolName
from harness.episodes.records import UNDISTURBED
from harness.errors import ConfigError
from harness.specs import labelled

MAY_DIFFER: Final = (
    *("executor", "workers", "timeout", "json", "retry_failures", "playback"),
    *("certify", "certify_rollouts", "certificate"),
    *("fail_if", "expected", "update_expected", "junit", "freeze"),
    *("budget", "dry_run"),
)
"""Options that do not change a result, so that a resumed run may have others."""
RECORDED: Final = "log"
"""Traffic that follows its recording."""


@dataclass(frozen=True)
class BenchmarkConfig(RunOptions, AttackedScenes, WorkerOptions):
    """Every adversary against every system under test, in two stages, over the scenes of a split."""

    sut: tuple[str, ...] = ("replay", "idm")
    """Systems under test: registry names, `td3:FILE`, `FILE.zip|.safetensors|.pt|.onnx`, `module:Class`; `LABEL=…`
    gives a name."""
    adversary: tuple[str, ...] = ("rule", "cat")
    """`NAME[:FILE][?key=value&…][@λ]`, as in `cat`, `sage@0.5` (another intensity), `sage:EXPERTS?spacing=4`, or
    `module:Class`; `LABEL=…` gives another name in tables. The undisturbed scene (`none`) is always there."""
    attacks: Path | None = None
    """File of attacks (of `--freeze`, or of `attack --freeze`) that are replayed in the place of `--adversary`: one row
    for each adversary and system that they were made on."""
    protocol: ProtocolName = "corrected"
    """`corrected`, or `as-published` to compare with the papers' tables; never both in one run."""
    intensity: float = 1.0
    """λ of adversaries with a dial (`sage`): 0 natural … 1 vicious."""
    prior: Path | None = None
    """Motion prior weights (safetensors) for adversaries that use one; SAGE's experts lie beside it. The
    shipped ones by default."""
    traffic: str = "log"
    """Who moves the background: `log`, `idm-path`, `idm-lane`, `constant_velocity`, `smart` (learned), `smart:FILE`,
    `smart:FILE?temperature=0.9`, or `module:Class`."""
    certify: bool = False
    """Make a fidelity certificate of the traffic on these scenes, `certificate.json` in the run folder: how lifelike it
    is, how it reacts to a braking ego, and whether the systems rank the same with `log` and `idm-lane` traffic. All
    episodes are run with those two as well: three times the work."""
    certify_rollouts: int = 16
    """Roll-outs per scene and kind of traffic that realism is measured on."""
    certificate: Path | None = None
    """A certificate of this traffic (`certificate.json` of another run), which the report then carries."""
    horizon: int | None = None
    """Steps of 0.1 s after which an episode is cut off; by default where the scene's recording ends (90 in WOMD).
    Adversaries plan the 8 s after the first second; in longer scenes an opponent whose plan has ended is gone."""
    seed: tuple[int, ...] = (0,)
    """Seeds, one or more; each repeats every episode, and intervals resample scenes with their repeats together."""
    timeout: float = 900.0
    """Longest time for all attacks on one system in one scene, s (no limit with `serial`); then one retry."""
    playback: int = 100
    """Scenes that the report plays back: the most telling failures and a sample. What is beyond 100 lies on pages
    beside the report; more scenes than there are means every one."""
    json: Path | None = None
    """File that the summary is written to as well: one object per adversary and system under test."""
    budget: str | None = None
    """Time after which no further episode begins, such as `90s`, `10m` or `2h`. Tables are then of the scenes that are
    complete, and say of how many. `--resume` goes on with the rest, without a budget unless one is given again."""
    dry_run: bool = False
    """Only say how many episodes, minutes and megabytes the run will be, measured on up to three of its scenes."""
    retry_failures: bool = False
    """On resumption, run failed episodes again."""
    freeze: Path | None = None
    """Write the attacks of this run (of its first seed) into a file, to be replayed against other systems with
    `--attacks`. Attacks that a controller drives (`seal`) are left out."""
    fail_if: tuple[str, ...] = ()
    """Conditions under which the command ends with exit code 1, as in "sage.crashed > .2" (of any system),
    "idm/sage.success.low > .1" (one system; the lower end of the interval) or "regressions > 0". Columns are those of
    summary.json, shares from 0 to 1; counts are regressions (episodes that pass in --expected and do not now),
    failing, errors, and gone."""
    expected: Path | None = None
    """File of expected outcomes (JSON) that the run is compared with, episode by episode. An episode passes where the
    ego touches no vehicle and stays on the road."""
    update_expected: bool = False
    """Write the outcomes of this run to --expected. What changes is printed, and counts as no regression."""
    junit: Path | None = None
    """File of JUnit XML with a test case per episode and per condition (needs the extra `gate`). Episodes that were
    expected to fail are skipped ones."""

    def __post_init__(self) -> None:
        """Reject what cannot work before anything is loaded."""
        if not self.sut or not self.adversary:
            raise ConfigError("benchmark: name at least one system (--sut idm) and one adversary (--adversary cat).")
        at_least(1, playback=self.playback, certify_rollouts=self.certify_rollouts)
        if self.certify and self.certificate is not None:
            raise ConfigError("--certify makes a certificate, --certificate names one. Leave one out.")
        if self.traffic == RECORDED and (self.certify or self.certificate is not None):
            raise ConfigError(
                f"--traffic {RECORDED} is the recording, which other traffic is certified against. Name the traffic to "
                "certify, as in --traffic smart."
            )
        if self.freeze is not None and self.protocol != "corrected":
            raise ConfigError("--freeze: attacks as published are played a step late. Use --protocol corrected.")
        if self.update_expected and self.expected is None:
            raise ConfigError("--update-expected: name the file, as in --expected expected.json.")
        if self.budget is not None:
            seconds_of("budget", self.budget)
            if self.certify or self.update_expected:
                raise ConfigError(
                    "--budget: a run that ends early makes no certificate and no expected results. Leave out --certify "
                    "and --update-expected."
                )
        if self.horizon is not None:
            at_least(1, horizon=self.horizon)
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"benchmark: expected --workers >= 1, got {self.workers}.")
        if not math.isfinite(self.intensity) or not self.timeout > 0:
            raise ConfigError(
                f"benchmark: expected a finite intensity and timeout > 0 s, got {self.intensity}, {self.timeout}."
            )
        if not self.seed or len(set(self.seed)) != len(self.seed) or min(self.seed) < 0:
            raise ConfigError(f"benchmark: expected one or more different seeds >= 0, got {self.seed}.")
        # The file of `--attacks` is read later: its rows have names of their own.
        labels = [item.label for item in self.attackers] if self.attacks is None else []
        if len(set(labels)) != len(labels):
            raise ConfigError(f"benchmark: two adversaries are called the same among {', '.join(labels)}.")
        if UNDISTURBED in labels:
            raise ConfigError(f"benchmark: {UNDISTURBED!r} is the undisturbed scene; give the adversary another label.")

    @property
    def attackers(self) -> tuple[Attacker, ...]:
        """The adversaries, `none` left out (it is stage 1); of `--attacks`, those that its file has.

        Raises:
            WeightsError: That file cannot be used.
        """
        if self.attacks is not None:
            return tuple(
                Attacker(f"{adversary} on {made_on}", frozen_spec(self.attacks, adversary, made_on), intensity)
                for (adversary, made_on), intensity in opened(self.attacks).groups.items()
            )
        found = [Attacker.parse(text, self.intensity) for text in self.adversary]
        return tuple(item for item in found if item.spec.head != UNDISTURBED)


@dataclass(frozen=True, slots=True)
class System:
    """A system under test as written on the command line.

    Attributes:
        spec: For `harness.episodes.policies.load_policy`.
        label: As written before `=`, or None for the policy's own name.
    """

    spec: str
    label: str | None = None

    @classmethod
    def parse(cls, text: str) -> System:
        """From `SPEC` or `LABEL=SPEC`."""
        label, spec = labelled(text)
        return cls(spec, label)
