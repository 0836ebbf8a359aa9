"""What systems under test and traffic models cost, measured for the cards of the documentation.

    python -m scripts.docs_costs docs/results/costs.csv

It is the measurement `decisions` of `gauntlet perf`, on the procedural scenes that come with the package.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.files import write_text
from scenarios.sources import open_source

if TYPE_CHECKING:
    from harness.performance.decisions import Costs

KINDS: Final = {"decision_ms": "policy", "traffic_ms": "traffic"}
"""Kind of component by the name of its measurement."""
SCENES: Final = 3
"""Number of scenes, of those that come with the package; the first of them is not timed."""
COMMAND: Final = "python -m scripts.docs_costs docs/results/costs.csv"
"""First line of the file."""


def costs_csv(measured: Mapping[str, Costs]) -> str:
    """The file: its command, then a line for each component that was measured.

    Args:
        measured: What `measure_decisions` returned. Components with an error have no line.
    """
    lines = [f"# {COMMAND}", "kind,name,median_ms,slowest_ms,memory_mb"]
    for key, kind in KINDS.items():
        for name, cost in measured[key].items():
            if "error" not in cost:
                numbers = (float(cost[part]) for part in ("median", "slowest", "memory_mb"))
                lines.append(",".join([kind, name, *(f"{number:.2g}" for number in numbers)]))
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write the file that the first argument names."""
    # Imported here, with the simulator: the command's other functions do without it.
    from harness.performance.config import PerfConfig
    from harness.performance.decisions import measure_decisions

    source = open_source("procedural", "test", test=SCENES)
    write_text(Path(sys.argv[1]), costs_csv(measure_decisions(source, PerfConfig(decision_sample=SCENES - 1))))


if __name__ == "__main__":
    main()
