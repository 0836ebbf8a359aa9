"""The dependency rule of the architecture, checked on the code's own imports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("scenarios", "adversaries", "ego_policies", "curricula", "harness")
CONTRACTS = ("harness.interfaces", "harness.errors", "harness.geometry", "harness.metrics")
ALLOWED = {
    # harness.errors and harness.geometry import nothing of ours: one exception family, one copy of the box geometry.
    "scenarios": ("scenarios", "harness.errors", "harness.geometry"),
    "adversaries": ("adversaries", "scenarios", *CONTRACTS),
    "ego_policies": ("ego_policies", "scenarios", *CONTRACTS),
    "curricula": ("curricula", "scenarios", *CONTRACTS),
    "harness": ("harness", "scenarios"),
}
ENGINE = ("harness/engine/", "scenarios/procedural/")


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at any depth, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "harness":
                found |= {f"harness.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
    return found


def within(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


def violations(package: str, modules: set[str]) -> set[str]:
    own = {module for module in modules if within(module, PACKAGES)}
    return {module for module in own if not within(module, ALLOWED[package])}


@pytest.mark.parametrize("package", PACKAGES)
def test_package_imports_only_what_it_may(package):
    broken = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        wrong = violations(package, imports(path))
        if wrong:
            broken[str(path.relative_to(ROOT))] = wrong
    assert not broken


def test_only_the_engine_touches_metadrive():
    broken = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            relative = path.relative_to(ROOT).as_posix()
            if not relative.startswith(ENGINE) and any(within(m, ("metadrive", "panda3d")) for m in imports(path)):
                broken.append(relative)
    assert not broken


def test_the_rule_catches_a_violation():
    assert violations("adversaries", {"ego_policies.idm", "numpy"}) == {"ego_policies.idm"}
    assert violations("scenarios", {"harness.interfaces"}) == {"harness.interfaces"}
    assert violations("harness", {"adversaries.cat"}) == {"adversaries.cat"}
    assert not violations("curricula", {"harness.interfaces", "scenarios.scenario"})
