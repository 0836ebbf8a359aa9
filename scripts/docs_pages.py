"""Reference pages of the documentation site, made from code: cards, environments, commands, formats and modules.

`reference_pages` gives all of them. Nothing here knows the generator of the site: `scripts/docs_hooks.py` does.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, get_type_hints

from harness import cli, registry
from harness.benchmarking import columns
from harness.envs import IDS, VECTOR_IDS
from harness.report.tables import Column
from scripts.docs_options import command_page, field_texts
from scripts.docs_scores import COSTED, COSTS, cost_facts, metric_facts, score_facts
from scripts.docs_text import DocParts, folded, parts, table_row

ROOT: Final = Path(__file__).resolve().parents[1]
PACKAGES: Final = ("gauntlet", "scenarios", "adversaries", "ego_policies", "curricula", "harness")
FOLDER: Final = "reference"
"""Where the pages lie in the site."""
PICTURES: Final = "pictures"
"""Where pictures lie in `docs/` and in the site; those of cards in a folder for each kind."""


class Kind(NamedTuple):
    """How the components of a kind are presented.

    Attributes:
        title: Heading of the page.
        about: What stands below it.
        usage: How one is named on a command line, with `NAME` for its name; empty where no option takes it.
    """

    title: str
    about: str
    usage: str


KINDS: Final[Mapping[registry.RegistryKind, Kind]] = {
    "adversary": Kind(
        "Adversaries", "An adversary plans what the opponent does to the ego.", "gauntlet attack --adversary NAME"
    ),
    "policy": Kind(
        "Systems under test", "A policy drives the ego: it is what is tested.", "gauntlet benchmark --sut NAME"
    ),
    "curriculum": Kind(
        "Curricula",
        "A curriculum says how often and how hard an ego is attacked as its training goes on.",
        "gauntlet train_ego quick --curriculum NAME",
    ),
    "traffic": Kind(
        "Traffic models",
        "A traffic model moves everybody who is neither ego nor opponent.",
        "gauntlet simulate --traffic NAME",
    ),
    "backbone": Kind("Backbones", "A backbone is a kind of motion model that SAGE's alignment works on.", ""),
    "sequence_model": Kind(
        "Sequence models",
        "A sequence model goes on with the structured sequences of the traffic model `rosetta`.",
        "gauntlet train_traffic --stage rosetta --rosetta.sequence-model NAME",
    ),
}
WRITTEN: Final[Mapping[str, str]] = {
    "Run folders": "harness.commands.runs",
    "Records of episodes": "harness.episodes.records",
    "Split files": "scenarios.splits",
    "Scenes as ScenarioNet files": "scenarios.export",
    "Policy files": "harness.fitting.policy_files",
    "Weights files": "harness.fitting.weights",
    "Scenes that are shared": "harness.sharing.scene_files",
    "Submissions to a leaderboard": "harness.sharing.submissions",
    "ASAM OpenSCENARIO": "harness.exports.openscenario",
    "ASAM OpenDRIVE": "harness.exports.opendrive",
}
"""Formats that Gauntlet writes, and the modules that say what they hold."""


def reference_pages() -> dict[str, str]:
    """Every generated page: its place below the site's root, and its Markdown."""
    pages = {f"{FOLDER}/cards/{kind}.md": cards_page(kind) for kind in KINDS}
    pages[f"{FOLDER}/cards/metric.md"] = metrics_page()
    pages[f"{FOLDER}/environments.md"] = environments_page()
    pages |= {f"{FOLDER}/commands/{verb}.md": command_page(verb) for verb in cli.VERBS}
    pages[f"{FOLDER}/commands/index.md"] = commands_page()
    pages[f"{FOLDER}/formats.md"] = formats_page()
    pages |= {f"{FOLDER}/api/{package}.md": api_page(package) for package in packages()}
    return pages


def cards_page(kind: registry.RegistryKind) -> str:
    """One card per registered component of a kind."""
    title, about, usage = KINDS[kind]
    head = f"# {title}\n\n{about} Third parties register theirs by an entry point of the group `gauntlet.{kind}`.\n"
    found = registry.BUILTIN[kind].items()
    if kind in COSTED:
        head += f"\n{COSTS}\n"
    cards = [
        card(name, target, usage, picture_of(kind, name), {**cost_facts(kind, name), **score_facts(kind, name)})
        for name, target in found
    ]
    return "\n".join([head, *cards])


def picture_of(kind: str, name: str) -> str:
    """The picture of a component that `scripts/docs_pictures.py` made; empty where there is none."""
    if not (ROOT / "docs" / PICTURES / kind / f"{name}.png").is_file():
        return ""
    words = f"{name}: dotted what the opponent did, faint what it might do, red what it does, blue the ego"
    return f"![{words}](../../{PICTURES}/{kind}/{name}.png){{ width=420 }}\n"


def card(
    name: str, target: str, usage: str = "", picture: str = "", measured: Mapping[str, str] = MappingProxyType({})
) -> str:
    """A component: what it does, a picture, where it comes from, how it is named, its options, and how it works.

    Args:
        name: Registered name.
        target: `module:Class` or `module:function`.
        usage: A command line with `NAME` for its name; empty for none.
        picture: Markdown of its picture; empty for none.
        measured: What is said of measurements: labels, and Markdown.
    """
    module_name, _, attribute = target.partition(":")
    module = importlib.import_module(module_name)
    component = getattr(module, attribute)
    own, around = parts(inspect.getdoc(component)), parts(module.__doc__)
    facts = [("Class" if inspect.isclass(component) else "Function", reference(component))]
    if usage:
        facts.insert(0, ("Command", f"`{usage.replace('NAME', name)}`"))
    if source := source_of(component, own, around):
        facts.append(("Source", source))
    facts += [(name, text) for name, text in {**around.facts, **own.facts, **measured}.items()]
    text = [f"## `{name}`\n", f"{around.summary}\n", f"{own.summary}\n", picture, "| | |\n|---|---|"]
    text += [table_row(f"**{label}**", value) for label, value in facts]
    text += ["", options_table(component)]
    text.append(folded("How it works", "\n\n".join(part for part in (own.rest, around.rest) if part)))
    return "\n".join(text)


def source_of(component: Any, own: DocParts, around: DocParts) -> str:
    """The sources that the docstrings name: of the component, of its module, or of the next class that it inherits."""
    bases = component.__mro__[1:-1] if inspect.isclass(component) else ()
    inherited = [parts(base.__doc__).source for base in bases if base.__module__.split(".")[0] in PACKAGES]
    return next((text for text in (own.source, around.source, *inherited) if text), "")


def reference(component: Any, text: str = "") -> str:
    """A link to where a class or function of ours is described, under its full name or another text."""
    name = f"{component.__module__}.{component.__qualname__}"
    return f"[`{text or name}`][{name}]"


def options_table(component: Callable[..., Any]) -> str:
    """The options of a component with their types, defaults and texts, from its signature and docstrings."""
    texts = parameter_texts(component)
    rows = []
    for item in inspect.signature(component).parameters.values():
        if item.kind is item.VAR_KEYWORD:
            rows += config_rows(component, item.name, texts)
            continue
        default = "required" if item.default is item.empty else f"`{shown(item.default)}`"
        rows.append((f"`{item.name}`", f"`{annotation(item)}`", default, texts.get(item.name, "")))
    if not rows:
        return "It has no options.\n"
    head = ["| option | type | default | what it says |", "|---|---|---|---|"]
    return "\n".join([*head, *(table_row(*row) for row in rows)]) + "\n"


def parameter_texts(component: Any) -> dict[str, str]:
    """What docstrings say of parameters: the class's and its constructor's, those of the classes that it inherits."""
    found: dict[str, str] = {}
    for owner in reversed(component.__mro__[:-1]) if inspect.isclass(component) else (component,):
        found |= parts(owner.__doc__).members
        found |= parts(vars(owner)["__init__"].__doc__).members if "__init__" in vars(owner) else {}
    return found


def config_rows(component: Any, name: str, texts: Mapping[str, str]) -> list[tuple[str, str, str, str]]:
    """What may be given by any name: the fields of the component's configuration, or what its docstring says."""
    function = component.__init__ if inspect.isclass(component) else component
    hints = get_type_hints(function)
    kinds = getattr(hints.get("config"), "__args__", (hints.get("config"),))
    config = next((kind for kind in kinds if isinstance(kind, type) and dataclasses.is_dataclass(kind)), None)
    if config is None:
        return [(f"`{name}`", "any of these", "", texts.get(name, ""))]
    told = field_texts(config)
    return [
        (f"`{item.name}`", f"`{item.type}`", f"`{shown(item.default)}`", told.get(item.name, ""))
        for item in dataclasses.fields(config)
    ]


def shown(value: object) -> str:
    """A default value: configurations by the name of their class alone."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return f"{type(value).__name__}(…)"
    return repr(value)


def annotation(item: inspect.Parameter) -> str:
    """The type of a parameter as it is written, without quotes."""
    return item.annotation if isinstance(item.annotation, str) else getattr(item.annotation, "__name__", "")


def metrics_page() -> str:
    """One card per module of metrics, and the columns of the benchmark."""
    text = ["# Metrics\n", parts(importlib.import_module("harness.metrics").__doc__).rest + "\n"]
    text += [metric_card(name) for name in metric_modules()]
    text.append("## Columns of the benchmark\n\n| column | what it says |\n|---|---|")
    found: dict[str, Column] = {}
    for value in vars(columns).values():
        if isinstance(value, tuple):
            found |= {item.key: item for item in value if isinstance(item, Column)}
    text += [table_row(" ".join(filter(None, (item.group, item.title))), item.about) for item in found.values()]
    return "\n".join(text) + "\n"


def metric_modules() -> list[str]:
    """Modules and packages of metrics by dotted name."""
    folder = ROOT / "harness" / "metrics"
    names = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    names += [path.parent.name for path in folder.glob("*/__init__.py")]
    return [f"harness.metrics.{name}" for name in sorted(names)]


def metric_card(name: str) -> str:
    """A module of metrics: what it answers, its source, its public functions."""
    module = importlib.import_module(name)
    told = parts(module.__doc__)
    text = [f"## `{name.rpartition('.')[2]}`\n", f"{told.summary}\n"]
    if told.source:
        text.append(f"**Source:** {told.source}\n")
    text += [f"**{label}:** {value}\n" for label, value in metric_facts(name).items()]
    functions = [
        value
        for key, value in vars(module).items()
        if inspect.isfunction(value) and not key.startswith("_") and value.__module__.startswith(name)
    ]
    if functions:
        text.append("| function | what it gives |\n|---|---|")
        text += [table_row(reference(item, item.__name__), parts(item.__doc__).summary) for item in functions]
        text.append("")
    else:
        text.append(f"See [`{name}`][{name}].\n")
    text.append(folded("How it works", told.rest))
    return "\n".join(text)


def environments_page() -> str:
    """One section per environment id: its docstring, and its class."""
    text = ["# Environments\n", "Importing `harness.envs` registers these ids with Gymnasium.\n"]
    for name, target in {**IDS, **VECTOR_IDS}.items():
        module, _, attribute = target.partition(":")
        made = getattr(importlib.import_module(module), attribute)
        document = inspect.getdoc(made) or ""
        body = "\n".join(f"#{line}" if line.startswith("## ") else line for line in document.splitlines()[1:])
        text += [f"## `{name}`\n", f"Class {reference(made)}.\n", body.strip() + "\n"]
    return "\n".join(text)


def commands_page() -> str:
    """The list of the commands."""
    head = "# Commands\n\n`gauntlet VERB` is `python -m harness.VERB`. The options are those that `--help` shows.\n"
    rows = [table_row(f"[`{verb}`]({verb}.md)", cli.purpose(verb)) for verb in cli.VERBS]
    return "\n".join([head, "| verb | does |", "|---|---|", *rows]) + "\n"


def formats_page() -> str:
    """The file formats that are read and written, from the docstrings of the modules that do it."""
    text = ["# File formats\n", "## Where scene files lie\n", prose("scenarios.importers.layouts")]
    text += ["## Scene files that are read\n", f"### ScenarioNet\n\n{prose('scenarios.description')}"]
    for name in importers():
        text.append(f"### `{name.rpartition('.')[2]}`\n\n{prose(name)}")
    text.append("## Files that are written\n")
    text += [f"### {title}\n\n{prose(name)}" for title, name in WRITTEN.items()]
    return "\n".join(text)


def importers() -> list[str]:
    """Modules that read the files of another data set, by dotted name: their docstrings begin with `Importer of`."""
    folder = ROOT / "scenarios" / "importers"
    documents = {path.stem: module_document(path) for path in sorted(folder.glob("*.py"))}
    return [f"scenarios.importers.{name}" for name, text in documents.items() if text.startswith("Importer of")]


def prose(name: str) -> str:
    """The docstring of a module, with a link to it."""
    path = ROOT / f"{name.replace('.', '/')}.py"
    return f"{module_document(path)}\n\nModule [`{name}`][{name}].\n"


def module_document(path: Path) -> str:
    """The docstring of a source file, which is not imported."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def packages() -> list[str]:
    """Every package by dotted name, folders of modules without an `__init__` among them."""
    folders = {path.parent for top in PACKAGES for path in (ROOT / top).rglob("*.py")}
    return sorted(".".join(folder.relative_to(ROOT).parts) for folder in folders)


def api_page(package: str) -> str:
    """The public members of a package and of the modules in it; the generator fills in what they are."""
    stems = {path.stem for path in (ROOT / package.replace(".", "/")).glob("*.py")}
    text = [f"# `{package}`\n"]
    if "__init__" in stems:
        text.append(directive(package, 2) + "      show_root_heading: false\n")
    text += [directive(f"{package}.{name}", 2) for name in sorted(stems - {"__init__"})]
    return "\n".join(text)


def directive(name: str, level: int) -> str:
    """Where the generator puts a module."""
    return f"::: {name}\n    options:\n      heading_level: {level}\n"
