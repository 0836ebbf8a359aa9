"""`python -m harness.attack`: attack on a scenario set; success, realism, pictures."""

from __future__ import annotations

import logging
import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import tyro
from rich.console import Console
from rich.progress import track

from harness.attacks.attackers import Attacker, Dialled
from harness.attacks.closed_loop import SimulatedAttack, simulate
from harness.attacks.export import attacked_scene
from harness.attacks.open_loop import AttackRecord, AttackSummary, attack_all, logged_context, summarise
from harness.attacks.tables import open_loop_table, simulation_table
from harness.commands.runs import RunDirectory, default_folder
from harness.drawing.attacks import draw_attack
from harness.episodes.policies import load_policy
from harness.errors import ConfigError, GauntletError
from harness.exports.library import library
from harness.exports.openscenario import write_openscenario
from harness.files import file_name, write_json, write_text
from harness.interfaces import Adversary, AttackPlan
from harness.report.tables import csv_text
from scenarios import open_source
from scenarios.export import write_folder
from scenarios.scenario import Scenario, ScenarioSource

STEERED: Final = ("sage", "sage_smart")
"""Adversaries that take `--experts`."""


@dataclass(frozen=True)
class AttackConfig:
    """Plan attacks on the logged ego of every scene and judge them by geometry at every step."""

    data: str = "procedural"
    """Folder of ScenarioNet pickles, or `procedural` for the generated scenes."""
    split: str = "test"
    """Name of a split (`train`, `val`, `test`), or `all` for every scene."""
    adversary: tuple[str, ...] = ("cat", "rule")
    """`NAME[:FILE][?key=value&…][@λ]`, as in `cat`, `sage@0.5` (another intensity), `sage:EXPERTS?spacing=4`, or
    `module:Class`; `LABEL=…` gives another name in tables. `none` judges the logged opponent itself."""
    protocol: Literal["corrected", "as-published"] = "corrected"
    """`corrected`, or `as-published` to compare with the papers' tables; never both in one table."""
    intensity: float = 1.0
    """λ of adversaries with a dial (`sage`, `sage_smart`): 0 natural … 1 vicious; beyond, it extrapolates."""
    prior: Path | None = None
    """Motion prior weights (safetensors) for `cat`, `sage` and `seal`; the shipped ones by default. `sage` takes the
    experts that lie beside them (`train_experts` writes all three into a folder), `seal` takes `seal.safetensors`."""
    experts: Path | None = None
    """Folder of `train_experts` for `sage` or `sage_smart` (one of them at a time), instead of those beside `prior`
    or the shipped ones."""
    scenes: int | None = None
    """Attack only the first so many scenes of the split."""
    policy: str | None = None
    """Also play the attacks in the engine against this policy (`replay`, `idm`, `td3:FILE`, `FILE.onnx`, …)."""
    pictures: int = 0
    """Draw so many attacks per adversary."""
    export: bool = False
    """Write every attacked scene as a ScenarioNet folder per adversary, `scenes/ADVERSARY/`."""
    export_openscenario: bool = False
    """Write every attacked scene as ASAM OpenSCENARIO with OpenDRIVE roads, `openscenario/ADVERSARY/` (needs the
    optional library: `pip install 'gauntlet-drive[openscenario]'`)."""
    seed: int = 0
    """Seeds adversaries and bootstrap intervals."""
    out: Path | None = None
    """New folder for `run.json`, `attacks.csv`, `summary.json` and `pictures/`; by default one under `runs/`."""

    def __post_init__(self) -> None:
        """Reject what cannot work before anything is loaded."""
        if not self.adversary:
            raise ConfigError("attack: name at least one adversary (--adversary cat rule none).")
        if self.experts is not None and len({item.spec.name for item in self.attackers} & set(STEERED)) != 1:
            raise ConfigError("attack: --experts are those of `sage` or of `sage_smart`: name one of the two.")
        if (self.scenes is not None and self.scenes < 1) or self.pictures < 0:
            raise ConfigError(f"attack: expected scenes >= 1 and pictures >= 0, got {self.scenes}, {self.pictures}.")
        if not math.isfinite(self.intensity):
            raise ConfigError(f"attack: expected a finite intensity, got {self.intensity}.")
        labels = [item.label for item in self.attackers]
        if len(set(labels)) != len(labels):
            raise ConfigError(f"attack: two adversaries are called the same among {', '.join(labels)}.")

    @property
    def attackers(self) -> tuple[Attacker, ...]:
        """The adversaries, each with its label and intensity."""
        return tuple(Attacker.parse(text, self.intensity) for text in self.adversary)


def run(config: AttackConfig, console: Console) -> tuple[list[AttackSummary], Path]:
    """Attack, write the folder, print tables; return one summary per adversary, and the folder.

    Raises:
        GauntletError: Unknown names, unusable data or weights, or an unwritable folder.
    """
    if config.export_openscenario:
        library()  # missing libraries are found now, not after the first attack
    adversaries = [_build(attacker, config) for attacker in config.attackers]
    source = open_source(config.data, split=config.split)
    count = len(source) if config.scenes is None else min(config.scenes, len(source))
    if count == 0:
        raise ConfigError(f"attack: {config.data} has no scene in split {config.split!r}. Try --split all.")
    scenes = (source[index] for index in range(count))
    progress = track(scenes, "attacking", total=count, console=console, disable=not console.is_terminal)
    with RunDirectory.create(config.out or default_folder("attack"), "attack", asdict(config)) as folder:
        keep = _Keeper(folder.path, config)
        records = attack_all(
            adversaries, progress, config.protocol, intensity=config.intensity, seed=config.seed, on_plan=keep
        )
        summaries = summarise(records, config.seed)
        write_text(folder.path / "attacks.csv", csv_text(asdict(record) for record in records))
        write_json(folder.path / "summary.json", [asdict(row) for row in summaries])
        console.print(open_loop_table(summaries).rich(turned=True))
        if config.policy is not None:
            episodes = _simulate(config, source, count, adversaries, console)
            write_text(folder.path / "simulated.csv", csv_text(asdict(episode) for episode in episodes))
            console.print(simulation_table(episodes).rich(turned=True))
        return summaries, folder.path


def _simulate(
    config: AttackConfig, source: ScenarioSource, count: int, adversaries: Sequence[Adversary], console: Console
) -> list[SimulatedAttack]:
    def progress(indices: range) -> Iterable[int]:
        return track(indices, "simulating", console=console, disable=not console.is_terminal)

    policy = load_policy(config.policy or "replay")
    return simulate(
        source,
        count,
        policy,
        adversaries,
        config.protocol,
        intensity=config.intensity,
        seed=config.seed,
        progress=progress,
    )


class _Keeper:
    """Draws the first attacks of each adversary, and writes attacked scenes where that is wanted."""

    def __init__(self, folder: Path, config: AttackConfig) -> None:
        self._folder, self._config = folder, config
        self._drawn: Counter[str] = Counter()

    def __call__(self, scenario: Scenario, record: AttackRecord, plan: AttackPlan | None) -> None:
        if record.error:
            return
        if plan is not None and (self._config.export or self._config.export_openscenario):
            self._export(attacked_scene(scenario, plan, f"{scenario.id}-{record.adversary}"), _folder(record.adversary))
        if self._drawn[record.adversary] >= self._config.pictures:
            return
        self._drawn[record.adversary] += 1
        path = self._folder / "pictures" / f"{_folder(record.adversary)}_{file_name(scenario.id)}.png"
        step = record.contact_step if record.protocol == "corrected" else record.contact_step_cat
        ego = logged_context(scenario).ego_trajectories[-1]
        title = f"{record.adversary} ({record.protocol}), scene {scenario.id}"
        draw_attack(scenario, plan, ego, path, contact_step=step, title=title)

    def _export(self, attacked: Scenario, adversary: str) -> None:
        if self._config.export:
            write_folder([attacked], self._folder / "scenes" / adversary)
        if self._config.export_openscenario:
            write_openscenario(attacked, self._folder / "openscenario" / adversary, file_name(attacked.id))


def main(argv: Sequence[str] | None = None) -> None:
    """Parse options, run, print the table and where everything lies."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    console = Console()
    config = tyro.cli(AttackConfig, args=argv, description=__doc__)
    try:
        _, folder = run(config, console)
    except GauntletError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(2)
    console.print(f"written to {folder.resolve()}", highlight=False)


def _folder(adversary: str) -> str:
    """An adversary's label as part of a path."""
    return file_name(adversary, "-_@.")


def _build(attacker: Attacker, config: AttackConfig) -> Adversary:
    # `--experts` belong to whichever steered adversary is named; `--prior` to everybody who has one.
    experts = config.experts if attacker.spec.name in STEERED else None
    adversary = attacker.build(protocol=config.protocol, prior=config.prior, experts=experts)
    return Dialled(adversary, attacker.label, attacker.intensity)


if __name__ == "__main__":
    main()
