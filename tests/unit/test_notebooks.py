"""The documentation's notebooks: whole, run, with pictures, and pages of the site."""

import ast
import base64
import json
from pathlib import Path

import pytest

from scripts.docs_notebooks import notebook_page
from scripts.run_notebooks import FOLDER, run, tidy

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PIXEL = base64.b64encode(b"a picture").decode()


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text())["cells"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_was_run_and_shows_a_picture(path):
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]
    assert all(cell["execution_count"] == number for number, cell in enumerate(code, 1))
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    for cell in code:
        ast.parse("".join(cell["source"]))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_names_a_machine_s_folders(path):
    texts = [
        json.dumps([output.get("text"), output.get("data", {}).get("text/plain")])
        for cell in cells(path)
        for output in cell.get("outputs", [])
    ]
    assert not [text for text in texts if "/tmp/" in text or "/home/" in text or "/root/" in text]


def test_notebooks_lead_to_one_another_and_to_nothing_else():
    named = {path.name for path in NOTEBOOKS}
    for path in NOTEBOOKS:
        links = "".join("".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "markdown")
        found = {part.split(")")[0] for part in links.split("](")[1:]}
        assert found <= named


def test_a_page_has_text_code_and_what_was_shown(tmp_path):
    path = tmp_path / "small.ipynb"
    code = {
        "cell_type": "code",
        "source": ["1 + 1"],
        "outputs": [
            {"output_type": "execute_result", "data": {"text/plain": ["2"]}},
            {"output_type": "stream", "name": "stdout", "text": ["\x1b[1mbold\x1b[0m\n"]},
            {"output_type": "display_data", "data": {"image/png": PIXEL, "text/plain": ["<Figure>"]}},
            {"output_type": "stream", "name": "stdout", "text": [" \n"]},
        ],
    }
    text = {"cell_type": "markdown", "source": ["# Small\n", "[next](other.ipynb)"]}
    path.write_text(json.dumps({"cells": [text, code]}))
    page, pictures = notebook_page(path)
    assert page.startswith(
        "# Small\n[next](other.md)\n\n```python\n1 + 1\n```\n\n```text\n2\n```\n\n```text\nbold\n```\n"
    )
    assert "![what the cell shows](small-1.png)" in page
    assert "<Figure>" not in page
    assert pictures == {"small-1.png": b"a picture"}


def test_what_differs_from_run_to_run_is_not_kept():
    code = {
        "cell_type": "code",
        "source": "print(1)\nprint(2)",
        "metadata": {"execution": {"time": 1}},
        "outputs": [
            {"output_type": "stream", "name": "stderr", "text": "a bar"},
            {"output_type": "stream", "name": "stdout", "text": "1\n/tmp/abc/runs/benchmark\n"},
            {"output_type": "display_data", "data": {"text/html": "in /tmp/abc/runs/fan", "image/png": PIXEL}},
        ],
    }
    made = tidy({"cells": [code], "metadata": {"language_info": {"version": "3.11.7"}}})
    assert made["metadata"] == {"language_info": {"name": "python"}}
    assert made["cells"][0]["metadata"] == {}
    assert made["cells"][0]["source"] == ["print(1)\n", "print(2)"]
    printed, shown = made["cells"][0]["outputs"]
    assert printed["text"] == ["1\n", "runs/benchmark\n"]
    assert shown["data"] == {"text/html": ["in runs/fan"], "image/png": PIXEL}


def test_a_notebook_is_run_in_place(tmp_path):
    pytest.importorskip("nbclient", reason="nbclient is not installed (extra `notebooks`)")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed (extra `notebooks`)")
    path = tmp_path / "small.ipynb"
    code = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": "print(6 * 7)",
    }
    path.write_text(json.dumps({"cells": [code], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    run(path)
    (cell,) = cells(path)
    assert (cell["execution_count"], cell["outputs"][0]["text"]) == (1, ["42\n"])
