"""The code in the documentation runs, its links lead somewhere, and what it names is there."""

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest
import torch
from PIL import Image

from harness import cli, registry
from harness.checks import check_adversary
from scenarios.export import write_folder
from scripts.docs_options import commands
from tests import scenes

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def python_block(page: str, word: str) -> str:
    """The block of Python code on a page that holds a word."""
    blocks = re.findall(r"```py(?:thon)?[^\n]*\n(.*?)```", (ROOT / page).read_text(), re.S)
    return next(block for block in blocks if word in block)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Imports the block of CONTRIBUTING.md that holds a word, as a module."""

    def load(word: str):
        (tmp_path / "documented_example.py").write_text(python_block("CONTRIBUTING.md", word))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "documented_example", raising=False)
        return importlib.import_module("documented_example")

    yield load
    sys.modules.pop("documented_example", None)


def test_the_documented_adversary_keeps_the_contract():
    namespace = {}
    exec(python_block("docs/write_an_adversary.md", "class Brake"), namespace)
    check_adversary(namespace["Brake"](), [scenes.straight_road(), scenes.crossing()])


def test_the_documented_verb_runs(example, tmp_path, capsys):
    folder = tmp_path / "scenes"
    write_folder([scenes.straight_road(scene_id="a"), scenes.straight_road(scene_id="b")], folder)
    main = example("CountConfig").main
    main(["--data", str(folder), "--split", "all", "--silent"])
    printed = capsys.readouterr()
    assert printed.out == "2\n"
    assert "--silent is an old spelling" in printed.err
    main(["--data", str(folder), "--split", "all", "--scenes", "1"])
    assert capsys.readouterr().out.startswith("1 scenes in ")


def test_the_documented_table_is_one(example):
    head, _, row = example("COLUMNS").table.markdown()
    assert head == "| adversary | scenes | success, % | smallest gap, m |"
    assert row.startswith("| cat | 4 | 25.0 [")


def test_the_documented_picture_is_drawn(example, tmp_path):
    path = example("draw_gap").draw_gap([0.0, 0.1, 0.2], [3.0, 2.0, 1.5], tmp_path / "gap.png")
    assert min(Image.open(path).size) > 100


def test_the_documented_fit_learns(example):
    x = torch.linspace(-1, 1, 20)
    rows = example("LineTask").fit_line(torch.stack([x, 2 * x + 1], 1))
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[-1]["error"] < 0.5 * rows[0]["error"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()) if not link.startswith("http")]
    assert [link for link in links if not (page.parent / link).exists()] == []


def defined(path: Path) -> set[str]:
    """Functions, classes, methods and constants of a module, methods as `Class.method`."""
    found: set[str] = set()

    def walk(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                walk(node.body, f"{node.name}.")
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found.update(prefix + target.id for target in targets if isinstance(target, ast.Name))

    walk(ast.parse(path.read_text()).body, "")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page):
    """Files as `folder/module.py`, and members as `folder/module.py:Class.method`."""
    gone = []
    for path, member in re.findall(r"`((?:\w+/)+\w+\.(?:py|md))(?::([\w.]+))?`", page.read_text()):
        if not (ROOT / path).is_file() and not re.search("NAME|VERB", path):
            gone.append(path)
        elif member and member not in defined(ROOT / path):
            gone.append(f"{path}:{member}")
    assert gone == []


def test_the_page_of_the_house_names_every_room_and_shared_module():
    text = (ROOT / "docs/architecture.md").read_text()
    rooms = {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}
    shared = {path.name for path in (ROOT / "harness").glob("*.py")} - {f"{verb}.py" for verb in cli.VERBS}
    missing = {room for room in rooms if f"`{room}/`" not in text}
    missing |= {module for module in shared - {"__init__.py", "cli.py"} if f"`{module}`" not in text}
    assert missing == set()


@pytest.mark.parametrize("kind", registry.BUILTIN)
def test_every_registered_name_is_documented(kind):
    line = next(line for line in (ROOT / "docs/names.md").read_text().splitlines() if f"`gauntlet.{kind}`" in line)
    assert set(re.findall("`([^`.]+)`", line)) == set(registry.BUILTIN[kind])


def options(kind: type, prefix: str = "") -> set[str]:
    """Options of a configuration as they are typed, those of its groups with and without the group's name."""
    found: set[str] = set()
    hints = get_type_hints(kind)
    for item in fields(kind):
        own = item.name.replace("_", "-")
        name = prefix + own
        found |= {f"--{name}", f"--{prefix}no-{own}"}
        if is_dataclass(hints[item.name]):
            found |= options(hints[item.name], f"{name}.") | options(hints[item.name])
    return found


def command_lines(text: str) -> Iterator[tuple[str, str]]:
    """Commands with their arguments, as pages and the Makefile write them."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in line.split("#")[0].split("`"):
            match = re.search(r"(?:python -m harness\.|gauntlet )([a-z_]+)( .*|$)", part)
            if match and match[1] in cli.VERBS:
                yield match[1], match[2]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "Makefile"], ids=lambda page: page.name)
def test_options_of_documented_commands_exist(page):
    known = commands()
    gone = []
    for verb, arguments in command_lines(page.read_text()):
        member = " ".join([verb, *arguments.split()[:1]])
        name = member if member in known else verb
        if name in known:
            given = set(re.findall(r"(?<!\S)(--[a-z][\w.-]*)", arguments)) - {"--help"}
            gone += [f"{name} {option}" for option in sorted(given - options(known[name].kind))]
    assert gone == []


def test_every_old_spelling_is_documented():
    rows = re.findall(r"^\| `([a-z_ ]+)` \| (.*?) \|", (ROOT / "docs/names.md").read_text(), re.M)
    documented: dict[str, set[str]] = {}
    for command, old in rows:
        documented.setdefault(command, set()).update(re.findall(r"--[\w.-]+", old))
    missing = {name: set(command.renamed) - documented.get(name, set()) for name, command in commands().items()}
    assert {name: old for name, old in missing.items() if old} == {}
