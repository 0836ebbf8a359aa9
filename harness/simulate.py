"""Roll scenes out with a traffic model: files, a picture of all roll-outs, and moving pictures.

Everybody, the ego too, is moved by the model, from the scene's first second (step 10) for 8 s, or for
`--seconds`. Every scene gets a folder.
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
    with session.open_run(config, source) as run:
        scenes = session.track((source[index] for index in range(len(source))), "simulating", len(source))
        results = list(simulate(config, scenes, run.path))
    title = f"{config.traffic}: {config.rollouts} roll-outs of {config.seconds:g} s, seed {config.seed}"
    session.console.print(rollouts_table(results, title).rich())


if __name__ == "__main__":
    main()
