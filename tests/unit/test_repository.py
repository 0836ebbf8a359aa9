"""What surrounds the code keeps its promises: workflows, container, hooks and citation agree with the project."""

import json
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
CONFIGS = [*sorted((ROOT / ".github").rglob("*.yml")), ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff"]


def parsed(path: Path) -> dict:
    """A YAML file; a workflow's key `on` is True in it, as YAML 1.1 says."""
    return yaml.safe_load(path.read_text())


def make_targets(text: str) -> set[str]:
    """Targets that a text calls by `make`, settings such as `PYTHON=python` left out."""
    calls = re.findall(r"(?:^|run: |: \"|&& )\s*make ([^\n&|\"]*(?:\"\$[^\"]*\"[^\n&|\"]*)*)", text, re.M)
    return {word for call in calls for word in shlex.split(call) if "=" not in word}


def declared_targets() -> set[str]:
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_yaml_files_are_mappings(path):
    assert isinstance(parsed(path), dict)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_targets_that_exist(path):
    assert make_targets(path.read_text()) <= declared_targets()


def test_calls_of_make_are_seen():
    text = (
        '      - run: make PYTHON=python test\n        run: |\n          make VENV="$TEMP/x" test-all\n"a": "make lint"'
    )
    assert make_targets(text) == {"test", "test-all", "lint"}


def test_the_workflows_run_what_they_are_for():
    called = {path.stem: make_targets(path.read_text()) for path in WORKFLOWS}
    assert called["test"] == called["constraints"] == {"test"}
    assert called["nightly"] == {"test-all"}


def test_the_container_for_development_calls_targets_that_exist():
    text = (ROOT / ".devcontainer/devcontainer.json").read_text()
    assert json.loads(text)
    assert make_targets(text) == {"install"}
    assert "install" in declared_targets()


def test_the_matrix_is_what_is_promised():
    minors = [f"3.{minor}" for minor in range(30) if f"3.{minor}" in SpecifierSet(PROJECT["requires-python"])]
    assert parsed(ROOT / ".github/workflows/test.yml")["jobs"]["test"]["strategy"]["matrix"]["python"] == minors


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_rights_are_few(path):
    used = re.findall(r"uses: (?!\./)(\S+)", path.read_text())
    assert [action for action in used if not re.search(r"@[0-9a-f]{40}$", action)] == []
    assert parsed(path)["permissions"] == {"contents": "read"}


def test_the_citation_names_the_version():
    assert parsed(ROOT / "CITATION.cff")["version"] == PROJECT["version"]
    assert parsed(ROOT / "CITATION.cff")["license"] == PROJECT["license"]


def instruction(name: str) -> list[str]:
    """The arguments of the last such instruction of the Dockerfile."""
    return re.findall(rf"^{name} (.*)$", (ROOT / "Dockerfile").read_text(), re.M)[-1:]


def test_the_image_trains_as_make_train_does_and_has_no_rights():
    recipe = re.search(r"^train:.*\n\t\$\(BIN\)/python -m harness\.(.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert json.loads(instruction("ENTRYPOINT")[0]) == ["gauntlet"]
    assert json.loads(instruction("CMD")[0]) == recipe[1].split()
    assert int(instruction("USER")[0]) > 0


def test_the_image_is_built_from_every_package():
    kept = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.M))
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    needed = {name.rstrip("*") for name in settings["include"]} | {"pyproject.toml", "constraints.txt", "README.md"}
    assert kept >= needed | set(PROJECT["license-files"])


def test_hooks_call_the_tools_of_the_project():
    hooks = [hook for repo in parsed(ROOT / ".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert {hook["entry"].split()[0] for hook in hooks} == {".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/python"}
    named = [word for hook in hooks for word in hook["entry"].split() if word.startswith("tests/")]
    assert [path for path in named if not (ROOT / path).is_file()] == []


@pytest.fixture
def refreshed(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    yield __import__("refresh_constraints").refreshed
    sys.modules.pop("refresh_constraints", None)


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("# pip install", "# pip install"),
        ("pytest==1.0", f"pytest=={pytest.__version__}"),
        ('pytest==1.0; python_version >= "3.11"', f'pytest=={pytest.__version__}; python_version >= "3.11"'),
        ('pytest==1.0; python_version < "3.11"', 'pytest==1.0; python_version < "3.11"'),
        ("no-such-package-anywhere==1.0", "no-such-package-anywhere==1.0"),
    ],
)
def test_constraints_take_the_versions_that_are_installed(refreshed, line, after):
    assert refreshed(line) == after


def test_constraints_leave_out_the_local_part_of_a_version(refreshed, monkeypatch):
    monkeypatch.setattr("refresh_constraints.version", lambda name: "2.13.0+cpu")
    assert refreshed("torch==2.12.0") == "torch==2.13.0"


def test_a_line_that_is_no_requirement_is_refused(refreshed):
    with pytest.raises(SystemExit, match="found 'two words'"):
        refreshed("two words")
