"""Code on the pages does what it shows: Python runs, commands are understood, and those that readers try first run.

Blocks marked `python` are run, section by section, in a folder of their own; one with a `title` is written there first,
so that others import it. Blocks marked `py` are for reading alone. Commands stand in blocks marked `sh`.
"""

import ast
import importlib
import re
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from harness import cli
from harness.errors import GauntletError
from scenarios import procedural
from scenarios.export import write_folder
from scripts.docs_options import commands
from tests.scenes import straight_road

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SLOW = {"README.md", "gymnasium.md", "recipes.md", "reactive_traffic.md"}
"""Pages whose code starts an engine."""
SMALLER = {"recipes.md": {"1_000_000": "8_192", "100_000": "512", "ROUNDS = 100": "ROUNDS = 2"}}
"""What is made smaller of a page before it is run."""
PROCEDURAL = '"split": "train"'
"""Where recipes name their scenes for processes of their own, which do not know what a test puts in their place."""
TRIED = {"quickstart.md", "test_a_policy.md", "write_an_adversary.md"}
"""Pages whose attacks and benchmarks are run as they stand, on scenes of two cars."""
LIBRARIES = ("torchrl", "ray.rllib")
"""Libraries that recipes need and Gauntlet does not: where one is missing, its recipe is left out."""


class Block(NamedTuple):
    """A fenced block: its language, the file that its title names (or nothing), and what stands in it."""

    language: str
    title: str
    text: str


def sections(markdown: str) -> dict[str, list[Block]]:
    """The fenced blocks of a page by section (headings of the second level); empty for what stands before them."""
    found: dict[str, list[Block]] = {}
    # Fences first: a comment in a shell block looks like a heading.
    for part in re.split(r"^(?=## )", re.sub(r"^```.*?^```$", escaped, markdown, flags=re.S | re.M), flags=re.M):
        heading = part.partition("\n")[0].removeprefix("## ") if part.startswith("## ") else ""
        blocks = re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', part.replace("\0", "#"), re.S | re.M)
        found.setdefault(heading, []).extend(Block(*block) for block in blocks)
    return found


def escaped(block: re.Match[str]) -> str:
    """A block without signs that look like headings."""
    return block[0].replace("#", "\0")


def test_blocks_by_section():
    page = 'a\n```sh\n## b\n```\n## C\n```python title="d.py"\ne\n```\nf\n```python\ng\n```\n## H\n'
    python = [Block("python", "d.py", "e\n"), Block("python", "", "g\n")]
    assert sections(page) == {"": [Block("sh", "", "## b\n")], "C": python, "H": []}


def code() -> Iterator[object]:
    """Every section with code that runs, as parameters of a test."""
    for page in PAGES:
        for heading, blocks in sections(page.read_text()).items():
            if any(block.language == "python" for block in blocks):
                marks = [pytest.mark.slow] if page.name in SLOW else []
                yield pytest.param(page, heading, marks=marks, id=f"{page.name}: {heading or 'beginning'}")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Iterator[Path]:
    """The working directory, on the path, with four hand-made scenes in place of the generated ones."""
    names = [f"sd_pg-{split}-{number:06d}-0" for split in ("train", "test") for number in range(4)]
    write_folder([straight_road(scene_id=name) for name in names], tmp_path / "scenes")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.setattr(procedural, "ensure", lambda *_, **__: tmp_path / "scenes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and Path(sys.modules[name].__file__).parent == tmp_path:
            del sys.modules[name]


@pytest.mark.parametrize(("page", "heading"), code())
def test_the_python_on_a_page_runs(page, heading, folder, monkeypatch):
    blocks = [block for block in sections(page.read_text())[heading] if block.language == "python"]
    for library in LIBRARIES:
        if any(re.search(rf"^\s*(?:from|import) {library}\b", block.text, re.M) for block in blocks):
            pytest.importorskip(library, exc_type=ImportError)
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)
    for block in blocks:
        text = block.text
        for shown, small in SMALLER.get(page.name, {}).items():
            text = text.replace(shown, small)
        text = text.replace(PROCEDURAL, f'"data": {str(folder / "scenes")!r}, {PROCEDURAL}')
        if block.title:
            (folder / block.title).write_text(text)
        else:
            exec(compile(text, f"{page.name}: {heading}", "exec"), vars(module))
    for block in blocks:
        if block.title:
            importlib.import_module(block.title.removesuffix(".py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_for_reading_alone_is_python(page):
    for blocks in sections(page.read_text()).values():
        for block in blocks:
            if block.language == "py":
                ast.parse(block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_made_smaller_is_there(page):
    text = page.read_text()
    assert [shown for shown in SMALLER.get(page.name, {}) if shown not in text] == []


def shell_commands(blocks: list[Block]) -> Iterator[tuple[str, list[str]]]:
    """Verbs and arguments of the commands of Gauntlet in shell blocks."""
    for block in blocks:
        if block.language == "sh":
            for line in block.text.replace("\\\n", " ").splitlines():
                words = re.search(r"(?:python -m harness\.|\bgauntlet )(\w+)\b(.*)", line)
                if words and words[1] in cli.VERBS:
                    # The command ends at a pipe or the like, unless that stands in quotes.
                    own = re.match(r"""(?:"[^"]*"|'[^']*'|(?! (?:&&|\||>) |\)).)*""", words[2])
                    yield words[1], shlex.split(own[0] if own else "", comments=True)


def understood(verb: str, arguments: list[str]) -> str:
    """Why a command does not take its arguments; empty where it does."""
    known = commands()
    member = " ".join([verb, *arguments[:1]])
    command, rest = (known[member], arguments[1:]) if member in known else (known.get(verb), arguments)
    if command is None or {"--help", "--resume"} & set(rest):
        return ""
    try:
        command.parse(rest)
    except (GauntletError, SystemExit) as error:
        return f"{member}: {error}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documented_commands_are_understood(page):
    blocks = [block for found in sections(page.read_text()).values() for block in found]
    assert list(filter(None, (understood(*command) for command in shell_commands(blocks)))) == []


@pytest.mark.parametrize(
    "arguments", [["--pictures", "-1"], ["--scene", "3"], ["--adversary"], ["--intensity", "high"]]
)
def test_a_command_that_is_wrong_is_noticed(arguments, capsys):
    assert understood("attack", arguments)
    assert not understood("attack", ["--scenes", "3"])


def trials() -> Iterator[object]:
    """The sections with commands that are run."""
    for page in PAGES:
        if page.name in TRIED:
            for heading, blocks in sections(page.read_text()).items():
                for verb, arguments in shell_commands(blocks):
                    placeholder = any(re.fullmatch(r"(?:\w+:)?[A-Z_]{2,}(?:/.*)?", word) for word in arguments)
                    if verb in ("attack", "benchmark", "simulate") and not placeholder:
                        command = " ".join([verb, *arguments])
                        yield pytest.param(page, heading, verb, arguments, id=f"{page.name}: {command}")


@pytest.mark.slow
@pytest.mark.parametrize(("page", "heading", "verb", "arguments"), trials())
def test_what_readers_try_first_runs(page, heading, verb, arguments, folder):
    for block in sections(page.read_text())[heading]:
        if block.title:
            (folder / block.title).write_text(block.text)
    call = [sys.executable, "-m", f"harness.{verb}", *arguments, "--data", str(folder / "scenes"), "--split", "all"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "everything lies in" in done.stdout
