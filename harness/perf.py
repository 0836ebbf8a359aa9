"""Measure speed and equality against stock MetaDrive, training rate, attack latency and memory growth.

Blocks of ours and of stock's alternate on the same scenes with the same actions, so that whatever else the machine
does hits both. The ratios are medians over the blocks.
"""

from __future__ import annotations

from typing import Final

from harness.commands.scaffold import Session, command
from harness.performance.config import PerfConfig

RENAMED: Final = {"--exact-scenes": "--exact-sample", "--attack-scenes": "--attack-sample"}


@command(PerfConfig, __doc__, renamed=RENAMED)
def main(config: PerfConfig, session: Session) -> None:
    """Measure, print the table, and say where the numbers are."""
    from harness.performance.stages import measure
    from harness.report.performance_table import performance_table

    measured = measure(config, session.say)
    session.console.print(performance_table(measured).rich())
    if config.json is not None:
        session.say(f"numbers: {config.json.resolve()}")


if __name__ == "__main__":
    main()
