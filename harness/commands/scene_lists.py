"""What `scenarios list` and `scenarios coverage` say of scenes: a row for each, and which combinations they cover."""

from __future__ import annotations

from functools import partial

from harness.commands.left_out import note_left_out, note_unfit
from harness.commands.scaffold import Session
from harness.commands.scenes import CoverageConfig, ListConfig
from harness.files import write_text
from harness.report.command_tables import QUICK_ROWS, scenes_table
from harness.report.coverage_tables import additions_table, pairs_table, shares_table, values_table
from scenarios.coverage import additions, pair_counts
from scenarios.indexing.facts import scene_facts
from scenarios.listing import divided, rows_of, splits_of
from scenarios.selection import open_scenes, selected


def say_list(config: ListConfig, session: Session) -> None:
    """Print the table of scenes, and write the files that are asked for.

    Raises:
        GauntletError: The data cannot be read, no scene is chosen, or a file cannot be written.
    """
    whole, source = config.whole_and_chosen()
    indices = range(len(source)) if config.scenes is None else selected(config.scenes, source.ids)
    splits = dict(zip(whole.ids, splits_of(whole, config.split), strict=True))
    rows, unfit = divided(rows_of(source, [splits[name] for name in source.ids], indices), config.fit_only)
    title = f"{config.data}, split {config.split}: {len(rows)} of {len(whole)} scenes"
    table = scenes_table(rows, title)
    session.console.print(table.rich()) if len(rows) <= QUICK_ROWS else session.say(table.plain())
    session.say(f"{sum(not row.left_out for row in rows)} of {len(indices)} are fit for attacks.")
    note_unfit(session.say, unfit, len(indices), None)
    if config.csv is not None:
        write_text(config.csv, scenes_table(rows, title, full=True).csv())
        session.say(f"table: {config.csv}")
    if config.html is not None:
        from harness.report.scene_page import write_scene_page

        draw_all = partial(session.track, description="drawing")
        write_scene_page(config.html, rows, source, f"{config.data}, {config.split}", config.pictures, draw_all)
        session.say(f"page: {config.html}")


def say_coverage(config: CoverageConfig, session: Session) -> None:
    """Print the tables, and write the one of all pairs where it is asked for.

    Raises:
        GauntletError: The data cannot be read, no scene is chosen, or the file cannot be written.
    """
    source = config.open(cache_scenes=0)
    note_left_out(session.say, [source], None)
    tags = [facts.tags for facts in scene_facts(source)]
    own = set(source.ids)
    data = open_scenes(config.data, "all", cache_scenes=0, fit_only=config.fit_only, opponent=config.attacker)
    others = [index for index, name in enumerate(data.ids) if name not in own]
    pool, names = [facts.tags for facts in scene_facts(data, others)], [data.ids[index] for index in others]
    session.console.print(values_table(tags).rich())
    session.console.print(shares_table(tags, pool).rich())
    added = list(additions(pair_counts(tags) > 0, pool, config.additions))
    if added:
        session.console.print(additions_table(added, names).rich())
    if config.csv is not None:
        write_text(config.csv, pairs_table(tags, pool, names).csv())
        session.say(f"table of all pairs: {config.csv}")
