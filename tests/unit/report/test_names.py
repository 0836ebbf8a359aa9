"""Names from strangers' files on every surface: they are shown, and neither steer nor break what shows them."""

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from harness.commands.printing import CleanConsole, clean
from harness.drawing.figure import new_figure, save_figure
from harness.errors import GauntletError
from harness.report.html.encoding import safe_json
from harness.report.tables import Column, Table, csv_text

MARKUP = "[bold]a[/bold] [/]"
ESCAPES = "\x1b[31mred\x1b[0m\x07\x9b"
REORDERED = "a\u202ebc\u2066\u200f\u061c\u200b\u180e\u3164\ufe0f\U000e0041"
HALF = "a\ud800b"
LINES = "a\nb\rc\u2028d"
FORMULA = "=cmd|' /C calc'!A0"
ELEMENT = "</script><script>alert(1)</script>&"
MATHS = r"$\frac{a$"
CHINESE = "山" * 32
EMOJI = ":smile:"
NAMES = [MARKUP, ESCAPES, REORDERED, HALF, LINES, FORMULA, ELEMENT, MATHS, CHINESE, EMOJI, "a|b", "back\\", "＝1"]
HARMFUL = set(ESCAPES + REORDERED + HALF + LINES) - set("[31mred[0mabcd")


def table(name: str) -> Table:
    columns = (Column("scene", kind="text", styles={name: "red"}), Column("agents", kind="number", digits=0))
    return Table(columns, [{"scene": name, "agents": 2}], title=name, caption=name)


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
@pytest.mark.parametrize("turned", [False, True])
def test_terminal(name: str, turned: bool) -> None:
    text = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # As strict as a terminal's stream.
    console = CleanConsole(file=text, width=400, highlight=False, emoji=False)
    console.print(table(name).rich(turned=turned))
    console.print(name, markup=False)
    console.print(str(GauntletError(f"{name} is missing")), markup=False)
    text.flush()
    shown = text.buffer.getvalue().decode()
    assert not HARMFUL - {"\n"} & set(shown)
    if not HARMFUL & set(name):
        assert shown.count(name) >= 4


def test_errors_stay_on_their_line() -> None:
    for name in NAMES:
        assert not HARMFUL & set(str(GauntletError(name)))
    assert len(str(GauntletError("a" * 10**6))) < 2000
    assert clean("a\tb\nc") == "a\tb\nc"


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_csv(name: str) -> None:
    for text in (table(name).csv(), csv_text([{"scene": name, "agents": 2}])):
        (row,) = csv.DictReader(io.StringIO(text))
        assert not row["scene"].startswith(tuple("=+-@＝＋－＠"))
        assert len(text.splitlines()) == 2
        assert not HARMFUL & set(row["scene"])
        text.encode()
    assert csv_text([{"a": -1.5}]) == "a\n-1.5\n"


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_markdown_and_latex(name: str) -> None:
    _, _, row = table(name).markdown()
    assert row.replace("\\|", "").count("|") == 3
    assert "](" not in row
    assert not HARMFUL & set(row)
    latex = table(name).latex("")
    latex.encode()
    assert latex.replace(r"\$", "").count("$") % 2 == 0
    assert latex.replace(r"\{", "").count("{") == latex.replace(r"\}", "").count("}")


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_page(name: str) -> None:
    text = safe_json({"name": name})
    assert not set("<>&") & set(text)
    text.encode()
    assert json.loads(text) == {"name": name}


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", [MARKUP, MATHS, CHINESE, FORMULA])
def test_pictures(tmp_path: Path, name: str) -> None:
    figure = new_figure(2, 2)
    figure.add_subplot(title=name, xlabel=name)
    with Image.open(save_figure(figure, tmp_path / "a.png")) as image:
        assert image.size[0] > 0
