"""Repeat the tables of the traffic papers: train every row from one base, score all alike, with intervals.

Rows that several tables share are trained once. A run that is stopped is gone on with by `--resume`, also with more
tables, seeds or scenes to score on.
"""

from __future__ import annotations

from harness.commands.scaffold import Session, command
from harness.traffic.papers.config import TABLES_MAY_DIFFER, TrafficTablesConfig


@command(TrafficTablesConfig, __doc__, may_differ=TABLES_MAY_DIFFER)
def main(config: TrafficTablesConfig, session: Session) -> None:
    """Train what is missing, score it, print the tables."""
    # Imported late: `--help` should not wait for torch.
    from harness.traffic.papers.run import run_tables

    run_tables(config, session)


if __name__ == "__main__":
    main()
