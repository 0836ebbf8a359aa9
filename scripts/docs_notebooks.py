"""Notebooks as pages of the documentation site: text, code, and what they showed when they were last run."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*m")
"""Colours of a terminal."""
_NEXT: Final = re.compile(r"\]\((\w+)\.ipynb\)")


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures.

    Args:
        path: The notebook.

    Returns:
        The page, and PNG files by their names beside it.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(_NEXT.sub(r"](\1.md)", text))
            continue
        parts.append(f"```python\n{text}\n```")
        for output in cell["outputs"]:
            parts += _shown(output, path.stem, pictures)
    source = f"This page is the notebook `docs/notebooks/{path.name}`, with what it showed when it was last run."
    return "\n\n".join([*parts, f"*{source}*", ""]), pictures


def _shown(output: Mapping[str, Any], stem: str, pictures: dict[str, bytes]) -> list[str]:
    data = output.get("data", {})
    if "image/png" in data:
        name = f"{stem}-{len(pictures) + 1}.png"
        pictures[name] = base64.b64decode("".join(data["image/png"]))
        return [f"![what the cell shows]({name})"]
    text = _ESCAPES.sub("", "".join(output.get("text", data.get("text/plain", ""))))
    return [f"```text\n{text.rstrip()}\n```"] if text.strip() else []
