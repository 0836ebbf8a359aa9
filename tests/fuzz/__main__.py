"""Read damaged files of every format: `python -m tests.fuzz --cases 10000 --seed 0`; exit code 1 if any fails."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.fuzz.campaign import GOOD, Result, run
from tests.fuzz.formats import FORMATS


def table(result: Result) -> str:
    """Cases by format and outcome."""
    outcomes = [*GOOD, *sorted({outcome for _, outcome in result.counts} - set(GOOD))]
    rows = [["format", "cases", *outcomes]]
    for name in FORMATS:
        counts = [result.counts[name, outcome] for outcome in outcomes]
        rows.append([name, *map(str, (sum(counts), *counts))])
    totals = [sum(result.counts[name, outcome] for name in FORMATS) for outcome in outcomes]
    rows.append(["all", *map(str, (sum(totals), *totals))])
    return "\n".join(f"{row[0]:16}" + "".join(f"{cell:>11}" for cell in row[1:]) for row in rows)


def main() -> int:
    """Run a campaign from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000, help="how many files (10,000)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed damages the same files (0)")
    parser.add_argument("--only", type=int, help="run one case by its number")
    parser.add_argument("--format", nargs="+", choices=list(FORMATS), help="formats (all)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (one per core)")
    parser.add_argument("--out", type=Path, default=Path("fuzz-failures"), help="keeps the inputs that fail")
    options = parser.parse_args()
    indices = range(options.cases) if options.only is None else [options.only]
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    start = time.perf_counter()
    with Progress(*columns) as bars:
        task = bars.add_task("", total=len(indices))
        result = run(
            indices, options.seed, options.format, min(options.workers, len(indices)), options.out,
            lambda: bars.advance(task),
        )  # fmt: skip
    print(table(result))
    print(
        f"{time.perf_counter() - start:.0f} s; at most {result.memory[0] / 1e6:.0f} MB ({result.memory[1]}) and "
        f"{result.seconds[0]:.1f} s ({result.seconds[1]}) for one file."
    )
    for name, index, outcome, detail in result.failures[:50]:
        last = detail.strip().splitlines()[-1] if detail.strip() else ""
        print(f"{outcome}: {name}, case {index} of seed {options.seed}: {last[:200]}")
    if result.failures:
        print(f"{len(result.failures)} failed; inputs and tracebacks: {options.out}/FORMAT-SEED-CASE.*")
    return 1 if result.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
