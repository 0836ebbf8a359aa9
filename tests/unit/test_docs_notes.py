"""Results and notes: the parts of a note, the list of notes, the sources of tables, and one number per sentence."""

import csv
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
NOTES = sorted(path for path in (DOCS / "notes").glob("*.md") if path.name != "index.md")
PARTS = ["Question", "Command", "Result", "What it shows", "What limits it"]

NUMBER = r"(?<![\w.])[−+-]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:e[−+-]?\d+)?(?!\w|[.,]\d)"
# One number, however it is written: with its interval, a range, a part of a whole, a size.
MEASURE = re.compile(rf"{NUMBER}(?: \[[^\]]*\]|(?: of (?:the |its |about )?| to |–|:| × ){NUMBER})*")
# Numbers that measure nothing: names of parts of a paper, settings of a symbol, dates, the level of an interval.
NAMES = re.compile(
    r"\d{4}-\d\d-\d\d"
    r"|\b(?:eq\.|equations?|tables?|figures?|theorems?|appendix|sections?|algorithm|proposition|seeds?|Regulation|scene)"
    r" \w+(?:\.\w+)*(?:(?:, | and |–)\d+)*"
    r"|[λμρβαKNW] = [\d.−½¼¾]*[\d½¼¾]"
    r"|95 % (?=intervals?|bootstrap)"
)


def prose(markdown: str) -> str:
    """A page without code, tables, and where links lead."""
    text = re.sub(r"```.*?```", "", markdown, flags=re.S)
    lines = [line for line in text.splitlines() if not line.startswith(("|", "    "))]
    text = re.sub(r"`[^`\n]*`", "code", "\n".join(lines))
    return re.sub(r"\]\([^)]*\)", "]", text)


def crowded(markdown: str) -> list[str]:
    """The sentences with more than one number, outside of tables and code."""
    found = []
    for block in re.split(r"\n\s*\n|\n(?=- |#|\d\. )", prose(markdown)):
        for sentence in re.split(r"(?<=[.!?])[*)]*\s+", NAMES.sub("", " ".join(block.split()))):
            if len(MEASURE.findall(sentence)) > 1:
                found.append(sentence)
    return found


@pytest.mark.parametrize("page", [DOCS / "results.md", *(DOCS / "notes").glob("*.md")], ids=lambda page: page.name)
def test_a_sentence_holds_at_most_one_number(page):
    assert crowded(page.read_text()) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("It hits in .44 of the scenes. By 3.5 m/s² at most.", 0),
        ("It hits in .44 [.33, .56] of 69 scenes.", 0),
        ("It hits in .44 with 32 candidates.", 1),
        ("From 7 m/s it slows to 3 m/s.\n\n- One has 5.\n- The other has 6.", 1),
        ("`--seeds 1 2` for [5](a1/2.md) and λ = 1, as table 3 of the SMART-R1 paper (eq. 12) says for seeds 0–4.", 0),
        ("| 1 | 2 |\n\n    gauntlet attack --scenes 1 2\n\n```\n1 2\n```", 0),
    ],
)
def test_numbers_are_counted(text, count):
    assert len(crowded(text)) == count


@pytest.mark.parametrize("page", NOTES, ids=lambda page: page.name)
def test_a_note_has_its_date_and_its_parts(page):
    text = page.read_text()
    assert re.match(r"\d{4}-\d\d-\d\d-[a-z0-9-]+\.md$", page.name)
    assert re.match(rf"# [^\n]+\n\n\*{page.name[:10]}\*\n", text)
    assert re.findall(r"^## (.*)$", text, re.M) == PARTS


def test_the_list_has_every_note_once_newest_first():
    listed = re.findall(r"^- .*?\]\(([^)]+)\)", (DOCS / "notes/index.md").read_text(), re.M)
    assert sorted(listed) == [page.name for page in NOTES]
    dates = [name[:10] for name in listed]
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize("path", sorted((DOCS / "results").glob("*.csv")), ids=lambda path: path.name)
def test_a_table_says_its_command_and_has_no_gaps(path):
    head, *rows = path.read_text().splitlines()
    assert re.match(r"# (gauntlet |python -m (harness|scripts)\.)\w", head)
    assert len({len(row) for row in csv.reader(rows)}) == 1
