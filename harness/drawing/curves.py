"""Learning curves as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from harness.files import write_atomically
from harness.training.evaluation import Summary

PANELS: Final = (("completion", "route completion"), ("collision", "collision rate"))
COLOURS: Final = {"normal": "#2a7f62", "adversarial": "#c0392b"}
LABELS: Final = {"normal": "as recorded", "adversarial": "attacked"}


def draw_curves(summaries: Sequence[Summary], path: Path, title: str) -> None:
    """Completion and collision over training steps, normal and attacked, with 95 % bands.

    Raises:
        RunError: The picture cannot be written.
    """
    # The object-oriented interface: no global state, no window, safe beside the simulator.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(PANELS))
    for axis, (name, label) in zip(axes, PANELS, strict=True):
        for stage, colour in COLOURS.items():
            rows = [row for row in summaries if row.stage == stage]
            steps = [row.step for row in rows]
            intervals = [row.columns[name] for row in rows]
            axis.plot(steps, [item.mean for item in intervals], "o-", ms=3, color=colour, label=LABELS[stage])
            axis.fill_between(
                steps,
                [item.low for item in intervals],
                [item.high for item in intervals],
                color=colour,
                alpha=0.18,
                lw=0,
            )
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.xaxis.set_major_formatter(EngFormatter())
        axis.set(xlabel="environment steps", ylabel=label, ylim=(0, 1), xlim=(0, None))
        axis.grid(alpha=0.25)
    axes[0].legend(frameon=False)
    scenes = max((row.scenes for row in summaries), default=0)
    figure.suptitle(f"{title} – {scenes} test scenes, 95 % intervals", fontsize=10)
    write_atomically(path, lambda beside: figure.savefig(beside, dpi=110))
