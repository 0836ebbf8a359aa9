"""`python -m harness.attack`: attack the logged ego on a scenario set; success, realism, pictures."""

from __future__ import annotations

import csv
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from harness.attack_picture import draw_attack
from harness.errors import ConfigError, GauntletError
from harness.interfaces import Adversary, AttackPlan
from harness.metrics.intervals import Interval
from harness.open_loop import AttackRecord, AttackSummary, attack_all, logged_context, summarise
from harness.registry import make
from harness.runs import RunDirectory, default_folder, write_atomically, write_json
from scenarios.scenario import Scenario


@dataclass(frozen=True)
class AttackConfig:
    """Plan attacks on the logged ego of every scene and judge them by geometry at every step."""

    data: str = "procedural"
    """Folder of ScenarioNet pickles, or `procedural` for the generated scenes."""
    split: str | None = "test"
    """Name of a split (`train`, `val`, `test`), or `None` for every scene."""
    adversary: tuple[str, ...] = ("cat", "rule")
    """Registry names; `none` judges the logged opponent itself."""
    protocol: Literal["corrected", "as-published"] = "corrected"
    """`corrected`, or `as-published` to compare with the papers' tables; never both in one table."""
    prior: Path | None = None
    """Motion prior weights (safetensors) for `cat`; the shipped ones by default."""
    scenes: int | None = None
    """Attack only the first so many scenes of the split."""
    pictures: int = 0
    """Draw so many attacks per adversary."""
    seed: int = 0
    """Seeds adversaries and bootstrap intervals."""
    out: Path | None = None
    """New folder for `run.json`, `attacks.csv`, `summary.json` and `pictures/`; by default one under `runs/`."""

    def __post_init__(self) -> None:
        """Reject what cannot work before anything is loaded."""
        if not self.adversary:
            raise ConfigError("attack: name at least one adversary (--adversary cat rule none).")
        if (self.scenes is not None and self.scenes < 1) or self.pictures < 0:
            raise ConfigError(f"attack: expected scenes >= 1 and pictures >= 0, got {self.scenes}, {self.pictures}.")


def run(config: AttackConfig, console: Console) -> tuple[list[AttackSummary], Path]:
    """Attack, write the folder; return one summary per adversary, and the folder.

    Raises:
        GauntletError: Unknown names, unusable data or weights, or an unwritable folder.
    """
    from scenarios import open_source

    adversaries = [_build(name, config) for name in config.adversary]
    source = open_source(config.data, split=config.split)
    count = len(source) if config.scenes is None else min(config.scenes, len(source))
    if count == 0:
        raise ConfigError(f"attack: {config.data} has no scene in split {config.split!r}. Try --split None.")
    scenes = (source[index] for index in range(count))
    progress = track(scenes, "attacking", total=count, console=console, disable=not console.is_terminal)
    with RunDirectory.create(config.out or default_folder("attack"), "attack", asdict(config)) as folder:
        draw = _Pictures(folder.path / "pictures", config)
        records = attack_all(adversaries, progress, config.protocol, seed=config.seed, on_plan=draw)
        summaries = summarise(records, config.seed)
        write_csv(folder.path / "attacks.csv", records)
        write_json(folder.path / "summary.json", [asdict(row) for row in summaries])
        return summaries, folder.path


class _Pictures:
    """Draws the first attacks of each adversary."""

    def __init__(self, folder: Path, config: AttackConfig) -> None:
        self._folder, self._config = folder, config
        self._drawn: Counter[str] = Counter()

    def __call__(self, scenario: Scenario, record: AttackRecord, plan: AttackPlan | None) -> None:
        if record.error or self._drawn[record.adversary] >= self._config.pictures:
            return
        self._drawn[record.adversary] += 1
        path = self._folder / f"{record.adversary}_{_file_name(scenario.id)}.png"
        step = record.contact_step if record.protocol == "corrected" else record.contact_step_cat
        ego = logged_context(scenario).ego_trajectories[-1]
        title = f"{record.adversary} ({record.protocol}), scene {scenario.id}"
        draw_attack(scenario, plan, ego, path, contact_step=step, title=title)


def table(summaries: Sequence[AttackSummary]) -> Table:
    """The summaries as a table: percentages and means with 95 % intervals."""
    published = summaries[0].protocol == "as-published"
    shown = Table(title=f"Attacks on the logged ego, {summaries[0].protocol} (95 % intervals)")
    heads = ["adversary", "scenes", "failed", "success %", *(["success % (SAGE script)"] if published else [])]
    heads += ["R_adv", "P_kin", "P_beh", "off road %", "hits traffic %", "ms (median)"]
    for head in heads:
        shown.add_column(head, justify="left" if head == "adversary" else "right")
    for row in summaries:
        cells = [row.adversary, str(row.scenes), str(row.failed), _percent(row.success)]
        cells += [_percent(row.success_sage)] if row.success_sage is not None else []
        cells += [_number(row.reward), _number(row.kinematic), _number(row.behavioural)]
        cells += [_percent(row.off_road), _percent(row.hits_traffic), f"{row.milliseconds:.1f}"]
        shown.add_row(*cells)
    return shown


def write_csv(path: Path, records: Sequence[AttackRecord]) -> None:
    """One line per attack, columns as in `AttackRecord`."""

    def write(beside: Path) -> None:
        with beside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in fields(AttackRecord)])
            writer.writerows(astuple(record) for record in records)

    write_atomically(path, write)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse options, run, print the table and where everything lies."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    console = Console()
    config = tyro.cli(AttackConfig, args=argv, description=__doc__)
    try:
        summaries, folder = run(config, console)
    except GauntletError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(2)
    console.print(table(summaries))
    console.print(f"written to {folder.resolve()}", highlight=False)


def _build(name: str, config: AttackConfig) -> Adversary:
    options: dict[str, Any] = {"protocol": config.protocol}
    if name == "cat" and config.prior is not None:
        options["prior"] = config.prior
    return make("adversary", name, **options)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)


def _percent(value: Interval) -> str:
    return f"{100 * value.mean:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def _number(value: Interval) -> str:
    return f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]"


if __name__ == "__main__":
    main()
