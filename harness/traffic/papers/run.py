"""From options to tables: train what is missing, score it, print and write."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Final

from harness.benchmarking.identity import digest_of
from harness.commands.printing import listed
from harness.commands.scaffold import Session
from harness.drawing.papers import draw_paper_table
from harness.errors import RunError
from harness.files import Json, write_json, write_text
from harness.fitting.identity import Identity
from harness.report.paper_tables import as_json, gaps_table, rows_table
from harness.traffic.papers.config import TrafficTablesConfig
from harness.traffic.papers.rows import TABLES
from harness.traffic.papers.scored import models_of, score_file, score_models
from harness.traffic.papers.summary import gaps_of, rows_of
from harness.traffic.papers.trained import bases_of, nodes_of, train_nodes

PICTURES: Final = "pictures"
"""Folder of pictures, in the run folder."""
BASES: Final = "bases.json"
"""Check sums of the weights that rows start from, in the run folder."""
FILES: Final = {
    "tables.md": "every table, with differences",
    "tables.json": "their numbers",
    PICTURES: "tables over a dial, and scores by windows",
}
"""What a run leaves, besides what it trained."""


def run_tables(config: TrafficTablesConfig, session: Session) -> Path:
    """Train and score every row; returns the run folder.

    Raises:
        GauntletError: Unusable data, weights or folder, or no row could be scored.
    """
    with session.open_run(config) as run:
        out = run.path.resolve()
        # Rows that are finished are not trained again: those of another base would stand beside them.
        Identity({head: digest_of(file) for head, file in bases_of(config).items()}).claim(out / BASES)
        _train(config, session, out)
        _score(config, session, out)
        _report(config, session, out)
        for line in listed(out, FILES):
            session.say(line)
        return out


def _train(config: TrafficTablesConfig, session: Session, out: Path) -> None:
    nodes = nodes_of(config, out)
    total = sum(not node.finished for node in nodes)
    session.say(f"{len(nodes)} models to train, {total} of them not yet")
    with session.counter("training") as count, closing(train_nodes(config, out)) as results:  # type: ignore[type-var]
        for done, (node, error) in enumerate(results, 1):
            if error:
                session.warn(f"{node}: {error}")
            count(done, total)


def _score(config: TrafficTablesConfig, session: Session, out: Path) -> None:
    models = [
        model
        for place in config.score_on
        for name in config.table
        for model in models_of(config, name, place, out)
        if model.trained
    ]
    total = len({model.job for model in models if not score_file(config, out, model.job).is_file()})
    with session.counter("scoring") as count, closing(score_models(config, models, out)) as results:  # type: ignore[type-var]
        for done, (job, error) in enumerate(results, 1):
            if error:
                session.warn(f"{job}: {error}")
            count(done, total)


def _report(config: TrafficTablesConfig, session: Session, out: Path) -> None:
    texts: list[str] = []
    numbers: list[Json] = []
    for place in config.score_on:
        for name in config.table:
            table = TABLES[name]
            rows, left_out = rows_of(config, models_of(config, name, place, out), out)
            for row in left_out:
                session.warn(f"table {name} on {place}: {row.label!r} is left out, {row.reason}.")
            if not rows:
                session.warn(f"table {name} on {place}: no row could be scored.")
                continue
            gaps = gaps_of(rows, table.measure)
            tables = [rows_table(table, place, rows, config), gaps_table(gaps, table.measure, rows[0].label)]
            for shown in tables:
                session.console.print(shown.rich(turned=shown is tables[0]))
            texts += [f"## {tables[0].title}", "", *tables[0].markdown(), "", *tables[1].markdown(), ""]
            numbers.append(as_json(name, place, table.measure, rows, gaps, left_out))
            draw_paper_table(table, config.rows(name), numbers[-1], out / PICTURES, f"{name}-{place}")
    if not numbers:
        raise RunError("no row of any table could be scored; the warnings above say why.")
    seeds = f"{len(config.seed)} seed(s); 95 % intervals over scenes and seeds; p by Holm over the rows of a table"
    session.say(seeds)
    write_text(out / "tables.md", "\n".join([*texts, seeds, ""]))
    write_json(out / "tables.json", numbers)
