"""Measure every adversary against every system under test: tables with intervals, resumable."""

from __future__ import annotations

from harness.benchmarking.config import MAY_DIFFER, BenchmarkConfig
from harness.commands.printing import listed
from harness.commands.scaffold import Session, command


@command(BenchmarkConfig, __doc__, may_differ=MAY_DIFFER)
def main(config: BenchmarkConfig, session: Session) -> int:
    """Run, print the tables and where everything lies; 1 where a gate was asked for and closes."""
    # Imported late: `--help` should not wait for torch and the simulator.
    from harness.benchmarking.estimate import say_cost
    from harness.benchmarking.run import FILES, run_benchmark
    from harness.episodes.protocol import protocol_of
    from harness.report.benchmark_tables import terminal

    if config.dry_run:
        say_cost(config, session)
        return 0
    cells, folder, verdict, completeness = run_benchmark(config, session)
    for table in terminal(cells, config, completeness):
        session.console.print(table.rich(compact=True))
    if repeated := protocol_of(config.protocol).names():
        session.say(f"repeats of the published code: {', '.join(repeated)}")
    if failed := sum(cell.failures for cell in cells):
        example = next(cell.examples[0] for cell in cells if cell.failures)
        session.warn(f"{failed} episodes failed, for example in {example}. benchmark.md says which and why.")
    for line in (*listed(folder, FILES), *verdict.lines()):
        session.say(line)
    return int(verdict.closed)


if __name__ == "__main__":
    main()
