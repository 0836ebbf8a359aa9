"""The dependency rule of the architecture, checked on the code's own imports and on names written as strings."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gauntlet", "scenarios", "adversaries", "ego_policies", "curricula", "harness")
# These import nothing of ours: one exception family, one box geometry, one atomic writer, one cache, one compiler.
FOUNDATION = ("harness.errors", "harness.geometry", "harness.files", "harness.caching", "harness.kernels")
CONTRACTS = (*FOUNDATION, "harness.interfaces", "harness.metrics")
# One tracker follows timed paths, whoever drives.
FOLLOWED = ("harness.episodes.tracking",)
# What an adversary is asked, and which of its published code's deviations it repeats.
ASKED = ("harness.episodes.attacks", "harness.episodes.protocol")
ALLOWED = {
    "scenarios": ("scenarios", *FOUNDATION),
    # SAGE's token backbone lives with SAGE, over the public models of the traffic package; one loop fits all.
    "adversaries": ("adversaries", "scenarios", "harness.traffic", "harness.fitting", *ASKED, *FOLLOWED, *CONTRACTS),
    # Policy files are written by training and read by policies, within the bounds of all weights.
    "ego_policies": ("ego_policies", "scenarios", "harness.fitting.policy_files", *FOLLOWED, *CONTRACTS),
    "curricula": ("curricula", "scenarios", *CONTRACTS),
    "harness": ("harness", "scenarios"),
    # The façade calls what the commands call.
    "gauntlet": ("gauntlet", "harness"),
}
# Registered components, and modules that have new names.
TABLES = ("harness/registry.py", "harness/moved.py")
ENGINE = ("harness/engine/", "scenarios/procedural/")
# The façade is left out: no component lies in it, and other texts begin with its name.
NAME = re.compile(rf"(?:{'|'.join(PACKAGES[1:])})(?:\.\w+)+(?::\w+)?")


def imports(source: str) -> set[str]:
    """Every module that a source imports, at any depth, or names in a string of its own, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "harness":
                found |= {f"harness.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
            found.add(node.value.partition(":")[0])
    return found


def is_verb(path: Path) -> bool:
    """Commands are where the parts meet: they may import any package."""
    return path.parent == ROOT / "harness" and '__name__ == "__main__"' in path.read_text()


def within(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


def violations(package: str, modules: set[str]) -> set[str]:
    own = {module for module in modules if within(module, PACKAGES)}
    return {module for module in own if not within(module, ALLOWED[package])}


@pytest.mark.parametrize("package", PACKAGES)
def test_package_imports_only_what_it_may(package):
    broken = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        if is_verb(path) or path.relative_to(ROOT).as_posix() in TABLES:
            continue
        wrong = violations(package, imports(path.read_text()))
        if wrong:
            broken[str(path.relative_to(ROOT))] = wrong
    assert not broken


def test_only_the_engine_touches_metadrive():
    broken = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            relative = path.relative_to(ROOT).as_posix()
            touches = any(within(m, ("metadrive", "panda3d")) for m in imports(path.read_text()))
            if not relative.startswith(ENGINE) and touches:
                broken.append(relative)
    assert not broken


def test_the_rule_catches_a_violation():
    assert violations("adversaries", {"ego_policies.idm", "numpy"}) == {"ego_policies.idm"}
    assert violations("scenarios", {"harness.interfaces"}) == {"harness.interfaces"}
    assert violations("harness", {"adversaries.cat"}) == {"adversaries.cat"}
    assert not violations("curricula", {"harness.interfaces", "scenarios.scenario"})


def test_the_rule_sees_names_written_as_strings():
    source = 'load = resolve("adversary", "adversaries.seal.rollouts:roll_out")'
    assert violations("harness", imports(source)) == {"adversaries.seal.rollouts"}


def modules() -> dict[str, Path]:
    """Every module of ours by dotted name."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def test_no_import_circle():
    """Imports within functions count too: they hide a circle, they do not break it."""
    own = modules()
    arrows = {}
    for name, path in own.items():
        if path.relative_to(ROOT).as_posix() in TABLES:
            continue
        seen = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                seen |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                members = {f"{node.module}.{alias.name}" for alias in node.names}
                seen |= {member for member in members if member in own} or {node.module}
        arrows[name] = {module for module in seen if module in own and module != name}
    while leaves := [name for name, needs in arrows.items() if not needs & arrows.keys()]:
        for name in leaves:
            del arrows[name]
    # What is left is in a circle or leads to one.
    assert not arrows
