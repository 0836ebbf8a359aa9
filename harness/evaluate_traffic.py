"""Score the realism of traffic models by the sim-agents metrics (WOSAC), with intervals.

With `--reactivity` it measures instead how often followers hit an ego that brakes hard in its lane, with `--causes` who
causes the contacts, with `--dial` how traffic answers to one of its options.
"""

from __future__ import annotations

from typing import Final

from harness.commands.scaffold import Session, command, now_flag
from harness.traffic.config import EvaluateTrafficConfig

RENAMED: Final = {"--models": "--traffic", "--reactivity": now_flag("--reactivity", "--traffic")}


@command(EvaluateTrafficConfig, __doc__, renamed=RENAMED)
def main(config: EvaluateTrafficConfig, session: Session) -> None:
    """Compare the models, print the tables, and write the numbers."""
    from harness.commands.left_out import note_left_out
    from harness.commands.results import tell
    from harness.report.traffic_tables import comparison_tables
    from harness.traffic.comparison import compare

    source = config.open(cache_scenes=0)
    note_left_out(session.say, [source], None)
    scenes = session.track((source[index] for index in range(len(source))), "simulating", len(source))
    result = compare(config, scenes)
    tell(session, comparison_tables(result, len(source)), result, config.json)


if __name__ == "__main__":
    main()
