"""Make the scenes that come with the package anew: `python -m scripts.ship_scenes` (half a minute).

Needed where the generator's version is raised. The first two simulations of the default generator's test split are
shipped.
"""

from __future__ import annotations

import sys

from scenarios.procedural.config import ProceduralConfig
from scenarios.procedural.pool import SimulationTask, work
from scenarios.procedural.shipped import ARCHIVE, ship

SIMULATIONS = 2


def main() -> None:
    """Simulate and write."""
    config = ProceduralConfig()
    ship(config, [work(config, SimulationTask("test", number)) for number in range(SIMULATIONS)])
    sys.stdout.write(f"{ARCHIVE}: {ARCHIVE.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
