"""Tables of `attack`: what the attacks are worth on the logged ego, and in the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from harness.attacks.closed_loop import JUDGES, SimulatedAttack, rates
from harness.episodes.protocol import protocol_of
from harness.metrics.compliance import VULNERABLE_NOTE, without_edges_note
from harness.report.tables import Column, Table, TableRow

_HEAD: Final = Column("adversary", "")
_COUNTS: Final = (Column("scenes", "scenes attacked", "number"), Column("failed", kind="number"))
_SUCCESS: Final = {
    False: (Column.percent("success"),),
    True: (
        Column.percent("success", "success, CAT's check"),
        Column.percent("success_sage", "success, SAGE's script"),
    ),
}
_MEASURED: Final = (
    Column("reward", "adversarial reward", "mean"),
    Column("kinematic", "kinematic penalty", "mean"),
    Column("behavioural", "behavioural penalty", "mean"),
    Column.percent("off_road", "crosses road edge"),
    Column.percent("hits_traffic", "hits other traffic"),
    Column("milliseconds", "time to plan, median", "number", digits=1, unit="ms"),
)
_SIMULATED: Final = tuple(Column.percent(name, title) for name, title in JUDGES.items())


def open_loop_table(summaries: Sequence[TableRow]) -> Table:
    """One row per adversary: counts, rates and means over scenes."""
    protocol = str(summaries[0]["protocol"])
    columns = (_HEAD, *_COUNTS, *_SUCCESS[protocol_of(protocol).success_of_the_plan], *_MEASURED)
    title = f"Attacks on the logged ego, {protocol} (95 % intervals)"
    # Every adversary plays the same scenes; where one failed, another row counts more of them.
    most = max(summaries, key=lambda row: int(str(row["without_edges"])))
    note = without_edges_note(int(str(most["without_edges"])), int(str(most["scenes"])))
    if most["vulnerable"]:
        note = f"{note} {VULNERABLE_NOTE}".strip()
    return Table(columns, summaries, title, caption=note)


def simulation_table(episodes: Sequence[SimulatedAttack]) -> Table:
    """One row per adversary: shares of episodes with contact in the engine, by every judge."""
    names = dict.fromkeys(episode.adversary for episode in episodes)
    rows: list[TableRow] = [
        {"adversary": name, **rates([episode for episode in episodes if episode.adversary == name])} for name in names
    ]
    title = f"The same attacks in the engine against {episodes[0].policy} (95 % intervals)"
    return Table((_HEAD, *_SIMULATED), rows, title)
