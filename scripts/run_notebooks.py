"""Run the notebooks of the documentation anew and keep what they show: `python -m scripts.run_notebooks [NAME …]`.

Each runs in a fresh kernel and a folder of its own. Its outputs are written back, without what differs from run to run.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = ROOT / "docs" / "notebooks"
LONGEST: Final = 900
"""Most seconds that a cell may take."""
_HIDDEN: Final = re.compile(r"/\S*?/(?=runs/)")
"""Where the run folder lies differs from machine to machine."""


def main(names: Sequence[str]) -> None:
    """Run the named notebooks, or all."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            sys.stdout.write(f"{path.stem}\n")
            sys.stdout.flush()
            run(path)


def run(path: Path) -> None:
    """Run one notebook, and write its outputs back.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed; the file stays as it was.
    """
    # Imported here: only the extra `notebooks` brings them.
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook, timeout=LONGEST, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute()
    path.write_text(json.dumps(tidy(notebook), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def tidy(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook without times, versions and paths of a machine, and with texts of one stream in one piece."""
    notebook["metadata"]["language_info"] = {"name": "python"}
    for cell in notebook["cells"]:
        cell["metadata"] = {}
        cell["source"] = _lines(cell["source"])
        # News of progress and warnings is no result.
        cell_outputs = [item for item in cell.get("outputs", []) if item.get("name") != "stderr"]
        for item in cell_outputs:
            if "text" in item:
                item["text"] = _lines(_HIDDEN.sub("", "".join(item["text"])))
            for kind, value in item.get("data", {}).items():
                if kind.startswith("text/"):
                    item["data"][kind] = _lines(_HIDDEN.sub("", "".join(value)))
        if cell["cell_type"] == "code":
            cell["outputs"] = cell_outputs
    return notebook


def _lines(text: str | list[str]) -> list[str]:
    return "".join(text).splitlines(keepends=True)


if __name__ == "__main__":
    main(sys.argv[1:])
