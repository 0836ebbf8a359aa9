"""The documentation site: its reference names everything that there is, and it builds."""

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import pytest
import tyro

from harness import cli, registry
from harness.envs import IDS, VECTOR_IDS
from scripts import docs_options, docs_pages, docs_pictures, docs_site, docs_text
from scripts.docs_options import OptionRow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return docs_pages.reference_pages()


def expected() -> list[tuple[str, str]]:
    """Page and heading of everything that has a card or a section of its own."""
    cards = [(f"reference/cards/{kind}.md", name) for kind, names in registry.BUILTIN.items() for name in names]
    metrics = {path.stem for path in (ROOT / "harness/metrics").glob("*") if not path.name.startswith("__")}
    cards += [("reference/cards/metric.md", name) for name in metrics]
    return cards + [("reference/environments.md", name) for name in (*IDS, *VECTOR_IDS)]


def missing(pages: dict[str, str], wanted: list[tuple[str, str]]) -> list[str]:
    return [f"{place}: {word}" for place, word in wanted if f"## `{word}`\n" not in pages.get(place, "")]


def test_every_component_metric_and_environment_is_on_its_page(pages):
    assert missing(pages, expected()) == []


def test_a_component_that_is_left_out_is_noticed(pages):
    place = "reference/cards/adversary.md"
    less = {**pages, place: pages[place].replace("## `cat`\n", "## `dog`\n")}
    assert missing(less, expected()) == [f"{place}: cat"]


def test_every_verb_has_a_page_that_the_list_leads_to(pages):
    for verb in cli.VERBS:
        assert pages[f"reference/commands/{verb}.md"].startswith(f"# `{verb}`\n")
        assert f"[`{verb}`]({verb}.md)" in pages["reference/commands/index.md"]


def test_every_command_under_a_verb_is_on_its_page(pages):
    found = {name for name in docs_options.commands() if " " in name}
    assert "scenarios list" in found
    assert [name for name in found if f"## `{name}`\n" not in pages[f"reference/commands/{name.split()[0]}.md"]] == []


def test_every_module_is_described_once(pages):
    named = re.findall(r"^::: (\S+)$", "\n".join(pages.values()), re.M)
    paths = [path for package in docs_pages.PACKAGES for path in (ROOT / package).rglob("*.py")]
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths}
    assert sorted(named) == sorted(modules)


def test_every_format_that_is_read_is_named(pages):
    text = pages["reference/formats.md"]
    assert [name for name in ("womd", "gpudrive", "argoverse2", "commonroad") if f"### `{name}`\n" not in text] == []


def printed_options(command) -> set[str]:
    """The options in the help text of a command, of its first preset where it has some."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        command.parse([*list(command.presets or ())[:1], "--help"])
    return set(re.findall(r"--[a-z][\w.-]*", text.getvalue()))


def test_the_options_are_those_that_help_shows(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    for name, command in docs_options.commands().items():
        rows = docs_options.option_rows(command.kind)
        options = {word for row in rows for word in row.name.split(", ") if word.startswith("--")}
        printed = printed_options(command)
        assert sorted(options - printed) == [], name
        # A switch is printed with its negative, so that one that a table lacks is seen here.
        assert sorted({word for word in printed if re.search(r"(--|\.)no-", word)} - options) == [], name
        assert [row.name for row in rows if not row.text] == [], name


@dataclass(frozen=True)
class Inner:
    """A group.

    Attributes:
        size: How large, m.
    """

    size: float = 1.5


@dataclass(frozen=True)
class Outer:
    place: tyro.conf.Positional[Path]
    """Where to."""
    way: Literal["left", "right"] = "left"
    """Which way."""
    dry_run: Annotated[bool, tyro.conf.arg(help="Write nothing.")] = False
    inner: Inner = field(default_factory=Inner)
    bare: tyro.conf.OmitArgPrefixes[Inner] = field(default_factory=Inner)
    shares: Mapping[str, float] = field(default_factory=lambda: {"a_b": 0.5})
    """How often."""


def test_options_of_a_configuration():
    assert docs_options.option_rows(Outer) == [
        OptionRow("PLACE", "PATH", "required", "Where to."),
        OptionRow("--way", "`left`, `right`", "left", "Which way."),
        OptionRow("--dry-run, --no-dry-run", "a switch", "False", "Write nothing."),
        OptionRow("--inner.size", "FLOAT", "1.5", "How large, m."),
        OptionRow("--size", "FLOAT", "1.5", "How large, m."),
        OptionRow("--shares.a-b", "FLOAT", "0.5", "How often."),
    ]
    given = docs_options.option_rows(Outer, Outer(Path("a"), inner=Inner(2.0)))
    assert [row.default for row in given] == ["a", "left", "False", "2.0", "1.5", "0.5"]


class Shy:
    """Keeps away.

    By a wide margin.
    """

    def __init__(self, gap: float = 2.0, mode: "str | None" = None) -> None:
        """Make it.

        Args:
            gap: How far,
                in m.
            mode: `a|b`.
        """


def test_a_card_says_what_why_whence_and_how(monkeypatch):
    about = "`shy`: one that keeps away.\n\nPaper: Doe et al., 2020.\n\nCost: None.\n\nMore of it."
    module = ModuleType("shy_module", about)
    module.Shy = Shy
    monkeypatch.setitem(sys.modules, "shy_module", module)
    monkeypatch.setattr(Shy, "__module__", "shy_module")
    lines = docs_pages.card("shy", "shy_module:Shy", "gauntlet attack --adversary NAME").splitlines()
    assert lines[:5] == ["## `shy`", "", "`shy`: one that keeps away.", "", "Keeps away."]
    assert "| **Command** | `gauntlet attack --adversary shy` |" in lines
    assert "| **Class** | [`shy_module.Shy`][shy_module.Shy] |" in lines
    assert "| **Source** | Doe et al., 2020. |" in lines
    assert "| **Cost** | None. |" in lines
    assert "| `gap` | `float` | `2.0` | How far, in m. |" in lines
    assert "| `mode` | `str | None` | `None` | `a|b`. |" in lines
    assert lines[-3:] == ["    By a wide margin.", "", "    More of it."]


def test_every_adversary_that_plans_has_a_picture(pages):
    text = pages["reference/cards/adversary.md"]
    shown = re.findall(r"!\[(\w+):[^\]]*\]\(\.\./\.\./pictures/adversary/(\w+)\.png\)", text)
    assert shown == [(name, name) for name in registry.BUILTIN["adversary"] if name not in docs_pictures.UNSEEN]
    assert docs_pages.picture_of("curriculum", "cat") == ""


def test_docstrings_in_their_parts():
    head = "One\nline.\n\nMore.\n\nSource: here.\n\nLimits: It\nends.\n\n"
    found = docs_text.parts(head + "Args:\n    a, b: Both.\n\nRaises:\n    c: Never.")
    assert found == ("One line.", "More.", "here.", {"a": "Both.", "b": "Both."}, {"Limits": "It ends."})
    assert docs_text.parts(None) == ("", "", "", {}, {})
    assert docs_text.parts("As Doe et al. (2020) say.").source == "As Doe et al. (2020) say."


def test_bars_are_escaped_outside_of_code():
    assert docs_text.table_row("a|b", "`a|b`\nc|d") == r"| a\|b | `a|b` c\|d |"
    assert docs_site.with_bars(r"| `a \| b` | c \| d |") == r"| `a | b` | c \| d |"


def test_links_lead_to_pages():
    text = (
        "[a](docs/data.md#x) [b](https://a.b/c.md) [c](#d) ![e](docs/pictures/f.png) [g](CONTRIBUTING.md) [h](LICENSE)"
    )
    assert docs_site.relinked(text, "index.md") == (
        "[a](data.md#x) [b](https://a.b/c.md) [c](#d) ![e](pictures/f.png) [g](contributing.md) [h](LICENSE)"
    )
    module = "[a](../harness/metrics/fault.py) [b](../README.md#c)"
    assert docs_site.relinked(module, "data.md") == (
        "[a](reference/api/harness.metrics.md#harness.metrics.fault) [b](index.md#c)"
    )


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_pages_that_are_linked_are_on_the_site(page):
    found = re.findall(r"\]\(([^)#\s]+\.md)(?:#[^)]*)?\)", page.read_text())
    inside = [os.path.relpath(page.parent / target, ROOT) for target in found if "://" not in target]
    assert [target for target in inside if docs_site.on_site(target) is None or not (ROOT / target).exists()] == []


def test_formulas_are_typeset_and_code_is_not():
    text = "a $x_1$ `$y$`, 3 $ and 4 $\n\n    cost $z$\n\n```sh\necho $A $B\n```\n$w$"
    made = docs_site.with_maths(text, "<{}>".format)
    assert made == text.replace("$x_1$", "<x_1>").replace("$w$", "<w>")


def test_the_navigation_is_filled():
    places = ["reference/a/x.md", "reference/a/index.md", "reference/b/y.md"]
    made = dict.fromkeys([*places, "a/2025-01-02-x.md", "a/index.md", "a/2025-02-01-y.md"], "")
    nav = ["start.md", {"A": [{"generated": "a"}]}, {"B": "b.md"}, {"C": [{"latest": "a"}]}]
    assert docs_site.filled(nav, made) == [
        "start.md",
        {"A": ["reference/a/index.md", "reference/a/x.md"]},
        {"B": "b.md"},
        {"C": ["a/index.md", "a/2025-02-01-y.md", "a/2025-01-02-x.md"]},
    ]


def test_every_page_of_the_docs_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    named = [*(path.name for path in (ROOT / "docs").glob("*.md")), *docs_site.OUTSIDE]
    assert [name for name in named if not re.search(rf": {re.escape(name)}$", text, re.M)] == []


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_needs_no_network(tmp_path):
    pytest.importorskip("mkdocs", reason="needs the extra `docs`")
    sources = tmp_path / "build" / "docs"
    build = ["mkdocs", "build", "--strict", "--config-file", str(sources / "mkdocs.yml")]
    for command in (["scripts.docs_site", str(sources)], build):
        done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    site = tmp_path / "site"
    written = {path: path.read_text() for path in site.rglob("*.html")}
    fetched = (
        r"<(?:script|img|iframe)[^>]* src=\"https?:|<link[^>]* rel=\"(?:stylesheet|preconnect)\"[^>]* href=\"https?:"
    )
    assert [path.name for path, text in written.items() if re.search(fetched, text)] == []
    assert "<math " in written[site / "glossary.html"]
    for page in (sources / "pages").rglob("*.md"):
        assert site / page.relative_to(sources / "pages").with_suffix(".html") in written
    assert "adversaries.rule.RuleAdversary" in (site / "search/search_index.json").read_text()
