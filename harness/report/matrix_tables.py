"""Tables of a training matrix: SAGE's 3 and 8, how episodes ended, differences between rows, and who meets whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from harness.episodes.protocol import protocol_of
from harness.report.tables import DASH, Column, Table, TableRow
from harness.training.config import TrainConfig
from harness.training.evaluation import COLUMNS, STAGES
from harness.training.matrix_scores import EITHER, ENDINGS, SPEED_TOLERANCE, TESTED, MatrixComparison, Scores

_PAIRS: Final = (
    Column("pair", "first − second"),
    Column("speeds", "speeds as recorded, m/s"),
    Column("scenes", kind="number"),
    *(
        column
        for key, name in TESTED.items()
        for column in (Column(key, name, "mean", digits=2), Column(f"{key}_p", "p (Holm)", "number"))
    ),
)
_CROSSPLAY: Final = (Column("trained"), Column("attacked"), *(column for column in (*ENDINGS, COLUMNS[2])))
HELD_OUT: Final = " (held out)"
"""Marks an adversary that no ego was trained against."""
_CONDITION: Final = "attacked by"


def heading(config: TrainConfig) -> str:
    """What every figure of a matrix rests on, as Markdown."""
    logged = protocol_of(config.protocol).attack_logged_ego
    target = "the logged drive" if logged else "each ego's own undisturbed drive in the scene"
    egos = f"{config.algorithm} on the engine `{config.engine}`, {config.steps:,} steps"
    sees = f"observation `{config.observation}`, reward `{config.reward}`"
    return (
        f"# Egos and adversaries\n\nAll egos: {egos}, {sees}. Measured in MetaDrive; attacks of intensity "
        f"{config.eval_intensity:g}, planned against {target} unless a title says otherwise (protocol "
        f"`{config.protocol}`).\n"
    )


def title(table: Scores) -> str:
    """What a table shows."""
    if table.stage == "normal":
        return f"Trained egos on test scenes as recorded{_cut(table)} (SAGE table 8)"
    return f"Trained egos on test scenes attacked by {table.adversary}{_cut(table)} (SAGE table 3)"


def _cut(table: Scores) -> str:
    return f", {table.horizon} steps" if table.horizon else ""


def matrix_table(tables: Sequence[Scores], columns: Sequence[Column] = COLUMNS) -> Table:
    """One row per ego."""
    rows = [_estimates(table, columns) for table in tables]
    return Table((Column("row", "trained against"), *columns), rows, title(tables[0]))


def _estimates(table: Scores, columns: Sequence[Column]) -> TableRow:
    return {"row": table.row, **{column.key: table.estimate(column.key) for column in columns}}


def markdown(tables: Sequence[Scores], comparisons: Sequence[MatrixComparison]) -> str:
    """The same as Markdown, with how episodes ended and every row's differences from the others."""
    shown = [matrix_table(tables, columns).markdown() for columns in (COLUMNS, ENDINGS)]
    lines = [f"## {title(tables[0])}", "", *shown[0], "", *shown[1]]
    seeds, scenes = tables[0].values["reward"].shape
    lines += ["", f"{scenes} scenes, {seeds} seed(s); 95 % bootstrap intervals over scenes (and seeds).", ""]
    if comparisons:
        lines += [*_differences(comparisons), ""]
    return "\n".join(lines)


def _differences(comparisons: Sequence[MatrixComparison]) -> list[str]:
    """Every pair of rows, in all scenes and where the two are equally fast, as lines of Markdown."""
    everywhere = [_difference(pair, pair.differences, pair.holm) for pair in comparisons]
    matched = [_difference(pair, pair.matched, pair.matched_holm) for pair in comparisons]
    tolerance = f"{SPEED_TOLERANCE:.0%}"
    return [
        f"Differences over seeds and scenes; ≠ marks rows whose speeds differ by more than {tolerance}, which are not "
        "to be ranked:",
        "",
        *Table(_PAIRS, everywhere).markdown(),
        "",
        f"The same in the scenes in which the two drive, as recorded, at speeds that differ by at most {tolerance}:",
        "",
        *Table(_PAIRS, matched).markdown(),
    ]


def _difference(pair: MatrixComparison, gaps: Mapping, adjusted: Mapping[str, float]) -> TableRow:
    first, second = pair.speeds
    row: dict[str, str | float] = {f"{key}_p": adjusted[key] for key in TESTED}
    return {
        "pair": f"{pair.first} − {pair.second}",
        "speeds": f"{first:.1f} {'=' if pair.equally_fast else '≠'} {second:.1f}",
        "scenes": gaps[EITHER].scenes,
        **row,
        **{key: gaps[key].difference for key in TESTED},
    }


def crossplay_table(conditions: Sequence[Sequence[Scores]], held_out: Sequence[str]) -> Table:
    """Every ego as recorded and against every adversary: how its episodes ended, its speed and its steps.

    Args:
        conditions: As recorded, then one per adversary; one `Scores` per ego each.
        held_out: Adversaries that no ego was trained against.
    """
    rows = [
        {**_estimates(table, _CROSSPLAY[2:]), "trained": table.row, "attacked": condition(table, held_out)}
        for tables in conditions
        for table in tables
    ]
    columns = (Column("trained", "trained against"), Column("attacked", _CONDITION), *_CROSSPLAY[2:])
    return Table(columns, rows, "Cross-play: every ego against every adversary")


def crossplay_grid(conditions: Sequence[Sequence[Scores]], held_out: Sequence[str]) -> Table:
    """One row per ego and one column per adversary: collision or off the road, with speed and steps beside it."""
    either = Column(EITHER, kind="mean", digits=2)
    heads = [condition(tables[0], held_out) for tables in conditions]
    cells: dict[str, dict[str, str]] = {}
    for head, tables in zip(heads, conditions, strict=True):
        for table in tables:
            speed, steps = table.mean("speed"), table.mean("steps")
            shown = f"{either.show(table.interval(EITHER))} at {speed:.1f} m/s, {steps:.0f} steps"
            cells.setdefault(table.row, {})[head] = shown
    columns = (Column("row", "trained against"), *(Column(head) for head in heads))
    rows: list[TableRow] = [{"row": row, **found} for row, found in cells.items()]
    return Table(columns, rows, f"{TESTED[EITHER].capitalize()}, {_CONDITION}")


def condition(table: Scores, held_out: Sequence[str]) -> str:
    """What a table's episodes met."""
    if table.stage == "normal":
        return f"{DASH} ({STAGES['normal']}){_cut(table)}"
    return table.adversary + (HELD_OUT if table.adversary in held_out else "") + _cut(table)
