"""What makes a page harmless: one script and one style that may run, nothing fetched, and the colours of pictures."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jinja2

from harness.drawing.palette import DARK, LIGHT
from harness.files import write_atomically

BUFFERED: Final = 64
"""Pieces of a page that are written at once."""


def write_page(path: Path, template: str, styles: Sequence[str], scripts: Sequence[str], **values: Any) -> None:
    """Write a page piece by piece, beside and then renamed; what strangers named is shown as text only.

    Args:
        path: File to write.
        template: Its file among the templates; it is given `policy`, `style` and `script`, too.
        styles: Files that are joined into its one style, after the colours.
        scripts: Files that are joined into its one script.
        values: What the template shows; iterators are used up as the page is written.

    Raises:
        RunError: The page cannot be written.
    """
    folder = resources.files("harness.report.html") / "templates"
    style = themes() + "".join((folder / name).read_text(encoding="utf-8") for name in styles)
    script = strict("\n".join((folder / name).read_text(encoding="utf-8") for name in scripts))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    made = environment.from_string((folder / template).read_text(encoding="utf-8"))
    stream: Any = made.stream(policy=policy(script, style), style=style, script=script, **values)
    stream.enable_buffering(BUFFERED)

    def dump(beside: Path) -> None:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            stream.dump(file)

    write_atomically(path, dump)


def policy(script: str, style: str) -> str:
    """The content security policy of a page that runs this script and this style, and shows pictures that it holds."""
    return (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def themes() -> str:
    """The palette of pictures as CSS variables, by day and by night."""
    return f':root {{ {LIGHT.css()} }}\n:root[data-theme="dark"] {{ {DARK.css()} }}\n'


def strict(script: str) -> str:
    """One strict function around all of a script: the page has no global names."""
    return f'(() => {{\n"use strict";\n{script}\n}})();'
