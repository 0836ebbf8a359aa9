"""Real scenes for tests that need them: a folder named by GAUNTLET_WOMD."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def womd() -> Path:
    """CAT's folder `0.pkl` … ; other sets of ScenarioDescriptions may lie in its sub-folders."""
    folder = os.environ.get("GAUNTLET_WOMD")
    if not folder or not (Path(folder) / "0.pkl").is_file():
        pytest.skip("needs real WOMD scenes: set GAUNTLET_WOMD to a folder with CAT's 0.pkl, 1.pkl, …")
    return Path(folder)
