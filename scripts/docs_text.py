"""Docstrings in their parts, and Markdown from them, for the pages of the documentation site."""

from __future__ import annotations

import inspect
import re
from typing import Final, NamedTuple

SECTIONS: Final = ("Args", "Attributes", "Raises", "Returns", "Yields", "Example", "Examples")
"""Headings of docstrings (Google style) that end their text."""
_HEADING: Final = re.compile(rf"^({'|'.join(SECTIONS)}):$", re.M)
_SOURCE: Final = re.compile(r"(?:Papers?|Sources?)(?: of [\w ]+)?:\s")
_FACT: Final = re.compile(r"(Cost|Limits):\s")
_CITED: Final = re.compile(r"et al\.|\(\d{4}\)")
_MEMBER: Final = re.compile(r"^    (\*{0,2}\w+(?:, \*{0,2}\w+)*): ?")


class DocParts(NamedTuple):
    """A docstring in its parts.

    Attributes:
        summary: Its first paragraph on one line.
        rest: The other paragraphs before the first heading, as Markdown, those of `source` and `facts` left out.
        source: The paragraphs that name sources; where there is none, the summary if it cites somebody.
        members: Parameters and attributes by name, with their texts.
        facts: What paragraphs that begin with `Cost:` or `Limits:` say, by this word.
    """

    summary: str
    rest: str
    source: str
    members: dict[str, str]
    facts: dict[str, str]


def parts(document: str | None) -> DocParts:
    """Take a docstring apart; nothing is empty."""
    text = inspect.cleandoc(document or "")
    match = _HEADING.search(text)
    prose, tail = (text[: match.start()], text[match.start() :]) if match else (text, "")
    summary, *others = [part for part in re.split(r"\n\s*\n", prose.strip()) if part.strip()] or [""]
    sources = [part for part in others if _SOURCE.match(part)]
    facts = {match[1]: one_line(part[match.end() :]) for part in others if (match := _FACT.match(part))}
    rest = "\n\n".join(part for part in others if part not in sources and not _FACT.match(part))
    source = " ".join(one_line(_SOURCE.sub("", part, count=1)) for part in sources)
    if not source and _CITED.search(summary):
        source = one_line(summary)
    return DocParts(one_line(summary), rest, source, _members(tail), facts)


def _members(text: str) -> dict[str, str]:
    """The entries below `Args:` and `Attributes:`, also those that share a line."""
    found: dict[str, str] = {}
    section, names = "", list[str]()
    for line in text.splitlines():
        if heading := _HEADING.match(line):
            section, names = heading[1], []
        elif section not in ("Args", "Attributes"):
            continue
        elif member := _MEMBER.match(line):
            names = [name.lstrip("*") for name in member[1].split(", ")]
            found |= dict.fromkeys(names, line[member.end() :].strip())
        else:
            found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
    return found


def one_line(text: str) -> str:
    """A paragraph without its line breaks."""
    return " ".join(text.split())


def table_row(*cells: str) -> str:
    """A row of a Markdown table: bars outside of code are escaped, and line breaks become spaces."""
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    pieces = one_line(text).split("`")
    return "`".join(piece if index % 2 else piece.replace("|", r"\|") for index, piece in enumerate(pieces))


def folded(title: str, text: str) -> str:
    """A block that opens at a click; empty for an empty text."""
    if not text.strip():
        return ""
    body = "\n".join(f"    {line}".rstrip() for line in text.splitlines())
    return f'??? note "{title}"\n\n{body}\n'
