"""`python -m harness.attack`: attack the logged ego on a scenario set; success, realism, pictures."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from harness.attack_picture import draw_attack
from harness.errors import ConfigError, GauntletError, RunError
from harness.interfaces import Adversary, AttackPlan
from harness.metrics.intervals import Interval
from harness.open_loop import AttackRecord, AttackSummary, attack_all, logged_context, summarise
from harness.registry import make
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
    out: Path = Path("runs/attack")
    """Folder for `attacks.csv`, `summary.json`, `config.json` and `pictures/`."""

    def __post_init__(self) -> None:
        """Reject what cannot work before anything is loaded."""
        if not self.adversary:
            raise ConfigError("attack: name at least one adversary (--adversary cat rule none).")
        if (self.scenes is not None and self.scenes < 1) or self.pictures < 0:
            raise ConfigError(f"attack: expected scenes >= 1 and pictures >= 0, got {self.scenes}, {self.pictures}.")


def run(config: AttackConfig, console: Console) -> list[AttackSummary]:
    """Attack, write the folder, return one summary per adversary.

    Raises:
        GauntletError: Unknown names, unusable data or weights, or an unwritable folder.
    """
    from scenarios import open_source

    adversaries = [_build(name, config) for name in config.adversary]
    _writable(config.out)
    source = open_source(config.data, split=config.split)
    count = len(source) if config.scenes is None else min(config.scenes, len(source))
    if count == 0:
        raise ConfigError(f"attack: {config.data} has no scene in split {config.split!r}. Try --split None.")
    drawn: dict[str, int] = {}

    def draw(scenario: Scenario, record: AttackRecord, plan: AttackPlan | None) -> None:
        done = drawn.get(record.adversary, 0)
        if record.error or done >= config.pictures:
            return
        drawn[record.adversary] = done + 1
        name = f"{record.adversary}_{_file_name(scenario.id)}.png"
        step = record.contact_step if config.protocol == "corrected" else record.contact_step_cat
        ego = logged_context(scenario).ego_trajectories[-1]
        title = f"{record.adversary} ({record.protocol})"
        draw_attack(scenario, plan, ego, config.out / "pictures" / name, contact_step=step, title=title)

    scenes = (source[index] for index in range(count))
    progress = track(scenes, "attacking", total=count, console=console, disable=not console.is_terminal)
    records = attack_all(adversaries, progress, config.protocol, seed=config.seed, on_plan=draw)
    summaries = summarise(records, config.seed)
    write_csv(config.out / "attacks.csv", records)
    _write(config.out / "summary.json", json.dumps([asdict(row) for row in summaries], indent=1))
    _write(config.out / "config.json", json.dumps(asdict(config), indent=1, default=str))
    return summaries


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
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([field.name for field in fields(AttackRecord)])
    writer.writerows(astuple(record) for record in records)
    _write(path, text.getvalue())


def main(argv: Sequence[str] | None = None) -> None:
    """Parse options, run, print the table and where everything lies."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    console = Console()
    config = tyro.cli(AttackConfig, args=argv, description=__doc__)
    try:
        summaries = run(config, console)
    except GauntletError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(2)
    console.print(table(summaries))
    console.print(f"written to {config.out.resolve()}", highlight=False)


def _build(name: str, config: AttackConfig) -> Adversary:
    options: dict[str, Any] = {"protocol": config.protocol}
    if name == "cat" and config.prior is not None:
        options["prior"] = config.prior
    return make("adversary", name, **options)


def _writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "config.json", "{}")
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error}. Choose another folder with --out.") from error


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.write_text(text)
    os.replace(beside, path)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)


def _percent(value: Interval) -> str:
    return f"{100 * value.mean:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def _number(value: Interval) -> str:
    return f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]"


if __name__ == "__main__":
    main()
