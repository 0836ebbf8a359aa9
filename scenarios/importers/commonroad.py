"""Importer of CommonRoad 2020a scenarios."""

from __future__ import annotations

from pathlib import Path

from harness.errors import ScenarioError
from scenarios.scenario import Scenario


def load(path: str | Path) -> Scenario:
    """The scene of one file.

    Raises:
        ScenarioError: Always, until the importer is complete.
    """
    raise ScenarioError(f"{path}: CommonRoad XML cannot be read yet.")
