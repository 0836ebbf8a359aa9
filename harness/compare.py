"""Compare two systems over the same scenes and attacks: what newly fails, what newly passes, and what is chance.

Both were measured by `gauntlet benchmark` with the same scenes, adversaries and options. Egos that were trained with
several seeds are compared as such: `compare A1 A2 A3 --against B1 B2 B3`.
"""

from __future__ import annotations

from harness.benchmarking.versus.config import CompareConfig
from harness.commands.printing import listed
from harness.commands.scaffold import Session, command


@command(CompareConfig, __doc__)
def main(config: CompareConfig, session: Session) -> None:
    """Compare, print the table and where everything lies."""
    from harness.benchmarking.versus.run import FILES, run_compare
    from harness.report.versus_tables import LEGEND, scenes_needed

    rows, folder = run_compare(config, session)
    for line in (*filter(None, (LEGEND, scenes_needed(rows))), *listed(folder, FILES)):
        session.say(line)


if __name__ == "__main__":
    main()
