"""Roll scenes out from their first second (step 10) for 8 s; everybody, the ego too, is moved by a traffic model.

Every scene gets a folder with its roll-outs, a picture of all of them, moving pictures of the first ones, and numbers.
"""

from __future__ import annotations

from typing import Final

from harness.commands.scaffold import Session, command, refused
from harness.traffic.config import SimulateConfig

RENAMED: Final = {"--model": "--traffic", "--scene": refused('--scenes "#0,#3" (a number is the first so many)')}


@command(SimulateConfig, __doc__, renamed=RENAMED, may_differ=("threads",))
def main(config: SimulateConfig, session: Session) -> None:
    """Simulate, write and print a row per scene."""
    from harness.report.traffic_tables import rollouts_table
    from harness.traffic.simulation import simulate

    source = config.open(cache_scenes=0)
    with session.open_run(config) as run:
        scenes = session.track((source[index] for index in range(len(source))), "simulating", len(source))
        results = list(simulate(config, scenes, run.path))
    title = f"{config.traffic}: {config.rollouts} roll-outs of 8 s, seed {config.seed}"
    session.console.print(rollouts_table(results, title).rich())


if __name__ == "__main__":
    main()
