"""`python -m harness.sage_analysis`: what SAGE's experts and their mixtures do, in numbers and pictures.

Fronts of the three mixing strategies, monotone response to λ, preference vectors, reward landscape on the plane of the
experts, linearity along their segment, and extrapolation; against the logged ego, by geometry.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from adversaries.sage.analysis import analyse
from harness.commands.runs import RunDirectory, default_folder
from harness.errors import ConfigError, GauntletError
from harness.files import write_atomically, write_json
from scenarios.selection import open_part

VERB: Final = "sage_analysis"
STYLES: Final = {"weights": "C3o-", "logits": "C0s--", "trajectories": "C2^:"}


@dataclass(frozen=True)
class SageAnalysisConfig:
    """Analyse a pair of experts."""

    data: str = "procedural"
    """Folder of ScenarioNet pickles, or `procedural` for the generated scenes."""
    scenes: str = "test"
    """Scenes to judge on: a split name, or indices such as `0:280` or `0:100,120,130:140`."""
    experts: Path | None = None
    """Folder that `train_experts` wrote; the shipped experts by default."""
    prior: Path | None = None
    """Prior weights, where they are not beside the experts."""
    steps: int = 9
    """Intensities of the fronts, evenly over [0, 1] (0, 0.25, 0.5, 0.75 and 1 are always there)."""
    grid: int = 9
    """Points per side of the reward landscape."""
    out: Path | None = None
    """Run folder; a new one under `runs/` by default."""

    def __post_init__(self) -> None:
        """Reject what cannot work."""
        if self.steps < 2 or self.grid < 2:
            raise ConfigError(f"sage_analysis: expected steps >= 2 and grid >= 2, got {self.steps}, {self.grid}.")


def run(config: SageAnalysisConfig, console: Console) -> tuple[dict[str, Any], Path]:
    """Analyse; return the numbers and the run folder.

    Raises:
        GauntletError: Unusable data, weights or folder.
    """
    scenes = open_part(config.data, config.scenes)
    record = RunDirectory.create(config.out or default_folder(VERB), VERB, asdict(config))
    tasks: dict[str, TaskID] = {}
    with record, Progress(console=console, disable=not console.is_terminal) as progress:

        def tick(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total or len(scenes))
            progress.update(tasks[what], completed=done)

        result: dict[str, Any] = analyse(
            str(config.experts) if config.experts else "",
            scenes,
            prior=str(config.prior) if config.prior else None,
            intensities=tuple(np.linspace(0, 1, config.steps).tolist()),
            grid=config.grid,
            tick=tick,
        )
        write_json(record.path / "analysis.json", result)
        draw(result, record.path)
    return result, record.path


def draw(result: Mapping[str, Any], folder: Path) -> None:
    """Four pictures: `fronts.png`, `vectors.png`, `landscape.png`, `extrapolation.png`."""
    for name, painter in (
        ("fronts", _draw_fronts),
        ("vectors", _draw_vectors),
        ("landscape", _draw_landscape),
        ("extrapolation", _draw_extrapolation),
    ):
        figure, axes = _figure(3 if name == "fronts" else 2)
        painter(result, axes)
        for axis in axes:
            axis.grid(alpha=0.3)
        write_atomically(folder / f"{name}.png", partial(figure.savefig, dpi=110))


def _figure(panels: int) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * panels, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels)


def _series(rows: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [row[key][0] for row in rows]


def _draw_fronts(result: Mapping[str, Any], axes: Any) -> None:
    for mixing, rows in result["fronts"].items():
        axes[0].plot(_series(rows, "adversarial"), _series(rows, "realism"), STYLES[mixing], label=mixing)
    axes[0].set(xlabel="R_adv (more is more adversarial)", ylabel="P_real (less is more realistic)", title="fronts")
    axes[0].legend()
    rows = result["fronts"]["weights"]
    places = [row["intensity"] for row in rows]
    for axis, keys in ((axes[1], ("success", "off_road", "contact")), (axes[2], ("adversarial", "realism"))):
        for number, key in enumerate(keys):
            low, high = ([row[key][end] for row in rows] for end in (1, 2))
            axis.plot(places, _series(rows, key), f"C{number}o-", label=key)
            axis.fill_between(places, low, high, color=f"C{number}", alpha=0.15)
        axis.set(xlabel="intensity λ = μ", title="response (weight mixing, 95 %)")
        axis.legend()


def _draw_vectors(result: Mapping[str, Any], axes: Any) -> None:
    found = result["vectors"]
    for name, (x, y) in found["plane"].items():
        kind = name.split()[0]
        inside = kind == "vector" and 0 <= float(name.split()[1]) <= 1
        style = {"reference": "k*", "direct": "C1x"}.get(kind, "C3o" if inside else "C0s")
        axes[0].plot(x, y, style)
        if not inside or name.split()[1] in ("0", "0.5", "1"):  # the mixtures between would cover one another's names
            label = name.replace("vector ", "λ ")
            axes[0].annotate(label, (x, y), fontsize=7, xytext=(3, 4), textcoords="offset points")
    axes[0].set(
        xlabel="first principal component",
        ylabel="second",
        title=f"weights; Δ_adv and Δ_real at {found['angle_degrees']:.0f}°",
    )
    places = [row["intensity"] for row in found["path"]]
    axes[1].plot(places, [row["norm"] for row in found["path"]], "C0o-", label="norm of θ(λ) - θ_ref")
    other = axes[1].twinx()
    other.plot(places, [row["cosine_adv"] for row in found["path"]], "C1s--", label="cosine to Δ_adv")
    other.set_ylabel("cosine to Δ_adv")
    axes[1].set(xlabel="λ", ylabel="norm", title="along the segment")


def _draw_landscape(result: Mapping[str, Any], axes: Any) -> None:
    found, line = result["landscape"], result["linearity"]
    reward = 0.5 * np.array(found["adversarial"]) - 0.5 * np.array(found["realism"])
    shown = axes[0].contourf(found["axis"], found["axis"], reward, levels=14)
    axes[0].figure.colorbar(shown, ax=axes[0])
    # Rows of the grid are multiples of Δ_adv, columns of Δ_real.
    axes[0].plot([1, 0], [0, 1], "w-")
    for place, name in (((0, 0), "prior"), ((1, 0), "real"), ((0, 1), "adv")):
        axes[0].plot(*place, "w*")
        axes[0].annotate(name, place, color="w", xytext=(4, 4), textcoords="offset points")
    axes[0].set(xlabel="Δ_real", ylabel="Δ_adv", title="even reward of the group")
    for number, name in enumerate(("adv", "even", "real")):
        axes[1].plot(line["intensities"], line[name]["measured"], f"C{number}o-", label=f"{name}: measured")
        axes[1].plot(line["intensities"], line[name]["line"], f"C{number}:", label=f"{name}: straight line")
    axes[1].set(xlabel="λ", ylabel="reward of the group", title="linearity along the segment")
    axes[1].legend(fontsize=7, loc="center right")


def _draw_extrapolation(result: Mapping[str, Any], axes: Any) -> None:
    inside = result["fronts"]["weights"]
    for axis, kind in zip(axes, ("vector", "direct"), strict=True):
        rows = sorted([*inside, *result["extrapolation"][kind]], key=lambda row: row["intensity"])
        places = [row["intensity"] for row in rows]
        for number, key in enumerate(("adversarial", "realism", "success")):
            axis.plot(places, _series(rows, key), f"C{number}o-", label=key)
        axis.axvspan(0, 1, color="k", alpha=0.06)
        axis.set(xlabel="λ", title=f"{kind} extrapolation")
    axes[0].legend()


def tables(result: Mapping[str, Any]) -> list[Table]:
    """The response to λ, and what the strategies are worth."""
    response = Table(title=f"sage against the logged ego, {result['scenes']} scenes (95 % intervals)")
    heads = ("λ", "success %", "R_adv", "P_kin", "P_beh", "off road %", "hits traffic %")
    for head in heads:
        response.add_column(head, justify="right")
    rows = [*result["fronts"]["weights"], *result["extrapolation"]["vector"]]
    for row in sorted(rows, key=lambda row: row["intensity"]):
        cells = [_cell(row["success"], 100, 1)]
        cells += [_cell(row[key], 1, 3) for key in ("adversarial", "kinematic", "behavioural")]
        cells += [_cell(row[key], 100, 1) for key in ("off_road", "contact")]
        response.add_row(f"{row['intensity']:g}", *cells)
    worth = Table(title="strategies")
    for head in ("mixing", "hypervolume", "λ at which weights are dominated by it"):
        worth.add_column(head, justify="right")
    for mixing, area in result["hypervolume"].items():
        lost = [f"{row['intensity']:g}" for row in result["dominated"] if row["by"] == mixing]
        worth.add_row(mixing, f"{area:.3f}", ", ".join(lost) or "none")
    return [response, worth]


def _cell(interval: Sequence[float], scale: float, digits: int) -> str:
    mean, low, high = (scale * value for value in interval)
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse options, analyse, print the tables and where everything lies."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    console = Console()
    config = tyro.cli(SageAnalysisConfig, args=argv, description=__doc__)
    try:
        result, folder = run(config, console)
    except GauntletError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(2)
    for shown in tables(result):
        console.print(shown)
    rho = ", ".join(f"{key} {value:.2f}" for key, value in result["monotone"].items())
    found = result["vectors"]
    console.print(f"Spearman's ρ with λ: {rho}", highlight=False)
    console.print(
        f"Δ_adv {found['norm_adv']:.2f}, Δ_real {found['norm_real']:.2f} (prior {found['norm_reference']:.1f}), "
        f"angle {found['angle_degrees']:.0f}°",
        highlight=False,
    )
    console.print(f"written to {folder.resolve()}", highlight=False)


if __name__ == "__main__":
    main()
