"""One column, one row, every format: what is printed, and that no number changes on the way."""

import csv
import io
import math
import re
from dataclasses import replace

import pytest
from rich.console import Console

from harness.metrics.intervals import Estimate, Interval, wilson
from harness.report.tables import DASH, Column, Table, csv_text, grouped

NAME = Column("name", "Methods")
N = Column("n", "N", "number")
RATE = Column.percent("rate", "Success", arrow="up", group="Attack")
SPEED = Column("speed", kind="mean", digits=2, unit="m/s", group="Attack")
# 5 of 5: Wilson's lower end is n / (n + z²) = 5 / (5 + 3.8415) = 0.56552.
ROWS = [
    {"name": "cat_1", "n": 5, "rate": Estimate(wilson(5, 5), 5), "speed": Estimate(Interval(3.0, 2.0, 4.125), 2)},
    {"name": "[red]", "n": 5, "rate": None, "speed": Estimate(Interval(1.0, math.nan, math.nan), 1)},
]
TABLE = Table((NAME, N, RATE, SPEED), ROWS, "A [title]", count="n")


def printed(shown: object, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(shown)
    return console.export_text()


def test_values_are_shown_by_their_column() -> None:
    assert RATE.show(Interval(0.5, 0.25, 0.75)) == "50.0 [25.0, 75.0]"
    assert Column("x", kind="mean", bare=True).show(Interval(0.5, 0.25, 0.75)) == "0.500"
    assert Column("x", kind="mean", signed=True, digits=1).show(Interval(0.5, -0.25, 1.0)) == "+0.5 [-0.2, +1.0]"
    assert Column("x", kind="mean").show(Interval(math.nan, math.nan, math.nan)) == DASH
    assert Column("x", kind="mean").show(Interval(1.0, math.nan, math.nan)) == "1.000"
    assert SPEED.show(Estimate(Interval(1.0, 0.0, 2.0), 3, spread=0.126)) == "1.00 [0.00, 2.00] ± 0.13"
    assert Column("p", kind="number", digits=2, form="g").show(0.00012345) == "0.00012"
    assert [N.show(value) for value in (3, None, math.inf, "some")] == ["3", DASH, DASH, "some"]


def test_heads_have_group_unit_and_arrow() -> None:
    assert RATE.heading() == "Attack: Success, % ↑"
    assert RATE.heading(group=False) == "Success, % ↑"
    assert Column("key").heading() == "key"
    assert Column("key", "").heading() == ""
    assert [(name, len(columns)) for name, columns in grouped((NAME, N, RATE, SPEED))] == [
        ("", 1),
        ("", 1),
        ("Attack", 2),
    ]


def test_markdown_says_on_how_many_scenes_a_number_rests() -> None:
    assert TABLE.markdown() == [
        "| Methods | N | Attack: Success, % ↑ | Attack: speed, m/s |",
        "|---|---|---|---|",
        "| cat_1 | 5 | 100.0 [56.6, 100.0] | 3.00 [2.00, 4.12] (n = 2) |",
        r"| \[red\] | 5 | – | 1.00 (n = 1) |",
    ]


def test_plain_columns_are_aligned_and_stay_on_their_lines() -> None:
    rows = [{"name": "山山", "n": 1}, {"name": "a\n\x1b[31m", "n": 12}]
    lines = Table([NAME, N], rows, "title").plain().split("\n")
    assert lines == ["title", "Methods      N", "山山         1", "a\\n\\x1b[31m  12"]


def test_heads_that_say_what_they_mean_are_explained_below_the_table() -> None:
    columns = (NAME, Column("kin", "P_kin", "number", "penalty of [motion]"), Column("beh", about="of behaviour"))
    table = Table(columns, [{"name": "cat", "kin": 1, "beh": 2}], "title", "All scenes.")
    told = "P_kin: penalty of [motion]. beh: of behaviour."
    assert table.below() == f"All scenes.\n{told}"
    assert table.plain().endswith(f"\nAll scenes.\n{told}")
    for turned in (False, True):
        assert told.replace(" ", "") in re.sub(r"\s", "", printed(table.rich(turned=turned)))
    assert replace(table, legend=False).below() == "All scenes."
    assert Table((NAME,), []).below() == ""


def test_csv_and_records_hold_plain_numbers_with_their_ends() -> None:
    first, second = csv.DictReader(io.StringIO(TABLE.csv()))
    assert list(first) == [
        "name",
        "n",
        "rate",
        "rate_low",
        "rate_high",
        "rate_n",
        "speed",
        "speed_low",
        "speed_high",
        "speed_n",
    ]
    assert (first["rate"], first["rate_high"], first["rate_n"]) == ("1.0", "1.0", "5")
    assert float(first["rate_low"]) == pytest.approx(0.56552, abs=1e-5)
    assert (second["rate"], second["rate_low"], second["rate_n"]) == ("", "", "0")
    assert (second["speed"], second["speed_low"], second["speed_n"]) == ("1.0", "nan", "1")
    assert TABLE.records()[0]["speed_high"] == 4.125
    assert Table((NAME, RATE), []).csv() == "name,rate,rate_low,rate_high\n"
    assert csv_text([{"a": 1, "b": "x,y"}]) == 'a,b\n1,"x,y"\n'


def test_latex_escapes_and_groups() -> None:
    text = Table((NAME, RATE, SPEED), ROWS).latex("About.")
    assert r"Methods & \multicolumn{2}{c}{Attack} \\" in text
    assert r" & Success $\uparrow$ & speed \\" in text
    assert r"cat\_1 & 100.0\% {\scriptsize [56.6, 100.0]} & 3.00 {\scriptsize [2.00, 4.12]} \\" in text
    assert r"[red] & -- & 1.00 \\" in text


def test_the_terminal_shows_text_as_it_is_in_both_directions() -> None:
    text = printed(TABLE.rich())
    assert "A [title]" in text
    assert "[red]" in text, "names are no markup"
    turned = printed(TABLE.rich(turned=True))
    lines = [line for line in turned.splitlines() if "Success" in line]
    assert len(lines) == 1
    assert "100.0 [56.6, 100.0]" in lines[0]
    narrow = printed(TABLE.rich(), width=40)
    assert all(number in narrow for number in ("100.0", "[56.6,", "3.00", "[2.00,", "4.12]")), "numbers are never cut"
    styled = Table((Column("state", styles={"ok": "green"}),), [{"state": "ok"}])
    assert list(styled.rich().columns[0].cells) == ["[green]ok[/]"]
