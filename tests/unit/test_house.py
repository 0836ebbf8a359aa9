"""How big things may grow, what every module owes a test, and that everything public says in a sentence what it is.

The tables of exceptions may only shrink: an entry that is no longer needed fails as well.
"""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gauntlet", "scenarios", "adversaries", "ego_policies", "curricula", "harness")

FILE_LINES, FUNCTION_LINES, VERB_LINES, LOOSE_MODULES = 400, 70, 100, 9
LONG_FILES: dict[str, int] = {}
LONG_FUNCTIONS: dict[str, int] = {}
LONG_VERBS: dict[str, int] = {}
"""Path, `path:function` or verb → lines that it has today and may not pass."""
UNTESTED: set[str] = set()
"""Modules that no test imports."""

SOURCES = {path: path.read_text() for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
TREES = {path: ast.parse(text) for path, text in SOURCES.items()}
Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines(path: Path) -> int:
    return len(SOURCES[path].splitlines())


def commands() -> dict[str, Path]:
    """Verbs and the console script: modules at the top of `harness` that can be run."""
    return {path.stem: path for path in SOURCES if path.parent.name == "harness" and is_command(path)}


def is_command(path: Path) -> bool:
    return '__name__ == "__main__"' in SOURCES[path]


def body_lines(function: Function) -> int:
    """Lines from the first to the last statement, the docstring left out."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def too_long(sizes: dict[str, int], limit: int, exceptions: dict[str, int]) -> dict[str, str]:
    """What is over its limit, and exceptions that nothing needs any more."""
    grown = {name: f"{n} lines" for name, n in sizes.items() if n > exceptions.get(name, limit)}
    stale = {name: "no longer needed here" for name in exceptions if sizes.get(name, 0) <= limit}
    return grown | stale


def test_no_file_is_too_long():
    assert not too_long({relative(path): lines(path) for path in SOURCES}, FILE_LINES, LONG_FILES)


def test_no_function_is_too_long():
    sizes: dict[str, int] = {}
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                name = f"{relative(path)}:{node.name}"
                sizes[name] = max(sizes.get(name, 0), body_lines(node))
    assert not too_long(sizes, FUNCTION_LINES, LONG_FUNCTIONS)


def test_no_verb_is_too_long():
    assert not too_long({name: lines(path) for name, path in commands().items()}, VERB_LINES, LONG_VERBS)


def test_the_budget_sees_growth_and_stale_exceptions():
    assert too_long({"a": 101, "b": 100}, 100, {}) == {"a": "101 lines"}
    assert too_long({"a": 121, "b": 120}, 100, {"a": 120, "b": 120}) == {"a": "121 lines"}
    assert too_long({"a": 100}, 100, {"a": 120, "gone": 120}).keys() == {"a", "gone"}


def test_a_docstring_does_not_count():
    function = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    a = 1\n    return a\n').body[0]
    assert body_lines(function) == 2


def test_few_modules_lie_loose_at_the_top_of_the_harness():
    top = {path.stem for path in SOURCES if path.parent == ROOT / "harness"} - commands().keys() - {"__init__"}
    assert len(top) <= LOOSE_MODULES, sorted(top)


def imported(source: str) -> set[str]:
    """Dotted names of the modules, and members of modules, that a source imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_module_is_imported_by_a_test():
    modules = {relative(path)[:-3].replace("/", ".") for path in SOURCES if path.name != "__init__.py"}
    seen = set().union(*(imported(path.read_text()) for path in (ROOT / "tests").rglob("*.py")))
    untested = modules - seen
    assert sorted(untested - UNTESTED) == []
    assert sorted(UNTESTED - untested) == []


def test_a_member_that_is_a_module_counts():
    assert imported("from harness import cli\nimport os.path") == {"harness", "harness.cli", "os.path"}


def flaw(text: str) -> str | None:
    """Why a text is no whole sentence, or None where it is one."""
    first = " ".join(text.split("\n\n")[0].split())
    if re.match(r"[a-z…]", first) or not first:
        return "begins without a capital letter"
    if first[-1] not in ".:?":
        return "ends without a full stop"
    if re.search(r"\b(likewise|ditto)\b", text, re.IGNORECASE):
        return "leaves it to the reader what is alike"
    if re.search(r"(?:\A|^\s*\w+(?:, \w+)*: )Of\b", text, re.MULTILINE):
        return "leaves it to the reader what is meant: begins with `Of`"
    return None


@pytest.mark.parametrize(
    "text", ["likewise.", "Stopping: likewise.", "m/s", "No stop", "…", "", "Of it.", "Do.\n\nArgs:\n    a, b: Of it."]
)
def test_fragments_are_no_sentences(text):
    assert flaw(text)


def test_sentences_are():
    assert not flaw("Scenes for early stopping: a split's name, or indices such as `0:280`.")
    assert not flaw("`pose` of the car.\n\nlower case comes later.")


def attribute_texts(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Names of assignments with the string that stands below them."""
    for statement, below in pairwise(body):
        assigned = isinstance(statement, ast.Assign | ast.AnnAssign)
        text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and below.value.value
        if assigned and isinstance(text, str):
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            yield ast.unparse(target), text


def texts(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Docstrings of module, classes and functions, and strings below constants and fields (the help of options)."""
    for node in ast.walk(tree):
        if isinstance(node, Documented):
            name = getattr(node, "name", "module")
            document = ast.get_docstring(node)
            if document is not None:
                yield name, document
            for attribute, text in attribute_texts(node.body):
                yield f"{name}.{attribute}", text


def test_everything_says_in_a_sentence_what_it_is():
    """That everything public has a docstring at all is ruff's business (rules D1)."""
    flaws = {
        f"{relative(path)}:{name}": f"{why}: {text}"
        for path, tree in TREES.items()
        for name, text in texts(tree)
        if (why := flaw(text))
    }
    assert not flaws


def test_a_class_name_means_one_thing():
    places: dict[str, set[str]] = {}
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, set()).add(relative(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
